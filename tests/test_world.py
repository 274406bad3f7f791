"""TrueSwap's parameters: what is drawn, how it is spread, and that columns lose nothing."""

from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothswap_lib import world

SEEDS = st.integers(0, 2**32 - 1)
UNIT = (0, 1)
IDENTITY_RANGES = {
    "gender": UNIT, "age": (0, 0.9), "weight": (0.1, 0.9), "shape": (-1, 1), "melanin": UNIT,
    "skin_redness": UNIT, "iris": UNIT, "lip_redness": UNIT, "brow_thickness": (2, 4.5),
    "brow_density": (0.45, 1), "brow_arch": (-1, 4), "hair": UNIT, "recession": (0, 16),
    "hair_top": (3, 24), "hair_side": (2, 18), "hair_length": (0, 170), "fringe": (0, 34),
    "parting": (-1, 1), "beard": UNIT, "mustache": UNIT,
}  # fmt: skip
STATE_RANGES = {"age": (-0.2, 0.2), "weight": (-0.35, 0.35), "hair_length": (-20, 20), "stubble": UNIT}
ATTRIBUTE_RANGES = {
    "yaw": (-45, 45), "pitch": (-25, 25), "roll": (-15, 15), "actions": UNIT, "gaze_x": (-25, 25),
    "gaze_y": (-25, 25), "light_azimuth": (-70, 70), "light_elevation": (-5, 60),
    "light_strength": (0.9, 2.3), "light_warmth": (-1, 1), "ambient": (0.35, 0.8),
    "ambient_warmth": (-1, 1), "background_top": UNIT, "background_bottom": UNIT,
    "background_contrast": (0, 0.5), "clothes": UNIT, "zoom": (0.84, 0.98), "shift_x": (-0.04, 0.04),
    "shift_y": (-0.04, 0.04),
}  # fmt: skip
UNBOUNDED = {"asymmetry", "hairline", "skin_seed", "hair_seed"}
KINDS = {
    world.Identity: (
        world.sample_identity,
        IDENTITY_RANGES,
        {"asymmetry", "hairline", "skin_seed", "hair_seed"},
    ),
    world.State: (world.sample_state, STATE_RANGES, set()),
    world.Attributes: (world.sample_attributes, ATTRIBUTE_RANGES, {"background_seed"}),
}
FLAGS = {"has_hair"}


def one(seed):
    rng = np.random.default_rng(seed)
    return world.sample_identity(rng), world.sample_state(rng), world.sample_attributes(rng)


@pytest.fixture(scope="module")
def people():
    """2,000 draws of everything, as (names, (N, columns) numbers)."""
    rows = [world.to_columns(*one(seed)) for seed in range(2000)]
    return list(rows[0]), np.array([[float(v) for v in row.values()] for row in rows])


def test_every_field_has_its_range_here():
    for kind, (_, ranges, unbounded) in KINDS.items():
        assert set(ranges) | unbounded | FLAGS >= {f.name for f in fields(kind)}
        assert set(ranges).isdisjoint(unbounded)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_samples_keep_to_their_ranges(kind, seed):
    sample, ranges, _ = KINDS[kind]
    record = sample(np.random.default_rng(seed))
    for name, (least, most) in ranges.items():
        values = np.atleast_1d(getattr(record, name))
        assert (least <= values).all() and (values <= most).all(), f"{name} {values}"
    assert record == sample(np.random.default_rng(seed))


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_columns_round_trip_exactly(seed):
    whole = one(seed)
    columns = world.to_columns(*whole)
    assert world.from_columns(columns) == whole
    assert world.from_columns(dict(reversed(columns.items())) | {"more": 1}) == whole
    assert {type(value) for value in columns.values()} == {float, int, bool}
    seeds = [value for name, value in columns.items() if name.endswith("_seed")]
    assert len(seeds) == 3 and all(0 <= value < 2**31 for value in seeds)


def test_every_number_has_one_column():
    whole = one(0)
    columns = world.to_columns(*whole)
    sizes = [np.size(getattr(record, f.name)) for record in whole for f in fields(record)]
    assert len(columns) == sum(sizes)
    assert (
        columns["identity.shape.nose-hump-incr"]
        == whole[0].shape[(world.PAIRED_SHAPES + world.SINGLE_SHAPES).index("nose-hump-incr")]
    )
    assert columns["attributes.actions.jawOpen"] == whole[2].actions[world.ACTIONS.index("jawOpen")]
    assert columns["attributes.clothes.green"] == whole[2].clothes[1]


