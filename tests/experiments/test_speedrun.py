"""Time to quality: what counts as reached, and that training and judging take turns."""

import speedrun
import torch
from measure_swappers import Pairs
from tiny_runs import TINY, fixed_embedder

from smoothswap_lib import checkpoints
from smoothswap_lib.datasets import TrueSwap

PROFILE = TINY.override("swapper", {"steps": 3})


def race(tiny, out, goal):
    data = TrueSwap(tiny)
    return speedrun.race(PROFILE, out, data, Pairs(data), fixed_embedder(), 0, goal, 1)


def test_a_blur_reaches_no_goal():
    near = {"error_over_copying_face": 0.52, "high_frequencies": speedrun.DETAIL}
    assert speedrun.passed(near) == [0.70, 0.65, 0.60, 0.55]
    assert speedrun.passed(near | {"high_frequencies": 0.2}) == []
    assert speedrun.passed(near | {"error_over_copying_face": 0.9}) == []


def test_training_and_judging_take_turns_until_the_goal(tiny, small_networks, tmp_path, monkeypatch, capsys):
    assert race(tiny, tmp_path / "never", 0.0) == {}
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if " face " in line] == [
        "1",
        "2",
        "3",
    ]
    monkeypatch.setattr(
        speedrun,
        "to_truth",
        lambda pairs, x: {
            "error_over_copying": 1.0,
            "error_over_copying_face": 0.58,
            "high_frequencies": 1.0,
        },
    )
    reached = race(tiny, tmp_path / "once", 0.6)
    assert {goal: steps for goal, (steps, _) in reached.items()} == {0.70: 1, 0.65: 1, 0.60: 1}
    assert all(seconds > 0 for _, seconds in reached.values())
    assert torch.isfinite(checkpoints.load_generator(tmp_path / "once").encoder["16x16_input"].weight).all()
