"""Quality against seconds: parts of a run are measured in turn, once, and steps are timed by variant."""

import json
from unittest.mock import Mock

import measure_quality
import numpy as np
import pytest
from measure_quality import main, seconds_a_step

from smoothswap_lib import profiles

TINY = ["--profile", "quick", "--repeats", "1"]


class FewPairs:
    """The first 6 pairs of `measure_swappers.Pairs`."""

    def __init__(self, data):
        rows = data.matrix_indices()[:6, :2]
        self.x_source, self.x_target, self.x_true = (
            data.image_batch(rows[people, column]) for people, column in
            ((range(6), 0), ([1, 2, 3, 4, 5, 0], 1), (range(6), 1))
        )  # fmt: skip
        self.mask = self.mask_target = data.masks[rows[:, 1]]
        self.people = np.zeros(6, int), np.zeros(6, int)  # one person: redrawing changes nothing

    swaps = measure_quality.Pairs.swaps
    interval = measure_quality.Pairs.interval


@pytest.fixture
def few_pairs(monkeypatch):
    monkeypatch.setattr(measure_quality, "Pairs", FewPairs)


def test_parts_are_measured_in_turn_and_kept(few_pairs, tmp_path, monkeypatch):
    arguments = ["--out", str(tmp_path / "runs"), "--variants", "supcon_4:2", *TINY, "--every", "1"]
    report = tmp_path / "quality.json"
    assert main([*arguments, "--report", str(report)]) == 0
    found = json.loads(report.read_text())
    assert found["pairs"] == 6 and list(found["variants"]) == ["supcon_4"]
    curve = found["variants"]["supcon_4"]["curve"]
    assert [row["step"] for row in curve] == [1, 2]
    # the generator starts as a copy of its target: after a step the error is still near that of copying
    assert curve[0]["error_over_copying"] == pytest.approx(1, abs=0.2)
    assert curve[0]["error_over_copying_interval"] == pytest.approx([curve[0]["error_over_copying"]] * 2)
    assert found["variants"]["supcon_4"]["seconds_a_step"] > 0

    monkeypatch.setattr(measure_quality, "measure", lambda *_: pytest.fail("measured a second time"))
    assert main([*arguments, "--report", str(report)]) == 0
    assert json.loads(report.read_text())["variants"]["supcon_4"]["curve"] == curve


def test_r1_counts_by_its_share(monkeypatch):
    monkeypatch.setattr(measure_quality.costs, "SwapperStep", lambda profile, *_: Mock(profile=profile))
    times = iter([0, 2, 10, 44] * 3)  # two seconds without R1, 34 with it
    monkeypatch.setattr(measure_quality.time, "perf_counter", lambda: next(times))
    found = seconds_a_step(["supcon_4"], profiles.get("laptop"), repeats=1)
    assert found["supcon_4"] == pytest.approx((15 * 2 + 34) / 16)
