"""The check that runs on a GPU, here for some seconds on the CPU with tiny networks."""

import json
import os
import subprocess
import sys

import gpu_check
import pyarrow.parquet
import pytest
from PIL import Image
from tiny_runs import ROOT

from smoothswap_lib import checkpoints, datasets

SCRIPT = ROOT / "experiments" / "gpu_check.sh"
TINY = [
    "embedder.backbone=plain",
    "embedder.dim=16",
    "embedder.identities_per_batch=8",
    "embedder.images_per_identity=2",
    "swapper.generator_width=8",
    "swapper.channel_multipliers=1,1",
    "swapper.batch_size=4",
    "swapper.attention_resolutions=32",
    "swapper.self_pairs=1",
    "swapper.blocks_per_level=1",
    "swapper.discriminator_base=64",
    "swapper.discriminator_max=8",
]


def run(out, *options, python=sys.executable):
    environment = {**os.environ, "OUT": str(out), "PYTHON": str(python), "OMP_NUM_THREADS": "1"}
    command = ["sh", str(SCRIPT), *options]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)


@pytest.mark.slow
def test_a_minute_on_the_cpu_trains_resumes_compares_and_judges(tmp_path):
    done = run(tmp_path, "--seconds", "20", "--set", *TINY)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["failed"] == [] and report["profile"]["name"] == "gpu64"
    assert report["machine"]["device"] == "cpu"
    for name in ("fp32", "fp32, channels first", "embedder"):
        assert report["speeds"][name]["steps_a_second"] > 0
    assert 0 < report["speeds"]["fp32"]["share_of_matrix_product"] < 1.5
    assert report["speeds"]["fp32"]["finite"] and "bf16" not in report["speeds"]
    swapper = report["swapper"]
    assert swapper["same_after_resume"] and 0 < swapper["resumed_after"] < swapper["steps"]
    assert report["equality"]["gray_levels"] == 0 and not report["equality"]["compared"]
    assert report["judged"]["error_over_copying"] > 0 and 0 < report["judged"]["paint_bucket"] < 1

    assert set(report["files"]["names"]) | {"report.json"} == {path.name for path in tmp_path.iterdir()}
    assert all(path.stat().st_size <= gpu_check.MOST_BYTES for path in tmp_path.iterdir())
    embedder = checkpoints.load_embedder(tmp_path / "embedder.safetensors")
    x = datasets.TrueSwap("test", size=64).image_batch(range(2))
    assert checkpoints.swap(x, x.flip(0), tmp_path / "swapper.safetensors", embedder).shape == x.shape
    assert "| steps |" in (tmp_path / "swapper.md").read_text()
    steps = pyarrow.parquet.read_table(tmp_path / "swapper.parquet")["step"].to_pylist()
    assert steps == sorted(set(steps)) and steps[-1] == swapper["steps"]
    with Image.open(sorted(tmp_path.glob("preview_*.png"))[-1]) as picture:
        assert picture.size == (8 * 64, 3 * 64)
    with Image.open(tmp_path / "curves_swapper.png") as picture:
        assert picture.width > 500


def test_what_is_missing_is_said_in_one_line_before_anything_runs(tmp_path):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    done = run(tmp_path / "out", python=bare)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "accelerate safetensors" not in done.stdout
    for package in gpu_check.NEEDED.values():
        assert package in done.stderr
    assert not (tmp_path / "out").exists()


def test_nothing_is_missing_here_and_a_missing_module_is_named_by_its_package(monkeypatch):
    assert gpu_check.missing() == []
    monkeypatch.setitem(gpu_check.NEEDED, "no_such_module", "no-such-package")
    assert gpu_check.missing() == ["no-such-package"]


def test_a_large_file_comes_in_parts_that_join(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check, "MOST_BYTES", 1000)
    file = tmp_path / "weights.safetensors"
    content = bytes(range(256)) * 10
    file.write_bytes(content)
    gpu_check.in_parts(file)
    parts = sorted(tmp_path.iterdir())
    assert [part.name for part in parts] == [f"weights.safetensors.{k:03d}" for k in range(3)]
    assert b"".join(part.read_bytes() for part in parts) == content


def test_a_part_that_fails_is_told_and_the_others_run(tmp_path, monkeypatch):
    """Without an embedder there is no swapper; the report says so, and what could be measured stays."""

    def broken(self):
        raise RuntimeError("no kernel\nfor this card")

    quick = {"machine": lambda self: {"device": "none"}, "embedder": broken}
    for name in ("machine", "reading", "speeds", "embedder", "swapper", "equality", "judged", "files"):
        monkeypatch.setattr(gpu_check.Check, name, quick.get(name, lambda self: {}))
    assert gpu_check.main(["--out", str(tmp_path), "--seconds", "5", "--set", *TINY]) == 1
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["failed"] == ["embedder"] and "no kernel" in report["embedder"]["failed"]
    assert report["machine"]["device"] == "none"
