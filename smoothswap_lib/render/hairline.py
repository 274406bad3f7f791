"""Where hair grows: the edge of the scalp's hair, and the areas of each beard, by place on the template.

What is painted under the strands and where the strands are rooted come from the same formulas. Depends on
traits, head.
"""

import numpy as np

from smoothswap_lib.render.head import SCALP_CENTER, smoothstep
from smoothswap_lib.world.traits import Attributes, Identity, State

AZIMUTHS = np.array([0.0, 0.35, 0.62, 0.9, 1.15, 1.45, 1.75, 2.2, np.pi])
HEIGHTS = np.array([64.0, 64, 58, 36, 4, 18, 12, -28, -48])  # mm above the eyes, of the mean person
EAR = np.array([0.087, 0.083, -0.022])  # meters, the left ear's middle
EAR_SIZE = np.array([0.013, 0.024, 0.034])
# Areas of each style, of mustache, goatee, chin strap, cheeks.
BEARD_AREAS = {
    "mustache": (1, 0, 0, 0),
    "goatee": (1, 1, 0, 0),
    "chin_strap": (0, 1, 1, 0),
    "short": (1, 1, 1, 1),
    "full": (1, 1, 1, 1),
}
JAW = ((0.0, 0.028, 0.058, 0.067), (-0.116, -0.106, -0.081, -0.04))  # its edge: |x| -> z, meters
SHADOW = 0.35  # most that stubble covers of shaved skin


def height(azimuth: np.ndarray, identity: Identity) -> np.ndarray:
    """Where the hair ends, in meters above the eyes, by azimuth (0 = front, +-pi/2 = ears, pi = nape)."""
    heights = HEIGHTS.copy()
    heights[:3] += identity.hairline + identity.recession * np.array([0.15, 0.6, 1.0])
    heights[3] += 0.5 * (identity.hairline + identity.recession)
    return np.interp(np.abs(azimuth), AZIMUTHS, heights) / 1000


def scalp_cover(points: np.ndarray, identity: Identity, attributes: Attributes) -> np.ndarray:
    """How densely hair covers the skin, (N,) 0 to 1, at template positions (N, 3)."""
    if attributes.hair_style == "bald":
        return np.zeros(len(points), points.dtype)
    x, y, z = points.T
    azimuth = np.arctan2(x, -(y - SCALP_CENTER[1]))
    above = z - height(azimuth, identity) - _raggedness(azimuth, identity.skin_seed)
    # Cropped hair shows its edge as it is; longer hair hides most of the transition.
    soft = 0.016 if attributes.hair_style == "buzz" else 0.012
    most = 0.85 if attributes.hair_style == "buzz" else 0.93
    return most * smoothstep(-0.3 * soft, 0.7 * soft, above) * (z > -0.06) * (1 - _on_ear(points))


def _raggedness(azimuth, seed):
    """Small bays and capes of a hairline, meters up; the same for one person always."""
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, 3)
    waves = [np.sin(k * azimuth + phase) for k, phase in zip((11, 23, 41), phases)]
    return 0.0011 * sum(waves)


def _on_ear(points):
    """1 on the ears, 0 off them."""
    mirrored = np.stack([np.abs(points[:, 0]), points[:, 1], points[:, 2]], 1)
    return (((mirrored - EAR) / EAR_SIZE) ** 2).sum(1) < 1


def beard_cover(points: np.ndarray, off_lips: np.ndarray, identity: Identity, state: State) -> np.ndarray:
    """How densely a beard covers the skin, (N,) 0 to 1.

    Parameters
    ----------
    points : (N, 3) template positions, meters.
    off_lips : (N,) 1 off the lips, 0 on them.
    """
    areas = beard_areas(points)
    # Masculine faces only: nobody else's skin would show a shaved beard.
    shadow = SHADOW * state.stubble * smoothstep(0.6, 0.4, identity.gender)
    shadow = shadow * np.max(areas, axis=0) * off_lips
    if identity.beard_style == "none":
        return shadow
    chosen = BEARD_AREAS[identity.beard_style]
    grown = np.max([area for area, used in zip(areas, chosen) if used], axis=0) * off_lips
    # The shaved rest of a bearded face shows its stubble too.
    return np.maximum((0.72 + 0.2 * state.stubble) * grown, 0.6 * shadow)


def beard_areas(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mustache, goatee, chin strap and cheeks, (N,) 0 to 1 each, at template positions (N, 3)."""
    x, y, z = points.T
    side = np.abs(x)
    cheek_line = -0.072 + 0.9 * np.clip(side - 0.028, 0, 0.045)
    lower = (
        smoothstep(0.004, -0.006, z - cheek_line) * smoothstep(-0.150, -0.128, z) * smoothstep(0.085, 0.06, y)
    )
    mustache = smoothstep(-0.052, -0.057, z) * smoothstep(-0.076, -0.070, z) * smoothstep(0.034, 0.026, side)
    mustache = mustache * (y < 0)
    middle = smoothstep(0.034, 0.026, side) * (y < 0.03)
    goatee = lower * middle * smoothstep(-0.066, -0.072, z)
    # The lowest centimeter of the face, and all that is under the jaw.
    above_jaw = z - np.interp(side, *JAW)
    chin_strap = lower * np.maximum(smoothstep(0.016, 0.009, above_jaw), smoothstep(0.026, 0.034, y))
    return mustache, goatee, chin_strap, lower
