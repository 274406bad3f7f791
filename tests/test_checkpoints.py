"""Weights and states on disk: round trips, damage, atomicity, shipped networks."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import smoothswap_lib
from smoothswap_lib import checkpoints
from smoothswap_lib.checkpoints import CheckpointError
from smoothswap_lib.embedder import Embedder
from smoothswap_lib.generator import Generator

SIZES = {"size": 16, "width": 8, "channel_multipliers": [1, 1], "blocks_per_level": 1}
GENERATOR = json.dumps(SIZES | {"attention_resolutions": [8], "identity_dim": 8})


def equal_states(a: nn.Module, b: nn.Module) -> bool:
    return checkpoints.tensor_hash(a.state_dict()) == checkpoints.tensor_hash(b.state_dict())


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


@pytest.fixture
def shipped_folder(tmp_path, monkeypatch) -> Path:
    """A data folder with an embedder "supcon" and a generator "swapper" that belongs to it."""
    monkeypatch.setenv("SMOOTHSWAP_DATA", str(tmp_path))
    folder = tmp_path / "checkpoints"
    embedder = Embedder("plain", 8)
    text = {"network": "Embedder", "arguments": '{"backbone": "plain", "dim": 8}'}
    checkpoints.save_weights(folder / "supcon.safetensors", embedder, text)
    generator = Generator(16, 8, (1, 1), 1, (8,), 8)
    text = {"network": "Generator", "arguments": GENERATOR, "embedder": "supcon"}
    text["embedder_hash"] = checkpoints.tensor_hash(embedder.state_dict())
    checkpoints.save_weights(folder / "swapper.safetensors", generator, text)
    return folder


def test_weights_come_back_with_their_text(tmp_path):
    a, b = small(), small()
    checkpoints.save_weights(tmp_path / "w.safetensors", a, {"seed": "3", "network": "Linear"})
    assert not equal_states(a, b)
    metadata = checkpoints.load_weights(tmp_path / "w.safetensors", b)
    assert equal_states(a, b)
    assert (metadata["seed"], metadata["network"]) == ("3", "Linear")


def test_files_can_be_read_by_whom_the_user_lets(tmp_path):
    checkpoints.save_weights(tmp_path / "w.safetensors", small())
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_equal_contents_are_equal_bytes_in_every_process(tmp_path):
    """safetensors alone writes metadata entries in an order that differs from process to process."""
    code = (
        "import sys, torch; from smoothswap_lib import checkpoints\n"
        "checkpoints.write_tensors(sys.argv[1], {'w': torch.arange(3.)}, {k: k for k in 'abcdefgh'})"
    )
    root = Path(smoothswap_lib.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "1")], check=True, cwd=root)
    checkpoints.write_tensors(tmp_path / "2", {"w": torch.arange(3.0)}, {k: k for k in "hgfedcba"})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize("change", ("cut 0", "cut 5", "cut 100", "cut -1", "bit"))
def test_a_cut_or_changed_file_is_named(tmp_path, change):
    path = tmp_path / "w.safetensors"
    checkpoints.save_weights(path, small())
    content = bytearray(path.read_bytes())
    if change == "bit":
        content[-3] ^= 1
    path.write_bytes(content if change == "bit" else content[: int(change[4:])])
    with pytest.raises(CheckpointError, match=r"w.safetensors is damaged"):
        checkpoints.load_weights(path, small())


def test_a_damaged_shipped_file_says_how_to_restore_it(shipped_folder):
    path = shipped_folder / "supcon.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match="git checkout -- .*supcon.safetensors"):
        smoothswap_lib.load_embedder("supcon")


def test_another_network_is_refused_with_the_differing_shapes(tmp_path):
    path = tmp_path / "w.safetensors"
    checkpoints.save_weights(path, nn.Linear(3, 4))
    other = nn.Linear(3, 5)
    before = checkpoints.tensor_hash(other.state_dict())
    with pytest.raises(CheckpointError, match=r"weight is \(4, 3\), the network has \(5, 3\)"):
        checkpoints.load_weights(path, other)
    assert checkpoints.tensor_hash(other.state_dict()) == before
    with pytest.raises(CheckpointError, match="has no place"):
        checkpoints.load_weights(path, nn.Linear(3, 4, bias=False))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.safetensors is missing"):
        checkpoints.load_weights(tmp_path / "nothing.safetensors", small())


@pytest.mark.parametrize("moment", ("fsync", "replace"))
def test_a_crash_before_the_rename_leaves_the_old_file(tmp_path, monkeypatch, moment):
    path = tmp_path / "w.safetensors"
    checkpoints.save_weights(path, small(), {"step": "1"})
    before = path.read_bytes()

    def crash(*_):
        raise OSError("power cut")

    monkeypatch.setattr(f"os.{moment}", crash)
    with pytest.raises(OSError, match="power cut"):
        checkpoints.save_weights(path, small(), {"step": "2"})
    assert path.read_bytes() == before
    assert checkpoints.load_weights(path, small())["step"] == "1"


def test_a_state_continues_networks_and_optimizers(tmp_path):
    def step(module, optimizer):
        module(torch.arange(15.0).sin().view(5, 3)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    a = small()
    adam = torch.optim.Adam(a.parameters(), 0.01, (0.0, 0.99))
    step(a, adam)
    record = {"step": 1, "window": [{"loss": 0.1 + 0.2}]}
    checkpoints.save_state(tmp_path / "s", {"net": a}, {"net": adam}, record)
    for _ in range(3):
        step(a, adam)

    b = small()
    other = torch.optim.Adam(b.parameters(), 0.5)
    assert checkpoints.load_state(tmp_path / "s", {"net": b}, {"net": other}) == record
    assert other.param_groups[0]["betas"] == (0.0, 0.99)
    for _ in range(3):
        step(b, other)
    assert equal_states(a, b)


def test_shipped_networks_are_in_eval_mode_and_swap_by_them(shipped_folder):
    embedder, generator = smoothswap_lib.load_embedder("supcon"), smoothswap_lib.load_generator()
    assert not embedder.training
    assert not generator.training
    x_source, x_target = torch.rand(2, 2, 3, 16, 16) * 2 - 1
    expected = generator(x_target, embedder(x_source)).clamp(-1, 1)
    assert torch.equal(smoothswap_lib.swap(x_source, x_target), expected)
    assert torch.equal(smoothswap_lib.swap(x_source, x_target, generator, embedder), expected)


def test_many_swaps_are_those_of_each_pair_alone(shipped_folder):
    x_source, x_target = torch.rand(2, checkpoints.SWAP_BATCH + 2, 3, 16, 16) * 2 - 1
    together = smoothswap_lib.swap(x_source, x_target)
    alone = [smoothswap_lib.swap(*pair) for pair in zip(x_source.split(1), x_target.split(1))]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)
    assert smoothswap_lib.swap(x_source[:0], x_target[:0]).shape == (0, 3, 16, 16)


def test_swap_refuses_an_embedder_that_was_exchanged(shipped_folder):
    other = Embedder("plain", 8)
    text = {"network": "Embedder", "arguments": '{"backbone": "plain", "dim": 8}'}
    checkpoints.save_weights(shipped_folder / "supcon.safetensors", other, text)
    with pytest.raises(CheckpointError, match="trained with another embedder"):
        smoothswap_lib.swap(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16))


def test_swap_refuses_images_that_training_never_saw():
    good = torch.zeros(1, 3, 16, 16)
    for bad, why in (
        (good + 255, "must lie in"),
        (good[0], "float images"),
        (good.to(torch.uint8), "float images"),
        (good.expand(2, -1, -1, -1), "in pairs"),
    ):
        with pytest.raises(ValueError, match=why):
            smoothswap_lib.swap(bad, good)


def test_an_unknown_name_lists_what_is_shipped(shipped_folder):
    with pytest.raises(ValueError, match="Shipped in .*: supcon, swapper"):
        smoothswap_lib.load_embedder("arcface")
    with pytest.raises(CheckpointError, match="holds weights of Generator, Embedder was asked for"):
        smoothswap_lib.load_embedder("swapper")


def test_importing_the_library_imports_nothing_heavy():
    code = (
        "import sys, smoothswap_lib; assert 'torch' not in sys.modules; assert 'swap' in dir(smoothswap_lib)"
    )
    root = Path(smoothswap_lib.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
    with pytest.raises(AttributeError, match="no attribute 'load_embeder'"):
        _ = smoothswap_lib.load_embeder


def test_half_precision_halves_the_file_and_is_one_network_in_memory_and_on_disk(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.Flatten(), nn.Linear(64, 500))
    module(torch.randn(4, 3, 3, 3))
    checkpoints.save_weights(tmp_path / "whole.safetensors", module)
    checkpoints.save_weights(tmp_path / "half.safetensors", module, half=True)
    ratio = (tmp_path / "half.safetensors").stat().st_size / (tmp_path / "whole.safetensors").stat().st_size
    assert 0.5 < ratio < 0.55

    loaded = copy.deepcopy(module)
    metadata = checkpoints.load_weights(tmp_path / "half.safetensors", loaded)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert checkpoints.tensor_hash(loaded.state_dict()) == metadata["tensor_hash"]
    for ours, whole in zip(loaded.state_dict().values(), module.state_dict().values(), strict=True):
        # float16 has 11 binary digits; vectors keep all of theirs
        torch.testing.assert_close(ours, whole, rtol=2**-11 if whole.ndim > 1 else 0, atol=1e-7)

    module[0].weight.data[0, 0, 0, 0] = 1e5
    with pytest.raises(CheckpointError, match="too large for half precision: 0.weight"):
        checkpoints.save_weights(tmp_path / "half.safetensors", module, half=True)
    checkpoints.load_weights(tmp_path / "half.safetensors", loaded)  # the file before is whole


def test_a_file_of_something_else_ends_in_one_line(shipped_folder, tmp_path):
    """Each says which network was expected, or what is in the file."""
    images = torch.zeros(1, 3, 16, 16)
    content = (shipped_folder / "swapper.safetensors").read_bytes()
    text = checkpoints.read_metadata(shipped_folder / "swapper.safetensors")
    network = Generator(16, 8, (1, 1), 1, (8,), 8)

    def saved(name, **changes):
        kept = {key: value for key, value in (text | changes).items() if value is not None}
        checkpoints.save_weights(tmp_path / f"{name}.safetensors", network, kept)
        return tmp_path / f"{name}.safetensors"

    def raw(name, file):
        (tmp_path / f"{name}.safetensors").write_bytes(file)
        return tmp_path / f"{name}.safetensors"

    header = len(content).to_bytes(8, "little")
    lost = saved("no_arguments", arguments=None)
    cases = {
        "supcon": "supcon.safetensors holds weights of Embedder, Generator was asked for",
        saved("unnamed", network=None): "weights of an unnamed network, Generator was asked for",
        lost: "does not say how to build its Generator",
        saved("words", arguments="many"): "does not say how to build",
        saved("wrong", arguments='{"size": 16, "depth": 3}'): "does not say how to build .*depth",
        saved("sizes", arguments='{"size": 15}'): "does not say how to build",
        saved("alone", embedder=None): "does not name its embedder",
        saved("turned", embedder="swapper"): "holds weights of Generator, Embedder was asked for",
        raw("text", b"hello, this is a letter and no network"): "has no safetensors header",
        raw("list", (2).to_bytes(8, "little") + b"[]"): "has no safetensors header",
        raw("deep", (2 * 10**5).to_bytes(8, "little") + b"[" * 10**5 + b"]" * 10**5): "no safetensors header",
        raw("long", header + b"{}"): "has no safetensors header",
        raw("other", (2).to_bytes(8, "little") + b"{}"): "was not written by smoothswap_lib.checkpoints",
    }
    for path, why in cases.items():
        with pytest.raises(CheckpointError, match=why):
            smoothswap_lib.swap(images, images, path)
    network.middle["block0"].conv0.weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(CheckpointError, match="nan.safetensors holds weights that are not finite"):
        smoothswap_lib.swap(images, images, saved("nan"))
