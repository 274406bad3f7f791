"""The oracle's training: from rendered answers to weights that load as any generator's."""

import json

import numpy as np
import pytest
import torch
from train_oracle import Truth, main

from smoothswap_lib import checkpoints, load_generator, profiles
from smoothswap_lib.datasets import TrueSwap


@pytest.fixture
def truth(tmp_path):
    """Two files of invented answers: each source's own image."""
    images = TrueSwap("train").image_batch(np.arange(12))
    pixels = ((images + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    for part in range(2):
        rows = slice(6 * part, 6 * part + 6)
        source = np.arange(12)[rows]
        np.savez(tmp_path / f"part-{part:03d}.npz", source=source, target=source + 12, images=pixels[rows])
    return tmp_path


def test_answers_are_joined_in_order(truth):
    found = Truth(truth)
    assert len(found) == 12 and found.source.tolist() == list(range(12))
    assert found.images.shape == (12, 3, 64, 64) and found.images.dtype == torch.uint8


def test_a_run_ends_with_weights_that_load(truth, tmp_path):
    steps = profiles.get("quick").preview_every  # as far as the first preview
    out = tmp_path / "oracle"
    arguments = ["--truth", str(truth), "--out", str(out), "--profile", "quick", "--set", f"steps={steps}"]
    assert main(arguments) == 0
    assert checkpoints.read_metadata(out / "weights.safetensors")["embedder"] == "robust"
    with torch.inference_mode():
        x = load_generator(out)(torch.zeros(1, 3, 64, 64), torch.ones(1, 128) / 128**0.5)
    assert x.shape == (1, 3, 64, 64) and torch.isfinite(x).all()
    assert (out / "previews" / f"step_{steps:06d}.png").is_file()
    assert json.loads((out / "profile.json").read_text())


def test_a_folder_without_answers_is_said(tmp_path, capsys):
    assert main(["--truth", str(tmp_path), "--out", str(tmp_path / "x")]) == 2
    assert "holds no part-*.npz; render_true_swaps.py writes them" in capsys.readouterr().err


def test_an_oracle_may_be_told_parameters(truth, tmp_path):
    out = tmp_path / "told"
    arguments = ["--truth", str(truth), "--out", str(out), "--profile", "quick", "--set", "steps=1"]
    assert main([*arguments, "--embedder", "parameters"]) == 0
    metadata = checkpoints.read_metadata(out / "weights.safetensors")
    dim = json.loads(metadata["arguments"])["identity_dim"]
    assert metadata["embedder"] == "parameters" and dim > 128
