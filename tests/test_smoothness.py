"""Slerp, d_smooth and retrieval against closed forms and slow literal versions."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation, Slerp

from smoothswap_lib import smoothness
from smoothswap_lib.evaluation import retrieval


def unit(*shape, seed=0):
    z = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return z / z.norm(dim=-1, keepdim=True)


def circle(angles):
    angles = torch.as_tensor(angles, dtype=torch.float64)
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def test_slerp_agrees_with_scipys_rotations_with_a_ratio_for_each_pair():
    # Unit quaternions are points of a sphere in 4-d; scipy interpolates them on the shorter of two arcs.
    z_a, z_b, r = unit(8, 4, seed=1), unit(8, 4, seed=2), torch.linspace(0, 1, 8, dtype=torch.float64)
    z_b = z_b * (z_a * z_b).sum(1, keepdim=True).sign()
    ours = smoothness.slerp(z_a, z_b, r).numpy()
    for a, b, ratio, point in zip(z_a.numpy(), z_b.numpy(), r, ours, strict=True):
        theirs = Slerp([0, 1], Rotation.from_quat(np.stack([a, b])))(float(ratio)).as_quat()
        np.testing.assert_allclose(point * np.sign(point @ theirs), theirs, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", [0.0, 1e-7, 1e-5, 1e-3, 1.0, math.pi - 1e-3, math.pi - 1e-5, math.pi])
def test_slerp_is_finite_unit_and_ends_where_it_should_at_every_angle(angle, dtype):
    z_a = unit(5, 16, seed=3)
    side = unit(5, 16, seed=4)
    side = side - (side * z_a).sum(1, keepdim=True) * z_a
    z_b = math.cos(angle) * z_a + math.sin(angle) * side / side.norm(dim=1, keepdim=True)
    z_a, z_b = z_a.to(dtype), z_b.to(dtype)
    for r in (0.0, 0.3, 0.5, 1.0):
        z = smoothness.slerp(z_a, z_b, r)
        torch.testing.assert_close(z.norm(dim=1), torch.ones(5, dtype=dtype))
        turned = 2 * torch.atan2((z - z_a).norm(dim=1), (z + z_a).norm(dim=1))
        torch.testing.assert_close(turned, torch.full_like(turned, r * angle), atol=2e-4, rtol=0)
        torch.testing.assert_close(z, smoothness.slerp(z_b, z_a, 1 - r), atol=2e-4, rtol=0)
    torch.testing.assert_close(smoothness.slerp(z_a, z_b, 1.0), z_b, atol=1e-5, rtol=0)


def test_slerp_of_unscaled_vectors_has_unit_length_and_can_be_differentiated():
    z_a = unit(4, 8, seed=5).mul(7).requires_grad_()
    z_b = torch.cat([z_a[:1], -z_a[1:2], unit(2, 8, seed=6)]).detach()
    z = smoothness.slerp(z_a, z_b, 0.4)
    z[:, 0].sum().backward()
    torch.testing.assert_close(z.norm(dim=1), torch.ones(4, dtype=torch.float64))
    assert torch.isfinite(z_a.grad).all() and z_a.grad.abs().sum(1).gt(0).all()


Z = unit(3, 4)


@pytest.mark.parametrize(
    "function, arguments, message",
    [
        (smoothness.slerp, (Z, Z, -0.1), r"\[0, 1\]"),
        (smoothness.slerp, (Z, Z, 1.1), r"\[0, 1\]"),
        (smoothness.slerp, (Z, torch.zeros(3, 4), 0.5), "zero or non-finite"),
        (smoothness.slerp, (Z, Z, torch.rand(2)), "shape"),
        (smoothness.smoothness_score, (Z[:1].repeat(5, 1), unit(9, 4), 0.5), "collapsed"),
        (smoothness.draw_pairs, (4, 10, 0, [1, 1, 1, 1]), "two different"),
        (smoothness.nearest, (Z[:1], Z[:2], torch.tensor([[0, 1]])), "excluded"),
        (smoothness.nearest, (Z[:1], Z[:2], torch.tensor([2])), "gallery indices"),
        (smoothness.smoothness_score_path, (Z,), "A, in-between, B"),
    ],
)
def test_bad_input_is_refused_in_words(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)


@pytest.mark.parametrize("blocks", [(1024, 16384), (7, 11), (1, 1)])
def test_nearest_in_blocks_is_the_brute_force_answer(blocks, monkeypatch):
    monkeypatch.setattr(smoothness, "QUERY_BLOCK", blocks[0])
    monkeypatch.setattr(smoothness, "GALLERY_BLOCK", blocks[1])
    z, gallery = unit(20, 6, seed=7), unit(37, 6, seed=8)
    exclude = torch.randint(-1, 37, (20, 3), generator=torch.Generator().manual_seed(9))
    distances = torch.cdist(z, gallery)
    for row in range(20):
        distances[row, exclude[row][exclude[row] >= 0]] = math.inf
    indices, distance = smoothness.nearest(z, gallery, exclude)
    assert torch.equal(indices, distances.argmin(1))
    torch.testing.assert_close(distance, distances.min(1).values)


def test_an_image_is_never_its_own_neighbor():
    z = unit(30, 5, seed=10)
    own = torch.arange(30)
    assert torch.equal(smoothness.nearest(z, z)[0], own)
    assert not (smoothness.nearest(z, z, own)[0] == own).any()
    for a, b in zip(*smoothness.draw_pairs(30, 20, 0), strict=True):
        indices, _ = retrieval.retrieval_path(z[a], z[b], z, exclude=[a, b])
        assert a not in indices and b not in indices


def literal_d_smooth(z, gallery, r, first, second, own=None):
    ratios = []
    for a, b in zip(first, second, strict=True):
        omega = math.acos(max(-1.0, min(1.0, float(z[a] @ z[b]))))
        point = (math.sin((1 - r) * omega) * z[a] + math.sin(r * omega) * z[b]) / math.sin(omega)
        out = () if own is None else (own[a], own[b])
        gaps = [np.linalg.norm(point - g) for j, g in enumerate(gallery) if j not in out]
        ratios.append(min(gaps) / np.linalg.norm(z[a] - z[b]))
    return float(np.mean(ratios))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("r", [0.25, 0.5])
def test_smoothness_score_equals_the_paper_read_word_by_word(r, dtype):
    z, gallery = unit(25, 8, seed=11), unit(60, 8, seed=12)
    pairs = smoothness.draw_pairs(25, 80, 3)
    for images, own in ((gallery, None), (z, np.arange(25))):
        score = smoothness.smoothness_score(z.to(dtype), images.to(dtype), r, pairs=80, seed=3, own=own)
        literal = literal_d_smooth(z.numpy(), images.numpy(), r, *pairs, own)
        assert score.mean == pytest.approx(literal, abs=1e-6)
    assert (score.gallery_size, score.pairs, score.r) == (25, 80, r)
    assert score.low < score.mean < score.high


def test_pairs_are_repeatable_and_of_two_identities():
    identity = np.repeat(np.arange(3), 10)
    first, second = smoothness.draw_pairs(30, 500, 1, identity)
    assert (identity[first] != identity[second]).all()
    assert np.array_equal((first, second), smoothness.draw_pairs(30, 500, 1, identity))
    assert not np.array_equal(first, smoothness.draw_pairs(30, 500, 2, identity)[0])
    first, second = smoothness.draw_pairs(3, 500, 1)
    assert (first != second).all() and len(np.unique(first * 3 + second)) == 6


def test_the_interval_covers_what_other_images_would_have_given():
    # 30 draws of 60 test images each: the spread of their scores is what standard_error claims to be.
    gallery = unit(200, 4, seed=15)
    z = unit(30 * 60, 4, seed=16).reshape(30, 60, 4)
    scores = [smoothness.smoothness_score(part, gallery, 0.5, 600, seed=k) for k, part in enumerate(z)]
    spread = np.std([score.mean for score in scores])
    claimed = np.mean([score.standard_error for score in scores])
    assert 0.6 * spread < claimed < 2.5 * spread


def test_score_of_a_generator():
    z_a, z_b = unit(50, 6, seed=17), unit(50, 6, seed=18)
    middle = smoothness.slerp(z_a, z_b, 0.5)
    assert abs(smoothness.smoothness_score_path(torch.stack([z_a, middle, z_b], 1)).mean) < 1e-9
    # A generator that jumps to B at once is half of the way short: 2 sin(w / 4) of 2 sin(w / 2).
    omega = torch.acos((z_a * z_b).sum(1))
    expected = (torch.sin(omega / 4) / torch.sin(omega / 2)).mean().item()
    score = smoothness.smoothness_score_path(torch.stack([z_a, z_b, z_b], 1))
    assert score.mean == pytest.approx(expected, abs=1e-9)
    assert score.gallery_size is None and score.pairs == 50 and "no gallery" in str(score)


def test_retrieval_path_walks_through_the_gallery_in_order():
    gallery = circle(torch.linspace(0, math.pi / 2, 11))
    indices, unique = retrieval.retrieval_path(gallery[0], gallery[10], gallery)
    assert indices.tolist() == list(range(1, 10)) and unique == 9
    indices, unique = retrieval.retrieval_path(gallery[0], gallery[10], gallery[[0, 10]])
    assert set(indices.tolist()) == {0, 1} and unique == 2
    to_a, to_b = retrieval.path_distances(gallery[0], gallery[10], gallery[1:10])
    assert torch.allclose(to_a, to_b.flip(0))
    torch.testing.assert_close(to_a, 2 * torch.sin(torch.arange(1, 10, dtype=torch.float64) * math.pi / 40))


def test_unique_per_interpolation_tells_smooth_from_lumpy():
    z = circle(torch.linspace(0, math.pi / 2, 40))
    dense = retrieval.unique_per_interpolation(z, circle(torch.linspace(0, 2, 4000)), pairs=16)
    lumpy = retrieval.unique_per_interpolation(z, circle([0.0, 1.0]), pairs=16)
    assert (dense.mean, dense.standard_deviation) == (9, 0)
    assert 1 <= lumpy.mean <= lumpy.counts.max() <= 2
    assert (lumpy.gallery_size, len(lumpy.counts), lumpy.points) == (2, 16, 9)


def test_mean_pair_distance_of_random_directions_is_the_square_root_of_two():
    assert retrieval.mean_pair_distance(unit(500, 512, seed=19)) == pytest.approx(math.sqrt(2), abs=0.01)
