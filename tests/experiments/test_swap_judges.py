"""The judges of swaps: what they are told, and the scores made of what they say."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from measure_swappers import Pairs, by_mediapipe, earlier_systems, frechet, high_energy
from swap_judges import Components, frontal_landmarks


def test_the_head_of_landmarks_only_deforms_like_the_whole_one(model, test_split):
    small = model.only_landmarks()
    for parameters in map(test_split.parameters, (0, 100, 2000)):
        whole, part = frontal_landmarks(model, *parameters), frontal_landmarks(small, *parameters)
        assert np.allclose(whole, part, atol=1e-9)


def test_expression_is_what_actions_add_and_shape_does_not_know_them(model, test_split):
    small = model.only_landmarks()
    *person, attributes = test_split.parameters(5)
    shape, expression = frontal_landmarks(small, *person, attributes)
    shape_still, expression_still = frontal_landmarks(
        small, *person, replace(attributes, actions=(0.0,) * 52)
    )
    assert np.array_equal(shape, shape_still)
    assert np.abs(expression_still).max() == 0 < np.abs(expression).max()


def test_components_recover_a_plane():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((136, 2)))[0].T
    points = rng.standard_normal((50, 2)) @ np.diag([5, 2]) @ axes + 7
    found = Components.of(points, 2)
    assert found.share == pytest.approx(1)
    assert np.allclose(found.coordinates(points) @ found.axes + found.mean, points)


def test_frechet_of_two_gaussians_is_the_closed_form():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((200_000, 2)) * [1, 2]
    b = rng.standard_normal((200_000, 2)) * [3, 2] + [0, 1]
    # axes are independent: sum of (difference of means)^2 + (difference of deviations)^2
    assert frechet(a, b) == pytest.approx(1 + 4, rel=0.02)
    assert frechet(a, a) == pytest.approx(0, abs=1e-6)


def test_high_frequencies_are_those_above_half_of_nyquist():
    x = torch.arange(64).float()
    slow, fast = ((2 * torch.pi * k * x / 64).sin().expand(1, 3, 64, 64) for k in (4, 24))
    assert high_energy(slow) < 1e-6 * high_energy(fast)


def test_a_pair_is_answered_by_the_source_person_in_the_target_picture(test_split):
    pairs = Pairs(test_split)
    source, target, true = pairs.rows
    people, columns = test_split.identities, test_split.attribute_sets
    assert (people[source] == people[true]).all() and (columns[target] == columns[true]).all()
    assert (people[source] != people[target]).all() and (columns[source] != columns[true]).all()
    assert len(true) >= 2000
    two = Pairs(test_split, among=(3, 40))  # a system that knows two people only
    known = test_split.identities[test_split.matrix_indices()[[3, 40], 0]]
    assert np.isin(people[np.concatenate(two.rows)], known).all() and len(two.x_true) == 48
    assert (people[two.rows[0]] != people[two.rows[1]]).all()
    everything = np.ones(len(true))
    assert pairs.interval(everything, 2 * everything) == [0.5, 0.5]


def test_systems_of_an_earlier_file_stay_only_if_pairs_and_judges_are_the_same(tmp_path):
    path, same = tmp_path / "swappers.json", {"pairs": 4, "judges": {"identity": "ab"}}
    assert earlier_systems(None, same) == earlier_systems(path, same) == {}
    path.write_text('{"pairs": 4, "judges": {"identity": "ab"}, "systems": {"a-0": {"mse": 1.0}}}')
    assert earlier_systems(path, same) == {"a-0": {"mse": 1.0}}
    with pytest.raises(ValueError, match="measured with other judges"):
        earlier_systems(path, same | {"judges": {"identity": "cd"}})


def test_mediapipes_scores_are_of_the_pairs_in_which_it_finds_all_faces():
    said = {end: torch.zeros(3, 54) for end in ("swap", "source", "target")}
    said["swap"][0, 3], said["source"][0, 3] = 1.0, 4.0  # expression: 1 from the target, 3 from the source
    said["swap"][0, 52], said["source"][0, 53] = 3.0, 4.0  # pose: 3 and 5 degrees
    said["source"][1, 0] = said["source"][1, 52] = 2.0  # the target itself
    said["target"][2] = torch.nan
    scores = by_mediapipe(said)
    assert scores["share_mediapipe"] == pytest.approx(2 / 3)
    assert scores["expression_mediapipe"] == pytest.approx(1 / 2)
    assert scores["expression_r_mediapipe"] == pytest.approx((1 / 4 + 0) / 2)
    assert scores["pose_mediapipe"] == pytest.approx(3 / 2)
    assert scores["pose_r_mediapipe"] == pytest.approx((3 / 8 + 0) / 2)
