"""TrueSwap's light: the constant surrounding and at most two lamps, in six set-ups.

Depends on traits.
"""

from dataclasses import dataclass

import numpy as np

from smoothswap_lib.world.traits import Attributes

FACE = np.array([0.0, 0.0, -0.03])  # meters: what the lamps look at
DISTANCE = 1.3  # meters from the face to a lamp
# Reflected light / lamp light on a surface that looks at it is albedo x brightness of this many units.
KEY = 1.3
# Cameras meter: the picture brightens less than the lamps do.
METERED = 0.6
LEAST_AMBIENT, AMBIENT_SLOPE = 0.34, 0.66  # of the surrounding, by the attribute


@dataclass(frozen=True)
class Lamp:
    """A rectangle that emits toward its target: (3,) meters, half sides in meters, linear RGB radiance."""

    position: np.ndarray
    target: np.ndarray
    half_width: float
    half_height: float
    radiance: np.ndarray


@dataclass(frozen=True)
class SetUp:
    """Numbers of one set-up; `key` and `fill` are shares of KEY, `least_*` bounds what an attribute asks."""

    ambient: float  # factor of the attribute
    key: float
    half_width: float
    half_height: float
    least_azimuth: float = 0.0  # degrees, to either side
    most_azimuth: float = 70.0
    least_elevation: float = -5.0
    fill: float = 0.0  # a second lamp from the other side
    behind: float = 0.0  # a second lamp behind the head, on the key's other side


SETUPS = {
    "softbox": SetUp(0.60, 0.9, 0.35, 0.35),
    "window": SetUp(0.35, 1.25, 0.30, 0.60, least_azimuth=35.0),
    "overcast": SetUp(1.10, 0.40, 0.85, 0.85, most_azimuth=30.0, least_elevation=40.0),
    "two_sides": SetUp(0.32, 0.85, 0.25, 0.40, least_azimuth=30.0, fill=0.45),
    "rim": SetUp(0.45, 0.65, 0.45, 0.45, most_azimuth=35.0, behind=1.6),
    "ring": SetUp(0.45, 0.85, 0.22, 0.22, most_azimuth=6.0),
}


def warmth(amount: float) -> np.ndarray:
    """Tint (3,) of a light: -1 is bluish, 1 is orange, brightness about kept."""
    return np.array([1 + 0.16 * amount, 1.0, 1 - 0.22 * amount])


def white_balance(attributes: Attributes) -> np.ndarray:
    """Gains (3,) of the camera's channels: what it takes for white, brightness about kept."""
    warm, tint = attributes.white_balance, attributes.tint
    return np.exp(np.array([0.15 * warm + 0.05 * tint, -0.05 * tint, -0.20 * warm + 0.05 * tint]))


def ambient(attributes: Attributes) -> np.ndarray:
    """Radiance (3,) of the constant surrounding, linear RGB."""
    factor = SETUPS[attributes.lighting].ambient
    brightness = LEAST_AMBIENT + AMBIENT_SLOPE * attributes.ambient
    return factor * brightness * warmth(0.5 * attributes.ambient_warmth)


def lamps(attributes: Attributes) -> list[Lamp]:
    """The key lamp and, where the set-up has one, a second lamp."""
    setup = SETUPS[attributes.lighting]
    side = 1.0 if attributes.light_azimuth >= 0 else -1.0
    reach = min(abs(attributes.light_azimuth) / 70, 1.0)
    azimuth = side * (setup.least_azimuth + reach * (setup.most_azimuth - setup.least_azimuth))
    elevation = max(attributes.light_elevation, setup.least_elevation)
    strength = attributes.light_strength**METERED
    tint = strength * warmth(attributes.light_warmth)
    key = _lamp(azimuth, elevation, setup.half_width, setup.half_height, setup.key * tint)
    if setup.fill:
        other = _lamp(-azimuth, 0.5 * elevation, setup.half_width, setup.half_height, setup.fill * tint)
        return [key, other]
    if setup.behind:
        cool = strength * warmth(-attributes.light_warmth)
        return [key, _lamp(-side * 145, 35.0, 0.15, 0.35, setup.behind * cool)]
    return [key]


def _lamp(azimuth, elevation, half_width, half_height, brightness):
    """A lamp at two angles (degrees) whose light on the face has the given brightness, linear RGB."""
    a, e = np.deg2rad([azimuth, elevation])
    direction = np.array([np.sin(a) * np.cos(e), -np.cos(a) * np.cos(e), np.sin(e)])
    solid_angle = 4 * half_width * half_height / DISTANCE**2
    radiance = KEY * np.pi * brightness / solid_angle
    return Lamp(FACE + DISTANCE * direction, FACE, half_width, half_height, radiance)
