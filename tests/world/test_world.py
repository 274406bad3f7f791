"""TrueSwap's population: what is drawn, how it is spread, that traits are independent, and clips."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from people import draw

from smoothswap_lib import world
from smoothswap_lib.world import traits
from smoothswap_lib.world.sampling import SHARE_DARK, SHARE_DYED, SHARE_MADE_UP

SEEDS = st.integers(0, 2**32 - 1)
UNIT = (0, 1)
IDENTITY_RANGES = {
    "gender": UNIT, "age": UNIT, "weight": UNIT, "shape": (-1, 1), "melanin": UNIT,
    "skin_redness": UNIT, "freckles": UNIT, "moles": UNIT, "iris": UNIT, "lip_redness": UNIT,
    "brow_thickness": (1, 6), "brow_density": UNIT, "brow_arch": (-2, 6), "hair": UNIT, "gray": UNIT,
    "hairline": (-9, 12), "recession": (0, 16),
}  # fmt: skip
STATE_RANGES = {
    "age": (-0.3, 0.3), "weight": (-0.4, 0.4), "tan": (-1, 1), "redness": (-1, 1), "gray": (-0.5, 0.5),
    "bleach": UNIT, "dye": UNIT, "dye_color": UNIT, "beard_length": (3, 22), "stubble": UNIT,
    "lipstick": UNIT, "lipstick_color": UNIT, "brow_pencil": UNIT,
}  # fmt: skip
ATTRIBUTE_RANGES = {
    "yaw": (-40, 40), "pitch": (-18, 18), "roll": (-15, 15), "actions": UNIT, "gaze_x": (-25, 25),
    "gaze_y": (-25, 25), "light_azimuth": (-70, 70), "light_elevation": (-5, 60),
    "light_strength": (0.7, 1.4), "light_warmth": (-1, 1), "ambient": (0.3, 0.8),
    "ambient_warmth": (-1, 1), "background_top": UNIT, "background_bottom": UNIT,
    "background_contrast": (0.1, 1), "clothes": UNIT, "clothes_accent": UNIT, "glasses_color": UNIT,
    "hair_volume": UNIT, "hair_length": (0, 360), "hair_curl": UNIT, "parting": (-1, 1), "fringe": UNIT,
    "exposure": (-1, 1), "white_balance": (-1, 1), "tint": (-1, 1), "grain": (0, 3),
    "zoom": (1.1, 1.3), "shift_x": (-0.04, 0.04), "shift_y": (-0.04, 0.04),
}  # fmt: skip
KINDS = {
    world.Identity: (world.sample_identity, IDENTITY_RANGES, {"asymmetry", "skin_seed"}),
    world.State: (world.sample_state, STATE_RANGES, set()),
    world.Attributes: (world.sample_attributes, ATTRIBUTE_RANGES, {"background_seed", "hair_seed"}),
}
# Fields whose columns depend on each other: they are parts of one choice.
TIED = {
    "identity.gray": "identity.age",
    "identity.beard_style": "identity.gender",
    "identity.brow_thickness": "identity.gender",
    "identity.brow_arch": "identity.gender",
    "attributes.hair_length": "attributes.hair_style",  # a style has its range
    "attributes.background_bottom": "attributes.background_top",  # a darker or lighter shade of it
}
DRAWS = 2000


@pytest.fixture(scope="module")
def people():
    """2,000 draws of everything, as (names, (N, columns) numbers); a style is 0 or 1 in one column each."""
    rows = [world.to_columns(*draw(seed)) for seed in range(DRAWS)]
    numbers = {}
    for name, value in rows[0].items():
        if isinstance(value, str):
            for style in traits.CHOICES[name.split(".")[1]]:
                numbers[f"{name}={style}"] = [float(row[name] == style) for row in rows]
        else:
            numbers[name] = [float(row[name]) for row in rows]
    return list(numbers), np.array(list(numbers.values())).T


def column(people, name):
    names, values = people
    return values[:, names.index(name)]


def test_every_field_has_its_range_here():
    for kind, (_, ranges, unbounded) in KINDS.items():
        assert set(ranges) | unbounded | set(traits.CHOICES) >= {f.name for f in fields(kind)}
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


DRAWN = [expression for group in world.EXPRESSIONS for expression in group]


def test_any_two_traits_are_independent(people):
    """Gender, skin, hair, state, light and all others but TIED: no field says anything of another one."""
    names, values = people
    varied = values.std(0) > 0
    kept = [name for name, keep in zip(names, varied) if keep]
    field = [".".join(name.split("=")[0].split(".")[:2]) for name in kept]
    group = np.array([TIED.get(name, name) for name in field])
    assert len(set(group)) > 50
    correlation = np.abs(np.corrcoef(values[:, varied].T))
    apart = group[:, None] != group
    # One correlation of independent numbers has a deviation of 1 / sqrt(N); the largest of all is some five.
    worst = np.unravel_index(np.argmax(correlation * apart), correlation.shape)
    assert correlation[worst] < 5.5 / np.sqrt(DRAWS), f"{kept[worst[0]]} and {kept[worst[1]]}"


def test_shapes_are_independent_and_centered(people):
    names, values = people
    shape = values[:, [name.startswith("identity.shape.") for name in names]]
    assert shape.shape[1] == len(world.shape_spreads()) == 97
    assert np.abs(shape.mean(0)).max() < 0.05
    assert np.abs(np.corrcoef(shape.T) - np.eye(97)).max() < 5.5 / np.sqrt(DRAWS)
    # Independently: a clipped normal distribution's deviation, from a million draws.
    normal = np.random.default_rng(1).normal(0, 1, 1_000_000)
    expected = {s: np.clip(s * normal, -1, 1).std() for s in set(world.shape_spreads())}
    deviations = [expected[s] for s in world.shape_spreads()]
    assert shape.std(0) == pytest.approx(deviations, rel=0.08)


def test_the_shapes_that_are_held_back_exist():
    assert set(world.SMALLER_SPREADS) < {*world.PAIRED_SHAPES, *world.SINGLE_SHAPES}
    assert max(world.SMALLER_SPREADS.values()) < world.SPREAD


@pytest.mark.parametrize(
    "name",
    ["identity.gender", "identity.melanin", "identity.age", "identity.weight", "attributes.light_azimuth",
     "attributes.parting", "state.stubble"],
)  # fmt: skip
def test_uniform_numbers_fill_their_range_evenly(people, name):
    values = np.sort(column(people, name))
    ranks = (values - values[0]) / np.ptp(values)
    distance = np.abs(ranks - (np.arange(DRAWS) + 0.5) / DRAWS).max()
    assert distance < 1.95 / np.sqrt(DRAWS)  # Kolmogorov-Smirnov at .001


@pytest.mark.parametrize("field", traits.CHOICES)
def test_styles_come_equally_often(people, field):
    kind = "identity" if field == "beard_style" else "attributes"
    shares = {style: column(people, f"{kind}.{field}={style}").mean() for style in traits.CHOICES[field]}
    assert sum(shares.values()) == pytest.approx(1)
    worn = {"beard_style": world.SHARE_BEARDED, "glasses": world.SHARE_WITH_GLASSES}.get(field)
    expected = dict.fromkeys(shares, 1 / len(shares))
    if worn:  # "none" is not one among equals
        expected = dict.fromkeys(shares, worn / (len(shares) - 1)) | {"none": 1 - worn}
    if field == "glasses":
        expected = dict.fromkeys(shares, worn * (1 - SHARE_DARK) / (len(shares) - 2))
        expected |= {"none": 1 - worn, "sunglasses": worn * SHARE_DARK}
    for style, share in shares.items():
        deviation = np.sqrt(expected[style] * (1 - expected[style]) / DRAWS)
        assert share == pytest.approx(expected[style], abs=4 * deviation), style


def test_hair_is_as_long_as_its_style(people):
    assert set(world.HAIR_LENGTHS) == set(traits.HAIR_STYLES)
    length = column(people, "attributes.hair_length")
    for style, (least, most) in world.HAIR_LENGTHS.items():
        lengths = length[column(people, f"attributes.hair_style={style}") == 1]
        assert least <= lengths.min() <= least + 0.1 * (most - least)
        assert most >= lengths.max() >= most - 0.1 * (most - least)


@pytest.mark.parametrize("name, spread", [("yaw", 14.9), ("pitch", 6.93), ("roll", 3.99), ("gaze_x", 11.6)])
def test_poses_are_centered_and_symmetric(people, name, spread):
    angles = column(people, f"attributes.{name}")
    assert abs(angles.mean()) < 5 * spread / np.sqrt(len(angles))
    assert angles.std() == pytest.approx(spread, rel=0.08)


def test_gray_comes_with_age_and_beards_with_the_axis_of_gender(people):
    gender, bearded = column(people, "identity.gender"), column(people, "identity.beard_style=none") == 0
    assert gender[bearded].mean() < 0.5 * gender[~bearded].mean()
    assert np.corrcoef(column(people, "identity.age"), column(people, "identity.gray"))[0, 1] > 0.5


@pytest.mark.parametrize(
    "name, share", [("dye", SHARE_DYED), ("lipstick", SHARE_MADE_UP), ("brow_pencil", SHARE_MADE_UP)]
)
def test_dye_and_make_up_come_as_often_as_stated(people, name, share):
    worn = (column(people, f"state.{name}") > 0).mean()
    assert worn == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / DRAWS))


def test_twins_share_all_but_their_bones():
    people = world.sample_twins(np.random.default_rng(3))
    assert people == world.sample_twins(np.random.default_rng(3)) and len(people) == 4
    assert len(world.sample_twins(np.random.default_rng(3), 6)) == 6
    first, bones = people[0], {"shape", "asymmetry"}
    for twin in people[1:]:
        assert {name for name, value in vars(twin).items() if value != getattr(first, name)} == bones
    shapes = np.array([twin.shape for twin in people])
    # As far apart as strangers are: a difference of independent draws has sqrt(2) times their deviation.
    apart = (shapes[:, None] - shapes)[np.triu_indices(4, 1)]
    assert np.sqrt((apart**2).mean(1)) == pytest.approx(np.sqrt(2) * shapes_deviation(), rel=0.3)


def shapes_deviation():
    draws = [world.sample_identity(np.random.default_rng(seed)).shape for seed in range(200)]
    return np.sqrt((np.array(draws) ** 2).mean())


def test_expressions_come_as_often_as_stated(people):
    names, values = people
    for actions, probability, _, most in DRAWN:
        columns = [column(people, f"attributes.actions.{action}") for action in actions]
        often = (columns[0] > 0).mean()
        assert often == pytest.approx(probability, abs=4.5 * np.sqrt(probability / len(values)))
        assert columns[0].max() < most + 0.25
        if len(columns) == 2:  # the same strength left and right, but for a deviation of .04 each
            assert np.abs(columns[0] - columns[1]).max() < 0.35
    moved = {a for actions, *_ in DRAWN for a in actions}
    moved |= {a for followers in world.FOLLOWERS.values() for a, _ in followers}
    still = {f"attributes.actions.{a}" for a in set(world.ACTIONS) - moved}
    assert not values[:, [names.index(name) for name in still]].any()


def test_a_mouth_and_an_eye_do_one_thing_at_a_time(people):
    for group in world.EXPRESSIONS:
        drawn = np.stack([column(people, f"attributes.actions.{actions[0]}") > 0 for actions, *_ in group])
        assert drawn.sum(0).max() == 1


def test_a_smile_reaches_the_cheeks(people):
    smile = column(people, "attributes.actions.mouthSmileLeft")
    for name, share in world.FOLLOWERS["mouthSmileLeft"]:
        assert column(people, f"attributes.actions.{name}") == pytest.approx(share * smile)


MOVED = [(name, part) for name, parts in world.MOVEMENTS.items() for part, _ in parts]


def value(attributes, name):
    return dict(zip(world.ACTIONS, attributes.actions), **vars(attributes))[name]


@pytest.mark.parametrize("movement", world.MOVEMENTS)
def test_a_clip_moves_what_it_says_and_nothing_else(movement):
    start = draw(3)[2]
    clip = world.sequence(start, movement, 7)
    assert len(clip) == 7 and clip[0] == start
    moved = {name for name, _ in world.MOVEMENTS[movement]}
    assert moved <= {*world.ACTIONS, "yaw", "pitch", "roll"}
    for frame in clip[1:]:
        different = {
            name for name in (*vars(start), *world.ACTIONS) if value(frame, name) != value(start, name)
        }
        assert different - {"actions"} == moved


@pytest.mark.parametrize("movement, name", MOVED)
def test_a_clip_is_smooth_and_a_loop(movement, name):
    frames = 40
    amplitude = dict(world.MOVEMENTS[movement])[name]
    start = world.neutral_attributes()
    track = np.array([value(frame, name) for frame in world.sequence(start, movement, frames)])
    steps = np.abs(np.diff([*track, track[0]]))  # with the one from the last frame to the first
    assert steps.max() <= amplitude * 2 * np.pi / frames + 1e-9
    if name in world.ACTIONS:
        assert track.min() == 0 and track.max() == track[frames // 2] == pytest.approx(amplitude)
        assert track[1:] == pytest.approx(track[:0:-1])  # as it rose, so it falls
    else:
        assert track[frames // 4] == pytest.approx(amplitude) == -track[3 * frames // 4]
        assert track[1:] == pytest.approx(-track[:0:-1])  # to both sides alike


def test_clips_that_cannot_be_say_why():
    start = world.neutral_attributes()
    with pytest.raises(ValueError, match="movement is 'dance'; choose one of nod, turn, tilt"):
        world.sequence(start, "dance", 8)
    with pytest.raises(ValueError, match="frames is 1; a clip has at least 2"):
        world.sequence(start, "nod", 1)