@pytest.mark.parametrize("name", ["identity.hair.blue", "state.age", "attributes.actions.tongueOut"])
def test_a_missing_column_is_named(name):
    columns = world.to_columns(*one(0))
    del columns[name]
    with pytest.raises(KeyError, match=name):
        world.from_columns(columns)


def test_names_are_distinct():
    for names, count in ((world.PAIRED_SHAPES + world.SINGLE_SHAPES, 97), (world.ACTIONS, 52)):
        assert len(set(names)) == len(names) == count
    assert len(world.PAIRED_SHAPES) == 31
    drawn = [name for names, *_ in world.EXPRESSIONS for name in names]
    assert len(set(drawn)) == len(drawn) and set(drawn) < set(world.ACTIONS)


def test_records_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        one(0)[0].gender = 0.5


def test_identity_state_and_attributes_are_independent(people):
    names, values = people
    varied = values.std(0) > 0
    kept = [name for name, keep in zip(names, varied) if keep]
    group = np.array([name.split(".")[0] for name in kept])
    correlation = np.corrcoef(values[:, varied].T)
    # One correlation of independent numbers has a deviation of 1 / sqrt(N); the largest of all is some five.
    for first, second in (("identity", "state"), ("identity", "attributes"), ("state", "attributes")):
        between = np.abs(correlation[group == first][:, group == second])
        assert between.max() < 5.5 / np.sqrt(len(values)), f"{first} and {second}"


def test_shapes_are_independent_and_centered(people):
    names, values = people
    shape = values[:, [name.startswith("identity.shape.") for name in names]]
    assert shape.shape[1] == 97
    assert np.abs(shape.mean(0)).max() < 0.04
    # A normal distribution of .42 clipped at 1 has a deviation of .417.
    assert np.abs(shape.std(0) - 0.417).max() < 0.03
    assert np.abs(np.corrcoef(shape.T) - np.eye(97)).max() < 5.5 / np.sqrt(len(values))


@pytest.mark.parametrize(
    "name, least, most",
    [
        ("identity.melanin", 0, 1),
        ("identity.age", 0, 0.9),
        ("identity.weight", 0.1, 0.9),
        ("attributes.light_azimuth", -70, 70),
        ("attributes.zoom", 0.84, 0.98),
        ("state.stubble", 0, 1),
    ],
)
def test_uniform_numbers_fill_their_range_evenly(people, name, least, most):
    names, values = people
    ranks = np.sort((values[:, names.index(name)] - least) / (most - least))
    distance = np.abs(ranks - (np.arange(len(ranks)) + 0.5) / len(ranks)).max()
    assert distance < 1.95 / np.sqrt(len(ranks))  # Kolmogorov-Smirnov at .001


@pytest.mark.parametrize("name, spread", [("yaw", 18), ("pitch", 8), ("roll", 4), ("gaze_x", 12)])
def test_poses_are_centered_and_symmetric(people, name, spread):
    names, values = people
    angles = values[:, names.index(f"attributes.{name}")]
    assert abs(angles.mean()) < 5 * spread / np.sqrt(len(angles))
    assert angles.std() == pytest.approx(spread, rel=0.08)


def test_expressions_come_as_often_as_stated(people):
    names, values = people
    for actions, probability, _, most in world.EXPRESSIONS:
        columns = [values[:, names.index(f"attributes.actions.{action}")] for action in actions]
        often = (columns[0] > 0).mean()
        assert often == pytest.approx(probability, abs=4.5 * np.sqrt(probability / len(values)))
        assert columns[0].max() < most + 0.25
        if len(columns) == 2:  # the same strength left and right, but for a deviation of .04 each
            assert np.abs(columns[0] - columns[1]).max() < 0.35
    still = {f"attributes.actions.{a}" for a in world.ACTIONS} - {
        f"attributes.actions.{a}" for names_, *_ in world.EXPRESSIONS for a in names_
    }
    assert not values[:, [names.index(name) for name in still]].any()


def test_beards_grow_on_masculine_heads_only(people):
    names, values = people
    column = {name: values[:, names.index(f"identity.{name}")] for name in ("gender", "beard", "mustache")}
    masculine = column["gender"] < 0.5
    for name, share in (("beard", 0.3), ("mustache", 0.35)):
        assert not column[name][~masculine].any()
        assert (column[name][masculine] > 0).mean() == pytest.approx(share, abs=0.06)


def test_the_passport_picture_is_still_and_plain():
    neutral = world.neutral_attributes()
    assert neutral == world.neutral_attributes()
    assert not any(
        (neutral.yaw, neutral.pitch, neutral.roll, neutral.gaze_x, neutral.gaze_y, *neutral.actions)
    )
    assert neutral.background_contrast == neutral.light_warmth == neutral.shift_x == neutral.shift_y == 0
