"""Light and background: closed forms, mirrors, and the same wall at every size."""

from dataclasses import replace

import numpy as np
import pytest
from people import PASSPORT, draw, rms

from smoothswap_lib.render import light as lighting
from smoothswap_lib.render.backdrop import backdrop
from smoothswap_lib.world.traits import BACKDROPS, LIGHTINGS

WALL = replace(
    PASSPORT, background_top=(0.2, 0.4, 0.6), background_bottom=(0.6, 0.2, 0.1), background_contrast=0.7
)


def wall(kind, size=64, **changes):
    return backdrop(replace(WALL, backdrop=kind, **changes), size)


@pytest.mark.parametrize("kind", BACKDROPS)
def test_a_wall_is_a_picture(kind):
    for seed in range(4):
        picture = backdrop(replace(draw(seed)[2], backdrop=kind), 48)
        assert picture.shape == (48, 48, 3) and np.isfinite(picture).all()
        assert picture.min() >= 0 and picture.max() <= 1
        assert (picture == backdrop(replace(draw(seed)[2], backdrop=kind), 48)).all()


@pytest.mark.parametrize("kind", BACKDROPS)
def test_a_wall_looks_the_same_at_every_size(kind):
    for seed in range(3):
        small, large = (wall(kind, size, background_seed=seed) for size in (64, 256))
        averaged = large.reshape(64, 4, 64, 4, 3).mean((1, 3))
        assert rms(averaged, small) < 0.02
        assert np.abs(averaged - small).mean() < 0.008


@pytest.mark.parametrize("kind", BACKDROPS)
def test_without_contrast_a_wall_is_a_gradient(kind):
    rows = (np.arange(8) + 0.5) / 8
    if kind == "plain":
        rows = np.full(8, 0.5)
    expected = np.outer(1 - rows, WALL.background_top) + np.outer(rows, WALL.background_bottom)
    assert wall(kind, 8, background_contrast=0.0) == pytest.approx(np.repeat(expected[:, None], 8, 1))


@pytest.mark.parametrize("kind", BACKDROPS)
def test_contrast_strengthens_the_pattern_and_the_seed_moves_it(kind):
    flat, weak, strong = (wall(kind, background_contrast=c) for c in (0.0, 0.3, 0.9))
    least = 0.005 if kind == "plain" else 0.03
    assert rms(strong, flat) > 1.5 * rms(weak, flat) > least
    others = [wall(kind, background_seed=seed) for seed in range(4)]
    assert min(rms(others[0], other) for other in others[1:]) > least
    for other in (k for k in BACKDROPS if k != kind):
        assert rms(wall(kind), wall(other)) > 0.02, other


def lamps(kind, **changes):
    return lighting.lamps(replace(PASSPORT, lighting=kind, **changes))


@pytest.mark.parametrize("kind", LIGHTINGS)
def test_lamps_look_at_the_face_with_the_light_they_should(kind):
    for seed in range(4):
        attributes = replace(draw(seed)[2], lighting=kind)
        found = lighting.lamps(attributes)
        assert len(found) == (2 if kind in ("two_sides", "rim") else 1)
        surrounding = lighting.ambient(attributes)
        assert surrounding.shape == (3,) and (surrounding > 0).all() and (surrounding < 2).all()
        for lamp in found:
            assert np.linalg.norm(lamp.position - lamp.target) > 1  # meters: outside the head
            assert lamp.half_width > 0 and lamp.half_height > 0
            assert np.isfinite(lamp.radiance).all() and (lamp.radiance > 0).all()


@pytest.mark.parametrize("kind", LIGHTINGS)
def test_the_key_lamp_stands_where_the_attributes_say(kind):
    right, left = lamps(kind, light_azimuth=50.0), lamps(kind, light_azimuth=-50.0)
    assert right[0].position[0] > 0 and right[0].position[1] < 0  # before the face
    for here, there in zip(right, left, strict=True):
        assert here.position * [-1, 1, 1] == pytest.approx(there.position)
        assert here.radiance == pytest.approx(there.radiance)
    high, low = (lamps(kind, light_elevation=e)[0].position[2] for e in (60.0, 40.0))
    assert high > low > lighting.FACE[2]
    farther, nearer = (abs(lamps(kind, light_azimuth=a)[0].position[0]) for a in (70.0, 20.0))
    assert farther > nearer


def test_set_ups_are_what_their_names_say():
    ring = lamps("ring", light_azimuth=70.0, light_elevation=0.0)[0].position
    assert abs(ring[0]) < 0.2 * abs(ring[1])  # around the lens, wherever the light should come from
    assert lamps("rim")[1].position[1] > 0.5  # behind the head
    key, fill = lamps("two_sides", light_azimuth=40.0)
    assert fill.position[0] < 0 < key.position[0]
    assert (fill.radiance < key.radiance).all()
    areas = {kind: 4 * lamps(kind)[0].half_width * lamps(kind)[0].half_height for kind in LIGHTINGS}
    assert max(areas, key=areas.get) == "overcast" and min(areas, key=areas.get) in ("ring", "two_sides")
    assert lamps("overcast", light_elevation=0.0)[0].position[2] > 0.5  # the sky is above


def irradiance(lamp, count=200):
    """(3,) light that falls on a surface at the target that looks at the lamp, summed over its area."""
    away = lamp.position - lamp.target
    distance = np.linalg.norm(away)
    u, v = (np.mgrid[:count, :count] + 0.5) / count * 2 - 1
    squared = distance**2 + (u * lamp.half_width) ** 2 + (v * lamp.half_height) ** 2
    cosines = (distance / np.sqrt(squared)) ** 2  # of the lamp's surface and of the lit one
    area = 4 * lamp.half_width * lamp.half_height / count**2
    return lamp.radiance * (cosines / squared).sum() * area


def test_a_lamp_lights_the_face_whatever_its_size():
    """Reflected light is albedo x irradiance / pi: a share of KEY, less what large lamps lose."""
    for kind in LIGHTINGS:
        light = irradiance(lamps(kind, light_strength=1.0, light_warmth=0.0)[0]) / np.pi
        share = light / (lighting.KEY * lighting.SETUPS[kind].key)
        assert (share < 1).all() and (share > (0.5 if kind == "overcast" else 0.8)).all(), kind


def test_stronger_light_is_brighter_and_keeps_its_color():
    for kind in LIGHTINGS:
        weak, strong = (lamps(kind, light_strength=s) for s in (0.7, 1.4))
        for low, high in zip(weak, strong, strict=True):
            factor = high.radiance / low.radiance
            assert (factor > 1.2).all() and np.ptp(factor) < 1e-9


def test_warm_light_is_more_orange():
    cold, warm = (lamps("softbox", light_warmth=w)[0].radiance for w in (-1.0, 1.0))
    assert warm[0] / warm[2] > 1.3 * cold[0] / cold[2]
    assert warm.mean() == pytest.approx(cold.mean(), rel=0.15)
    cold, warm = (lighting.ambient(replace(PASSPORT, ambient_warmth=w)) for w in (-1.0, 1.0))
    assert warm[0] / warm[2] > 1.1 * cold[0] / cold[2]
    dim, bright = (lighting.ambient(replace(PASSPORT, ambient=a)) for a in (0.3, 0.8))
    assert (bright > 1.3 * dim).all()
