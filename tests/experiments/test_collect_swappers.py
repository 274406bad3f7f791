"""Curves and previews of several runs, brought together for notebook 09."""

import json

import collect_long_run
import numpy as np
import pandas as pd
import pytest
import torch
from collect_swappers import PAIRS, main
from PIL import Image

from smoothswap_lib.datasets import read_progress, to_float
from smoothswap_lib.training import write_preview

SIZE, STEPS = 8, (2, 4, 8, 16)


def run_folder(folder, level):
    """A finished run whose swaps have the gray level `level` plus the step."""
    rows = [{"step": step, "seconds": 1.5 * step, "identity": 1 / step} for step in range(1, 17)]
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_parquet(folder / "metrics.parquet")
    (folder / "weights.safetensors").write_bytes(b"")
    for step in STEPS:
        gray = {"source": 10, "target": 20, "swap": level + step}
        images = {k: to_float(torch.full((6, 3, SIZE, SIZE), v, dtype=torch.uint8)) for k, v in gray.items()}
        write_preview(folder / "previews" / f"step_{step:06d}.png", images, {})


def gray_tiles(folder):
    pixels = np.asarray(Image.open(folder / "progress.avif").convert("L")).astype(int)
    return pixels.reshape(2 * PAIRS, SIZE, 6, SIZE).mean((1, 3))


def test_curves_and_progress_of_two_runs(tmp_path):
    for name, level in (("printed-0", 100), ("ce_arc-0", 180)):
        run_folder(tmp_path / "runs" / name, level)
    (tmp_path / "out").mkdir()
    assert main(["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    table = pd.read_parquet(tmp_path / "out" / "swappers.parquet")
    assert sorted(set(table.variant)) == ["ce_arc", "printed"] and set(table.seed) == {0}
    assert np.allclose(table[table.variant == "printed"].identity, 1 / np.arange(1, 17))
    plan = json.loads((tmp_path / "out" / "progress.json").read_text())
    assert plan == {"variants": ["printed", "ce_arc"], "pairs": PAIRS, "steps": list(STEPS), "size": SIZE}
    tiles = gray_tiles(tmp_path / "out")
    blocks, steps = read_progress(tmp_path / "out")
    assert steps == list(STEPS) and list(blocks) == ["printed", "ce_arc"]
    for k, (level, block) in enumerate(zip((100, 180), blocks.values())):
        wanted = [10, 20, *(level + step for step in STEPS)]
        assert np.abs(tiles[k * PAIRS : (k + 1) * PAIRS] - wanted).max() < 4  # AVIF is lossy
        assert block.shape == (PAIRS, 6, 3, SIZE, SIZE) and block.dtype == torch.float32
        assert ((block.mean((2, 3, 4)) + 1) * 127.5 - torch.tensor(wanted)).abs().max() < 4


def test_runs_of_an_earlier_file_stay_and_repeated_ones_are_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    for number, names in enumerate((("printed-0", "no_adversarial-0"), ("printed-0", "printed-1"))):
        for name in names:
            run_folder(tmp_path / f"runs{number}" / name, 100)
        arguments = ["--runs", str(tmp_path / f"runs{number}"), "--out", str(tmp_path / "out")]
        assert main(arguments) == 0
    table = pd.read_parquet(tmp_path / "out" / "swappers.parquet")
    rows = table.groupby(["variant", "seed"]).size()
    assert dict(rows) == {("no_adversarial", 0): 16, ("printed", 0): 16, ("printed", 1): 16}
    plan = json.loads((tmp_path / "out" / "progress.json").read_text())
    assert plan["variants"] == ["printed", "no_adversarial"]  # SHOWN's order, one of them earlier
    wanted = [10, 20, *(100 + step for step in STEPS)]
    assert np.abs(gray_tiles(tmp_path / "out") - wanted).max() < 6  # AVIF twice


def test_runs_that_follow_each_other_are_one_long_run(tmp_path):
    for name, level in (("first", 50), ("second", 150)):
        run_folder(tmp_path / name, level)
    runs = [str(tmp_path / name) for name in ("first", "second")]
    assert collect_long_run.main(["--runs", *runs, "--out", str(tmp_path / "out")]) == 0
    table = pd.read_parquet(tmp_path / "out" / "curves.parquet")
    assert list(table.step) == list(range(1, 33)) and list(table.run) == [0] * 16 + [1] * 16
    blocks, steps = read_progress(tmp_path / "out")
    assert steps == [2, 4, 8, 16, 32]
    seen = (blocks["swapper"][0, 2:].mean((1, 2, 3)) + 1) * 127.5
    assert np.allclose(seen, [52, 54, 58, 66, 166], atol=4)


def test_each_picture_of_a_tile_is_read_upright(tmp_path):
    """One variant, two pairs, one step; a pixel's color says where it stood."""
    plan = {"variants": ["a"], "pairs": 2, "steps": [5], "size": 16}
    (tmp_path / "progress.json").write_text(json.dumps(plan))
    rows, columns = np.mgrid[0:32, 0:48]
    pixels = np.stack([4 * rows, 4 * columns, 255 + 0 * rows], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "progress.avif", quality=100, subsampling="4:4:4")
    blocks, _ = read_progress(tmp_path)
    expected = to_float(torch.tensor(pixels[16:, 32:]).permute(2, 0, 1))
    assert (blocks["a"][1, 2] - expected).abs().max() < 0.05
    plan["pairs"] = 3
    (tmp_path / "progress.json").write_text(json.dumps(plan))
    with pytest.raises(ValueError, match="48 x 32 pixels.* 48 x 48"):
        read_progress(tmp_path)


def test_no_finished_run_is_said(tmp_path, capsys):
    assert main(["--runs", str(tmp_path)]) == 2
    assert "train_swappers.py" in capsys.readouterr().err
