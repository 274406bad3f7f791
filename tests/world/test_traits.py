"""The records of a picture: their columns lose nothing, and what lies between two pictures."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from people import draw

from smoothswap_lib.world import traits

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_columns_round_trip_exactly(seed):
    whole = draw(seed)
    columns = traits.to_columns(*whole)
    assert traits.from_columns(columns) == whole
    assert traits.from_columns(dict(reversed(columns.items())) | {"more": 1}) == whole
    assert {type(value) for value in columns.values()} == {float, int, str}
    seeds = [value for name, value in columns.items() if name.endswith("_seed")]
    assert len(seeds) == 3 and all(0 <= value < 2**31 for value in seeds)


def test_every_number_has_one_column():
    whole = draw(0)
    columns = traits.to_columns(*whole)
    sizes = [np.size(getattr(record, f.name)) for record in whole for f in fields(record)]
    assert len(columns) == sum(sizes)
    shapes = traits.PAIRED_SHAPES + traits.SINGLE_SHAPES
    assert columns["identity.shape.nose-hump-incr"] == whole[0].shape[shapes.index("nose-hump-incr")]
    ears = traits.PAIRED_SHAPES.index("ear-wing-incr")
    assert columns["identity.asymmetry.ear-wing-incr"] == whole[0].asymmetry[ears]
    assert columns["attributes.actions.jawOpen"] == whole[2].actions[traits.ACTIONS.index("jawOpen")]
    assert columns["attributes.clothes.green"] == whole[2].clothes[1]
    assert columns["attributes.glasses_color.blue"] == whole[2].glasses_color[2]
    assert columns["state.dye_color.red"] == whole[1].dye_color[0]
    assert columns["attributes.hair_style"] == whole[2].hair_style


@pytest.mark.parametrize(
    "name",
    ["identity.hair.blue", "identity.beard_style", "identity.asymmetry.eye-bag-out", "state.age",
     "state.lipstick_color.red", "attributes.actions.tongueOut", "attributes.hair_style"],
)  # fmt: skip
def test_a_missing_column_is_named(name):
    columns = traits.to_columns(*draw(0))
    del columns[name]
    with pytest.raises(KeyError, match=f"column '{name}' is missing"):
        traits.from_columns(columns)


@pytest.mark.parametrize("field", traits.CHOICES)
def test_an_unknown_style_is_named_with_those_that_are_known(field):
    columns = traits.to_columns(*draw(0))
    name = next(name for name in columns if name.endswith(f".{field}"))
    with pytest.raises(ValueError, match=f"column '{name}' is 'mullet'; choose one of .*") as error:
        traits.from_columns(columns | {name: "mullet"})
    assert all(style in str(error.value) for style in traits.CHOICES[field])
    for style in traits.CHOICES[field]:
        record = traits.from_columns(columns | {name: style})[name.startswith("attributes.") * 2]
        assert getattr(record, field) == style


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, r=st.floats(0, 1))
def test_between_two_pictures_lies_a_picture(seed, r):
    first, second = (traits.to_columns(*draw(s)) for s in (seed, seed + 1))
    mixed = traits.between(first, second, r)
    assert list(mixed) == list(first)
    traits.from_columns(mixed)
    for name, value in mixed.items():
        assert type(value) is type(first[name])
        if isinstance(value, float):
            expected = first[name] + r * (second[name] - first[name])
            assert value == pytest.approx(expected, rel=1e-9, abs=1e-9), name
        else:
            assert value == (first if r < 0.5 else second)[name]
