"""The rivals: each one's idea in closed form, gradients that arrive, the check, the command."""

import json

import measure_rivals
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from train_rivals import main

from experiments import rivals
from experiments.rivals import deepfakes, faceshifter, faceswap, hififace, loop, measure, simswap
from smoothswap_lib import render
from smoothswap_lib.datasets import TrueSwap
from smoothswap_lib.discriminator import Discriminator, StridedDiscriminator
from smoothswap_lib.embedder import Embedder

DIM = 8
LEARNED = ("faceshifter", "simswap", "hififace")


@pytest.fixture(scope="module")
def data():
    return TrueSwap("test", size=64)


@pytest.fixture(scope="module")
def embedder():
    torch.manual_seed(1)
    return Embedder("plain", DIM).eval().requires_grad_(False)


def made(name: str) -> loop.Rival:
    torch.manual_seed(0)
    return rivals.RIVALS[name](64, DIM)


def images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("name", LEARNED)
def test_every_parameter_of_a_rival_gets_a_gradient(name, data, embedder):
    rival, rng = made(name), np.random.default_rng(0)
    discriminator = StridedDiscriminator(64, 64, 8).requires_grad_(False)
    pairs = loop.make_pairs(rival, data, embedder, *rival.draw(data, 4, 1, rng), rng)
    x_swap, terms = rival.losses(pairs, embedder, discriminator)
    assert x_swap.shape == pairs.x_target.shape and x_swap.abs().max() <= 1
    assert terms.keys() == rival.weights.keys()
    sum(terms.values()).backward()
    assert not [name for name, p in rival.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert torch.equal(rival.swap(pairs), x_swap)


def test_aad_with_the_mask_open_is_the_identitys_and_closed_the_attributes(fixed_seed):
    layer = faceshifter.AAD(6, 5, DIM)
    h, attributes, z = torch.randn(2, 6, 4, 4), torch.randn(2, 5, 4, 4), torch.randn(2, DIM)
    normed = (h - h.mean((2, 3), keepdim=True)) / (h.var((2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
    expected = {
        1.0: layer.from_identity(z)[:, :, None, None],
        0.0: F.conv2d(attributes, layer.from_attributes.weight, layer.from_attributes.bias),
    }
    torch.nn.init.zeros_(layer.mask.weight)
    for mask, both in expected.items():
        torch.nn.init.constant_(layer.mask.bias, 1e4 * (mask - 0.5))
        gamma, beta = both.split(6, dim=1)
        torch.testing.assert_close(layer(h, attributes, z), gamma * normed + beta)


def test_adain_gives_each_channel_the_mean_and_deviation_it_is_told(fixed_seed):
    layer = simswap.AdaIN(6, DIM)
    z = torch.randn(3, DIM)
    out, (scale, shift) = layer(torch.randn(3, 6, 32, 32), z), layer.style(z).split(6, dim=1)
    torch.testing.assert_close(out.mean((2, 3)), shift, atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std((2, 3), correction=0), scale.abs(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", [StridedDiscriminator, Discriminator])
def test_weak_features_leave_the_first_stages_free(kind):
    discriminator, x = kind(64, 64, 8), images(4)
    logits, features = simswap.logits_and_features(discriminator, x)
    assert torch.equal(logits, discriminator(x)) and len(features) == 4
    others = [f + 1 for f in features[:2]] + features[2:]
    assert simswap.weak_feature_matching(others, features).item() == 0
    others = [*features[:2], features[2] + 1, features[3] - 2]
    assert simswap.weak_feature_matching(others, features).item() == pytest.approx(3)


def test_hififace_with_its_mask_closed_is_the_target_and_open_is_not():
    rival, x = made("hififace"), images(2)
    z, coefficients = F.normalize(torch.ones(2, DIM)), torch.zeros(2, hififace.NUM_COEFFICIENTS)
    torch.nn.init.zeros_(rival.mask[-1].weight)
    for bias, same in ((-1e4, True), (1e4, False)):
        torch.nn.init.constant_(rival.mask[-1].bias, bias)
        assert torch.equal(rival(x, z, coefficients), x) == same


def test_hififaces_swaps_do_not_teach_the_reader_and_faces_do_not_teach_the_swapper(data, embedder):
    rival, rng = made("hififace"), np.random.default_rng(0)
    pairs = loop.make_pairs(rival, data, embedder, *rival.draw(data, 2, 1, rng), rng)
    for term, teaches_reader in (("shape", False), ("reader", True)):
        rival.zero_grad(set_to_none=True)
        rival.losses(pairs, embedder, StridedDiscriminator(64, 64, 8))[1][term].backward()
        taught = {name.startswith("reader") for name, p in rival.named_parameters() if p.grad is not None}
        assert taught == {teaches_reader}


def test_a_self_pairs_fused_face_is_its_own(data):
    rival, rows = made("hififace"), np.array([3, 700])
    known = rival.known(data, rows, rows, np.random.default_rng(0))
    assert torch.equal(known["coefficients"], known["own"])
    assert (known["fused"] - known["landmarks"]).abs().max() < 0.1  # pixels; the file keeps half precision
    assert np.abs(render.landmarks(*data.parameters(3), 128) - 2 * data.landmarks(3)).max() < 0.1


def test_the_head_mask_has_a_rim():
    mask = torch.zeros(1, 16, 16)
    mask[0, 8, 8] = render.HAIR
    mask[0, 0, 0] = render.CLOTHES
    assert hififace.head_mask(mask).sum() == 25


def test_a_mesh_warped_onto_itself_changes_nothing_and_a_shift_shifts(data):
    x, points = data.image_batch([5])[0], torch.from_numpy(data.landmarks(5))
    hull = faceswap.hull_mask(points, 64)
    assert 200 < hull.sum() < 2500
    torch.testing.assert_close(faceswap.warp_mesh(x, points, points)[:, hull], x[:, hull], atol=1e-4, rtol=0)
    torch.testing.assert_close(faceswap.swap_by_mesh(x, x, points, points), x, atol=1e-4, rtol=0)
    moved = torch.tensor([3.0, -2.0])  # right and up
    shifted = torch.roll(x, (-2, 3), (1, 2))
    inside = faceswap.hull_mask(points + moved, 64)
    inside[:, :3] = inside[-2:] = False  # what comes from outside of the picture
    warped = faceswap.warp_mesh(x, points, points + moved)
    torch.testing.assert_close(warped[:, inside], shifted[:, inside], atol=1e-3, rtol=0)


def test_deepfakes_persons_have_decoders_of_their_own_and_only_the_hull_changes(data):
    rival, rows = made("deepfakes"), data.matrix_indices()
    known = rival.known(data, rows[[0, 1], 3], rows[[1, 0], 5])
    assert known["person"].tolist() == [0, 1]
    x = data.image_batch(rows[[1, 0], 5])
    pairs = loop.Pairs(x, x, torch.zeros(2, DIM), torch.zeros(2, dtype=torch.bool), known)
    before = rival.swap(pairs)
    outside = known["hull"].expand_as(x) == 0
    assert torch.equal(before[outside], x[outside]) and not torch.equal(before, x)
    with torch.no_grad():
        rival.decoders[1][-2].bias += 1
    after = rival.swap(pairs)
    assert torch.equal(before[0], after[0]) and not torch.equal(before[1], after[1])


def test_no_shift_warps_nothing():
    x = images(2)
    torch.testing.assert_close(deepfakes.warped(x, torch.zeros(2, 2, 5, 5)), x, atol=1e-5, rtol=0)


def test_pairs_that_are_the_same(data):
    for alike in ("picture", "person"):
        source, target, same = loop.draw_pairs(data, 64, 40, np.random.default_rng(0), alike)
        one = source == target if alike == "picture" else data.identities[source] == data.identities[target]
        assert same.sum() == 40 and one[same].all() and one[~same].mean() < 0.2
        assert alike == "picture" or (source != target)[same].mean() > 0.8


class Copy(loop.Rival):
    """Hands back one of the two pictures, or one with a gray spot in place of the face."""

    which, gray = "x_target", False

    def swap(self, pairs):
        x = getattr(pairs, self.which).clone()
        if self.gray:
            x[:, :, 16:56, 16:48] = -0.2
        return x


def test_the_check_sees_through_copies(data, embedder):
    target = measure.self_check(Copy(64, DIM), data, embedder, 16)
    assert target["reconstructs"] and target["self_error"] == 0 and target["error_over_copying"] == 1
    assert not target["moves_identity"] and target["gain"] == pytest.approx([0, 0, 0], abs=1e-6)
    thief = Copy(64, DIM)
    thief.which = "x_source"
    source = measure.self_check(thief, data, embedder, 16)
    assert source["passed"] and source["cos_source_of_swap"] == pytest.approx(1)
    assert source["error_over_copying"] > 1
    thief.gray = True
    spot = measure.self_check(thief, data, embedder, 16)
    assert spot["reconstructs"] and not spot["has_a_face"] and not spot["passed"]


def test_the_picture_shows_every_system_the_same_pairs(data, embedder):
    _, swap = measure_rivals.rival_of("faceswap", None, data, embedder)
    pixels, rows = measure_rivals.picture(
        data, {"faceswap": swap, "nothing": lambda _, t: data.image_batch(t)}, 0
    )
    assert rows == ["source", "target", "faceswap", "nothing", "true swap"] and pixels.dtype == np.uint8
    tiles = pixels.reshape(5, 64, measure_rivals.SHOWN, 64, 3).swapaxes(1, 2)
    source, target, faceswap, nothing, true = tiles
    assert np.array_equal(target, nothing) and not np.array_equal(target, faceswap)
    assert (target != true).any((1, 2, 3)).all() and (source != true).any((1, 2, 3)).all()


def test_systems_are_compared_at_equal_steps_only(tmp_path):
    assert measure_rivals.seconds_of(tmp_path, 750) == 0  # nothing to train
    pd.DataFrame({"step": [25, 750], "seconds": [9.0, 300.0]}).to_parquet(tmp_path / "metrics.parquet")
    assert measure_rivals.seconds_of(tmp_path, 750) == 300
    with pytest.raises(ValueError, match="trained for 750 steps and --ours for 500"):
        measure_rivals.seconds_of(tmp_path, 500)


def test_lines_of_code_are_statements():
    source = '"""Doc\nstring."""\n\n# comment\ndef f(\n    a,  # why\n):\n    """Only this."""\n\nx = 1\n'
    assert measure.code_lines(source) == 3  # def, pass, x


def test_sizes_are_what_the_layers_say(data):
    size = measure.size_of(made("deepfakes"), data)
    whole = sum(p.numel() for p in made("deepfakes").parameters())
    one = sum(p.numel() for p in made("deepfakes").decoders[0].parameters())
    assert size["trained_parameters"] == whole and size["parameters"] == whole - one
    assert measure.size_of(made("faceswap"), data)["multiply_adds"] == 0


def test_the_command_trains_checks_and_goes_on(tmp_path, capsys):
    settings = [f"--set={text}" for text in ("steps=2", "batch_size=4", "preview_every=2")]
    arguments = ["--out", str(tmp_path), "--profile", "quick", "--pairs", "4", "--pictures", "1", *settings]
    assert main([*arguments, "--weight", "identity=5"]) == 0
    sizes = json.loads((tmp_path / "sizes.json").read_text())
    assert sizes.keys() == {*rivals.RIVALS, "smoothswap"}
    assert sizes["smoothswap"]["loss_terms"] == 3 < sizes["hififace"]["loss_terms"]
    for name, kind in rivals.RIVALS.items():
        folder = tmp_path / f"{name}-0"
        check = json.loads((folder / "check.json").read_text())
        assert check["rival"] == name and np.isfinite(check["self_error"])
        assert (folder / "swaps.png").is_file()
        if kind.weights:
            trained = rivals.load_rival(kind, folder)
            assert trained.identity_dim == 128 and not trained.training
            assert (folder / "previews" / "step_000002.png").is_file()
    assert json.loads((tmp_path / "simswap-0" / "profile.json").read_text())["weights"]["identity"] == 5

    assert main([*arguments, "--rivals", "simswap"]) == 2  # another weight than the run's
    assert "cannot be resumed with another config" in capsys.readouterr().err
    assert main([*arguments, "--rivals", "simswap", "--weight", "attributes=1"]) == 2
    assert "the terms of these rivals are adversarial, identity" in capsys.readouterr().err
