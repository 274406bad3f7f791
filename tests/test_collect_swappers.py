"""Curves and previews of several runs, brought together for notebook 08."""

import json

import numpy as np
import pandas as pd
import torch
from collect_swappers import PAIRS, main, preview
from PIL import Image

from smoothswap_lib.datasets import to_float
from smoothswap_lib.runs import write_preview

SIZE, STEPS = 8, (2, 4, 8, 16)


def run_folder(folder, level):
    """A finished run whose swaps have the gray level `level` plus the step."""
    rows = [{"step": step, "seconds": 1.5 * step, "identity": 1 / step} for step in range(1, 17)]
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_parquet(folder / "metrics.parquet")
    (folder / "weights.safetensors").write_bytes(b"")
    for step in STEPS:
        gray = {"source": 10, "target": 20, "swap": level + step}
        images = {k: to_float(torch.full((4, 3, SIZE, SIZE), v, dtype=torch.uint8)) for k, v in gray.items()}
        write_preview(folder / "previews" / f"step_{step:06d}.png", images, {})


def test_curves_and_progress_of_two_runs(tmp_path):
    for name, level in (("supcon_4-0", 100), ("ce_arc_4-0", 180)):
        run_folder(tmp_path / "runs" / name, level)
    (tmp_path / "out").mkdir()
    assert main(["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    table = pd.read_parquet(tmp_path / "out" / "swappers.parquet")
    assert sorted(set(table.variant)) == ["ce_arc_4", "supcon_4"] and set(table.seed) == {0}
    assert np.allclose(table[table.variant == "supcon_4"].identity, 1 / np.arange(1, 17))
    plan = json.loads((tmp_path / "out" / "progress.json").read_text())
    assert plan == {"variants": ["supcon_4", "ce_arc_4"], "pairs": PAIRS, "steps": list(STEPS), "size": SIZE}
    pixels = np.asarray(Image.open(tmp_path / "out" / "progress.avif").convert("L")).astype(int)
    assert pixels.shape == (2 * PAIRS * SIZE, 6 * SIZE)
    tiles = pixels.reshape(2 * PAIRS, SIZE, 6, SIZE).mean((1, 3))
    for k, level in enumerate((100, 180)):
        wanted = [10, 20, *(level + step for step in STEPS)]
        assert np.abs(tiles[k * PAIRS : (k + 1) * PAIRS] - wanted).max() < 4  # AVIF is lossy


def test_runs_of_an_earlier_file_stay_and_repeated_ones_are_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    for number, names in enumerate((("supcon_4-0", "no_r1-0"), ("supcon_4-0", "supcon_4-1"))):
        for name in names:
            run_folder(tmp_path / f"runs{number}" / name, 100)
        arguments = ["--runs", str(tmp_path / f"runs{number}"), "--out", str(tmp_path / "out")]
        assert main(arguments) == 0
    table = pd.read_parquet(tmp_path / "out" / "swappers.parquet")
    rows = table.groupby(["variant", "seed"]).size()
    assert dict(rows) == {("no_r1", 0): 16, ("supcon_4", 0): 16, ("supcon_4", 1): 16}
    plan = json.loads((tmp_path / "out" / "progress.json").read_text())
    assert plan["variants"] == [
        "supcon_4",
        "no_r1",
    ]  # in the order of SHOWN, the second from the earlier picture
    pixels = np.asarray(Image.open(tmp_path / "out" / "progress.avif").convert("L")).astype(int)
    tiles = pixels.reshape(2 * PAIRS, SIZE, 6, SIZE).mean((1, 3))
    assert np.abs(tiles - [10, 20, *(100 + step for step in STEPS)]).max() < 6  # AVIF twice


def test_preview_is_cut_into_rows_and_pairs(tmp_path):
    run_folder(tmp_path / "a-0", 50)
    parts = preview(tmp_path / "a-0", 4)
    assert parts.shape == (3, 4, SIZE, SIZE, 3)
    assert [int(row.mean()) for row in parts] == [10, 20, 54]


def test_no_finished_run_is_said(tmp_path, capsys):
    assert main(["--runs", str(tmp_path)]) == 2
    assert "holds no finished run; train_swappers.py makes them" in capsys.readouterr().err
