"""TrueSwap's skin: tone, freckles, lips, brows, lines of age and the base of all hair as one texture.

Every texel of the head's texture knows its place on the template, so a brow or a wrinkle is a formula in
meters. Colors are linear RGB reflectances in [0, 1]. Depends on traits, head, hairline, strands, texels.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from smoothswap_lib.render.hairline import beard_cover, scalp_cover
from smoothswap_lib.render.head import TEXTURE_SIZE, HeadModel, smoothstep
from smoothswap_lib.render.strands import GRAY, gray_share, hair_color
from smoothswap_lib.render.texels import (
    blob,
    random_places,
    soft_spots,
    spot_density,
    squared_distance,
    stroke,
    texel_map,
    waves,
)
from smoothswap_lib.world.traits import Attributes, Identity, State

LIGHT_SKIN, DARK_SKIN = np.array([0.76, 0.49, 0.37]), np.array([0.135, 0.070, 0.045])
# Melanin takes blue first: skin between the two ends is browner than their mean.
MIDDLE_TINT = np.array([0.30, 0.14, -0.04])
# Lips over skin, per channel, at redness 0 and 1; dark skin has its own.
LIGHT_LIPS = np.array([[0.74, 0.46, 0.50], [0.70, 0.26, 0.31]])
DARK_LIPS = np.array([[1.15, 0.88, 0.95], [1.90, 1.00, 1.15]])
STUBBLE = np.array([0.045, 0.050, 0.058])  # hair tips seen through skin
TAN = 0.13  # melanin that a summer adds, or a winter takes
INSIDE_MOUTH = np.array([0.16, 0.022, 0.020])
# Seeded parts of one skin; each has its own generator, so that one trait does not move another's spots.
BLOTCHES, FRECKLES, MOLES, LINES, SPOTS, BROWS = range(6)
MOST_FRECKLES, MOST_MOLES, MOST_SPOTS = 400, 7, 26
BROW_START, BROW_LENGTH = 0.0125, 0.042  # meters from the face's middle, and on toward the temple
BROW_HAIRS, BROW_HAIR_WIDTH = 150, 0.00035  # of one brow; meters, deviation
# Middle line of the upper and the lower lid's edge: |x|, z in meters.
UPPER_LID = ((0.0181, -0.0012), (0.0222, 0.0040), (0.0263, 0.0062), (0.031, 0.0064), (0.0356, 0.0046),
             (0.041, 0.0024), (0.0448, 0.0004))  # fmt: skip
LOWER_LID = ((0.0181, -0.0012), (0.0225, -0.0046), (0.0282, -0.0063), (0.0363, -0.0063), (0.0415, -0.0042),
             (0.0448, 0.0004))  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A line of age: |x|, z of its corners in meters (it is on both sides), its start and its looks."""

    corners: tuple
    onset: float  # age at which it starts to show
    depth: float  # share of the light that it takes at age 1
    width: float  # meters, deviation


def _forehead(z, onset, depth):
    """A line across the forehead that bows over the brows."""
    return Line(
        ((0.0, z - 0.001), (0.018, z + 0.001), (0.034, z + 0.0005), (0.044, z - 0.004)), onset, depth, 0.0013
    )


AGE_LINES = (
    Line(((0.0155, -0.037), (0.0215, -0.046), (0.0270, -0.056), (0.0305, -0.067)), 0.05, 0.44, 0.0022),
    Line(((0.0190, -0.0085), (0.0240, -0.0150), (0.0320, -0.0185), (0.0400, -0.0165)), 0.05, 0.36, 0.0018),
    Line(((0.0490, 0.0020), (0.0560, 0.0075), (0.0610, 0.0120)), 0.22, 0.38, 0.0012),
    Line(((0.0490, -0.0015), (0.0560, -0.0005), (0.0630, 0.0010)), 0.15, 0.42, 0.0012),
    Line(((0.0480, -0.0050), (0.0550, -0.0085), (0.0610, -0.0120)), 0.20, 0.40, 0.0012),
    Line(((0.0440, -0.0105), (0.0500, -0.0160), (0.0550, -0.0225)), 0.45, 0.30, 0.0013),
    _forehead(0.0345, 0.35, 0.36),
    _forehead(0.0425, 0.15, 0.48),
    _forehead(0.0505, 0.22, 0.46),
    _forehead(0.0580, 0.45, 0.38),
    Line(((0.0075, 0.0050), (0.0065, 0.0120), (0.0080, 0.0215)), 0.25, 0.46, 0.0013),
    Line(((0.0255, -0.0760), (0.0275, -0.0840), (0.0270, -0.0930), (0.0250, -0.1000)), 0.30, 0.38, 0.0019),
    Line(((0.0000, -0.0930), (0.0080, -0.0935), (0.0140, -0.0900)), 0.35, 0.28, 0.0018),
    Line(((0.0360, -0.0420), (0.0400, -0.0560), (0.0390, -0.0700)), 0.55, 0.30, 0.0020),
)  # fmt: skip
AGE_SPAN = 0.45  # of age, from a line's start to its full depth
AGE_DEPTH = 1.5  # of all lines and hollows


def skin_color(melanin: float, redness: float) -> np.ndarray:
    """Mean reflectance (3,) from melanin and redness; mixed in the logarithm, as pigments do."""
    mixed = np.exp(np.log(LIGHT_SKIN) * (1 - melanin) + np.log(DARK_SKIN) * melanin)
    mixed = mixed * np.exp(4 * melanin * (1 - melanin) * MIDDLE_TINT)
    return mixed * (1 + (redness - 0.5) * np.array([0.06, -0.14, -0.12]))


def paint(model: HeadModel, identity: Identity, state: State, attributes: Attributes) -> np.ndarray:
    """The skin's texture (TEXTURE_SIZE, TEXTURE_SIZE, 3): float32 linear RGB, v = 1 first."""
    texels, layers = texel_map(model), _layers(model, identity)
    drift = _drift(identity, state).astype(np.float32)
    colors = layers.colors * drift
    _make_up(texels, layers, state, colors)
    brow = _brow_color(identity, state)
    colors[layers.brow_place] = _mix(colors[layers.brow_place], brow, _pencil(layers.brow_cover, state))
    hair, gray = hair_color(identity, state)
    cover = scalp_cover(texels.points[texels.haired], identity, attributes)
    colors[texels.haired] = _mix(colors[texels.haired], 0.75 * (hair * (1 - gray) + GRAY * gray), cover)
    age = float(np.clip(identity.age + state.age, 0, 1))
    colors[texels.front] *= _aging(layers, age)
    area = texels.bearded
    cover = beard_cover(texels.points[area], texels.off_lips[area], identity, state)
    colors[area] = _mix(colors[area], _beard_color(identity, state), cover)
    texture = np.empty((TEXTURE_SIZE, TEXTURE_SIZE, 3), np.float32)
    texture[:] = skin_color(identity.melanin, identity.skin_redness) * drift
    texture.reshape(-1, 3)[texels.index] = np.clip(colors, 0, 1)
    return texture


def _drift(identity, state):
    """(3,) factor by which sun, cold and wine change this skin."""
    melanin = float(np.clip(identity.melanin + TAN * state.tan, -0.1, 1.1))
    now = skin_color(melanin, identity.skin_redness + state.redness)
    return now / skin_color(identity.melanin, identity.skin_redness)


def _make_up(texels, layers, state, colors):
    """Lipstick over `colors` (N, 3) in place: a factor, so that what is dark between the lips stays so."""
    if state.lipstick:
        share = (state.lipstick * layers.lip_share)[:, None]
        colors *= 1 + share * (np.array(state.lipstick_color, np.float32) / layers.lip - 1)


def _pencil(cover, state):
    return 1 - (1 - cover) ** (1 + 1.5 * state.brow_pencil)


@dataclass
class _Layers:
    """What one identity's pictures share, before sun, make-up and hair.

    colors: (N, 3) of age 0. lip: (3,) their color, lip_share: (N,) where they are. brow_place, brow_cover:
    (B,) texels of the brows and how much hair covers them. lines: (len(AGE_LINES), F) depth of each line, of
    the texels in front. spots: see `_age_spots`. sag: (F,) what goes hollow.
    """

    colors: np.ndarray
    lip: np.ndarray
    lip_share: np.ndarray
    brow_place: np.ndarray
    brow_cover: np.ndarray
    lines: np.ndarray
    spots: tuple
    sag: np.ndarray


@lru_cache(maxsize=4)  # one identity's images come one after the other
def _layers(model, identity) -> _Layers:
    texels = texel_map(model)
    colors = _bare_skin(texels, identity)
    _freckle(texels, identity, colors)
    lip, lip_share = _paint_lips_and_openings(texels, identity, colors)
    front = texels.points[texels.front]
    return _Layers(
        colors,
        lip.astype(np.float32),
        lip_share,
        *_brows(texels, identity),
        _line_depths(front, identity.skin_seed),
        _age_spots(texels, identity),
        _hollows(front),
    )


def _brow_color(identity, state):
    """(3,) linear RGB: grown, not dyed."""
    pigmented = 0.6 * np.array(identity.hair)
    return pigmented + 0.7 * gray_share(identity, state) * (0.8 * GRAY - pigmented)


def _beard_color(identity, state):
    """(3,) float32: under a beard the hair's color; stubble alone is seen through skin, bluish."""
    gray = gray_share(identity, state)
    color = 0.8 * (np.array(identity.hair) * (1 - gray) + GRAY * gray)
    if identity.beard_style == "none":
        color = 0.5 * color + 0.5 * STUBBLE
    return color.astype(np.float32)


def _bare_skin(texels, identity):
    """Skin tone with blotches and the places where more blood shines through."""
    x, y, z = texels.points.T
    side = np.abs(x)
    rng = _random(identity, BLOTCHES)
    tone = 0.04 * waves(texels.points, rng, 10, 0.02, 0.06) + 0.012 * waves(
        texels.points, rng, 8, 0.008, 0.016
    )
    blood = 0.03 * waves(texels.points, rng, 10, 0.015, 0.04)
    face = y < 0.04
    flush = 0.8 * blob(side, z, 0.041, -0.034, 0.017) + 0.6 * blob(side, z, 0, -0.040, 0.012)
    flush += 0.3 * blob(side, z, 0.014, -0.042, 0.008) + 0.45 * blob(side, z, 0, -0.110, 0.012)
    flush = flush * face + 0.8 * texels.masks["ears"]
    # Melanin hides most of what blood does.
    amount = (0.08 + 0.22 * identity.skin_redness) * (1 - 0.7 * identity.melanin)
    blood = blood + amount * flush
    yellow = 0.10 * blob(side, z, 0, 0.05, 0.03) * face
    socket = 0.10 * blob(side, z, 0.029, 0.010, 0.009) + 0.14 * blob(side, z, 0.017, -0.002, 0.005)
    shade = tone - socket * face
    tint = blood[:, None] * np.array([0.25, -1.0, -0.8], np.float32)
    tint = tint + yellow[:, None] * np.array([0.0, 0.1, -1.0], np.float32)
    skin = skin_color(identity.melanin, identity.skin_redness).astype(np.float32)
    return skin * np.exp(shade[:, None] + tint)


def _freckle(texels, identity, colors):
    """Darken `colors` (N, 3) in place by freckles and moles."""
    x, y, z = texels.points[texels.front].T
    side = np.abs(x)
    likely = blob(side, z, 0.032, -0.022, 0.016) + blob(side, z, 0, -0.018, 0.013) + 0.12 * (z > -0.1)
    rng = _random(identity, FRECKLES)
    centers = random_places(texels, likely * (y < 0.02), MOST_FRECKLES, rng)
    radii = rng.uniform(0.0005, 0.0011, MOST_FRECKLES)
    contrast = rng.uniform(0.5, 1.0, MOST_FRECKLES) * (0.6 + 0.6 * identity.freckles)
    # Freckles are little spots of melanin: on dark skin there is nothing to see.
    contrast *= np.clip(1.15 - 1.5 * identity.melanin, 0, 1)
    contrast *= np.clip(identity.freckles * MOST_FRECKLES - np.arange(MOST_FRECKLES), 0, 1)
    brown = np.minimum(spot_density(texels, centers, radii, contrast), 0.9)

    rng = _random(identity, MOLES)
    places = (
        (y < 0.03)
        & (texels.masks["lips"][texels.front] < 0.1)
        & (texels.masks["eyelids"][texels.front] < 0.1)
    )
    centers = random_places(texels, places, MOST_MOLES, rng)
    radii = rng.uniform(0.0009, 0.0017, MOST_MOLES)
    number = np.clip(identity.moles * MOST_MOLES - np.arange(MOST_MOLES), 0, 1)
    dark = np.minimum(spot_density(texels, centers, radii, 2.2 * number), 1.5)
    density = brown[:, None] * np.array([0.52, 0.70, 0.78]) + dark[:, None] * np.array([0.9, 1.25, 1.3])
    colors[texels.front] *= np.exp(-density).astype(np.float32)


def _paint_lips_and_openings(texels, identity, colors):
    """Lips, lids, lash lines, nostrils and the inside of the mouth, painted into `colors` (N, 3) in place.

    Returns the lips' color (3,) and where they are (N,).
    """
    skin = skin_color(identity.melanin, identity.skin_redness)
    light, dark = (ends[0] + (ends[1] - ends[0]) * identity.lip_redness for ends in (LIGHT_LIPS, DARK_LIPS))
    lip = skin * (light + (dark - light) * identity.melanin**1.3)
    x, y, z = texels.points.T
    lips = texels.masks["lips"] * smoothstep(0, 0.5, texels.masks["lips"])
    colors[:] = _mix(colors, lip, 0.92 * lips)
    lid = texels.masks["eyelids"] * (y < 0.02)
    colors *= np.exp(-lid[:, None] * np.array([0.22, 0.42, 0.36], np.float32))

    side = np.abs(x)
    near = (np.abs(side - 0.0315) < 0.018) & (np.abs(z - 0.002) < 0.014)  # lids
    near |= (np.abs(side - 0.010) < 0.008) & (np.abs(z + 0.044) < 0.005)  # nostrils
    near |= (side < 0.027) & (np.abs(z + 0.0725) < 0.003)  # between the lips
    near = np.flatnonzero(near & (y < 0.005) & ~texels.inside)
    sub = texels.spread(near)
    side, depth, height = np.abs(sub[..., 0]), sub[..., 1], sub[..., 2]
    lash = 0.85 * stroke(side, height, UPPER_LID, 0.0013) + 0.45 * stroke(side, height, LOWER_LID, 0.0008)
    crease = 0.20 * stroke(side, height - 0.0045, UPPER_LID, 0.0011) * (depth < -0.005)
    nostril = (
        ((side - 0.0100) / 0.0036) ** 2 + ((depth + 0.0320) / 0.0042) ** 2 + ((height + 0.0440) / 0.0022) ** 2
    )
    nostril = 0.8 * np.exp(-(nostril**2))
    slit = 0.75 * np.exp(-(((height + 0.0725) / 0.0013) ** 2)) * smoothstep(0.026, 0.020, side)
    shade = 1 - (1 - lash) * (1 - crease) * (1 - nostril) * (1 - slit)
    colors[near] *= 1 - shade.mean(1)[:, None] * np.array([0.88, 0.95, 0.97], np.float32)
    colors[:] = _mix(colors, INSIDE_MOUTH, texels.masks["inside_mouth"])
    return lip, (0.92 * lips * (1 - texels.masks["inside_mouth"])).astype(np.float32)


def _brows(texels, identity):
    """Brows of single hairs: their texels (B,) and how much hair covers each (B,)."""
    x, y, z = texels.points.T
    side, rng = np.abs(x), _random(identity, BROWS)
    near = (side > 0.005) & (side < 0.062) & (y < 0.03)
    near &= np.abs(z - _brow_height(side, identity)) < 0.005 + identity.brow_thickness / 1000
    places, covers = [], []
    for sign in (1, -1):
        mine = np.flatnonzero(near & (x * sign > 0))
        points = texels.spread(mine)
        places.append(mine)
        covers.append(_brow(points[..., 0] * sign, points[..., 2], identity, rng).mean(1))
    return np.concatenate(places), np.concatenate(covers)


def _brow(side, z, identity, rng):
    """How much hair covers points at |x| and z (both (n, S) meters), 0 to 1."""
    thickness = identity.brow_thickness / 1000
    along, across = rng.uniform(-0.02, 1.0, BROW_HAIRS), rng.uniform(-1, 1, BROW_HAIRS)
    root_x = BROW_START + BROW_LENGTH * along
    root_z = _brow_height(root_x, identity) + across * 0.85 * thickness * _brow_width(root_x)
    # Hairs near the nose stand up, the rest lie outward and meet in the middle line.
    angle = 1.25 - 1.5 * np.clip(along, 0, 0.75) - 0.35 * across * np.clip(along * 3, 0, 1)
    angle = angle + rng.normal(0, 0.14, BROW_HAIRS)
    length = (0.0035 + 0.5 * thickness) * rng.uniform(0.7, 1.2, BROW_HAIRS) * (1 - 0.35 * along)
    toward = length * np.array([np.cos(angle), np.sin(angle)])
    reach = np.zeros(side.shape, np.float32)
    # A brow begins thinly.
    weights = rng.uniform(0.5, 1.2, BROW_HAIRS) * (0.4 + 0.6 * np.clip(5 * along, 0, 1))
    for i, weight in enumerate(weights):
        reach += np.float32(weight) * _hair(
            side - np.float32(root_x[i]), z - np.float32(root_z[i]), toward[:, i]
        )
    half = thickness * _brow_width(side)
    ends = smoothstep(0.009, 0.016, side) * smoothstep(0.057, 0.046, side)
    under = 0.5 * ends * np.exp(-(((z - _brow_height(side, identity)) / half) ** 2))
    return 1 - np.exp(-(0.2 + 0.9 * identity.brow_density) * (reach + under))


def _brow_height(side, identity):
    """z in meters of the brow's middle line at |x|."""
    along = (side - BROW_START) / BROW_LENGTH
    arch = identity.brow_arch / 1000 * np.sin(np.pi * np.clip(0.85 * along, 0, 1))
    return 0.0175 + arch + 0.003 * along - 0.013 * np.clip(along - 0.7, 0, None)


def _brow_width(side):
    """Share of the brow's thickness: it tapers toward the temple, and a little toward the nose."""
    along = np.clip((side - BROW_START) / BROW_LENGTH, 0, 1)
    return (1 - 0.7 * along**1.8) * (0.75 + 0.25 * np.clip(4 * along, 0, 1))


def _hair(x, z, toward):
    """Soft cover of one hair that starts at (0, 0); it thins out toward its tip."""
    dx, dz = (float(part) for part in toward)
    t = np.clip((x * dx + z * dz) / (dx * dx + dz * dz), 0, 1)
    d2 = (x - t * dx) ** 2 + (z - t * dz) ** 2
    return (1 - 0.5 * t) * np.exp(d2 * (-0.5 / BROW_HAIR_WIDTH**2))


def _line_depths(points, seed):
    """(len(AGE_LINES), F) float32: what each full grown line takes; the folds beside it are below 0."""
    rng = np.random.default_rng([seed, LINES])
    bend = np.stack([waves(points, rng, 5, 0.025, 0.07) for _ in range(2)]) * np.float32(0.001)
    x, z = points[:, 0] + bend[0], points[:, 2] + bend[1]
    depths = np.zeros((len(AGE_LINES), len(points)), np.float32)
    for depth, line in zip(depths, AGE_LINES, strict=True):
        sides = line.depth * rng.uniform(0.55, 1.15, 2) * rng.uniform(0.7, 1.15)
        shift, tilt = rng.normal(0, 0.0008, 2).astype(np.float32), np.float32(rng.normal(0, 0.04))
        low, high = np.min(line.corners, 0) - 6 * line.width, np.max(line.corners, 0) + 6 * line.width
        side, height = np.abs(x) + shift[0], z + shift[1] + tilt * x
        near = np.flatnonzero((side > low[0]) & (side < high[0]) & (height > low[1]) & (height < high[1]))
        away = np.sqrt(squared_distance(side[near], height[near], line.corners)) / line.width
        groove = np.exp(-(away**2) / 2) - 0.14 * np.exp(-((away - 2.6) ** 2) / 2)
        # A line fades toward its far end, and goes and comes along its way.
        left = np.hypot(side[near] - line.corners[-1][0], height[near] - line.corners[-1][1])
        length = np.hypot(*np.subtract(line.corners[-1], line.corners[0]))
        fade = smoothstep(0, length * rng.uniform(0.2, 0.5), left)
        broken = np.clip(0.8 + 0.35 * waves(points[near], rng, 3, 0.025, 0.06), 0.1, 1.25)
        # The forehead's lines cross the middle, so the two sides' strengths run into each other.
        strength = sides[0] + (sides[1] - sides[0]) * smoothstep(-0.008, 0.008, x[near])
        depth[near] = groove * strength * broken * fade
    return depths


def _age_spots(texels, identity):
    """Age spots as `_spots` gives them, with each one's own strength in the density."""
    rng = _random(identity, SPOTS)
    side, z = np.abs(texels.points[texels.front, 0]), texels.points[texels.front, 2]
    likely = 0.25 + blob(side, z, 0.055, 0.02, 0.02) + blob(side, z, 0.05, -0.03, 0.015) + (z > 0.05)
    centers = random_places(texels, likely * (z > -0.09), MOST_SPOTS, rng)
    strength = rng.uniform(0.25, 0.7, MOST_SPOTS) * (1 - 0.6 * identity.melanin)
    number, place, density = soft_spots(texels, centers, rng.uniform(0.001, 0.0032, MOST_SPOTS))
    return number, place, strength[number] * density


def _hollows(points):
    """(F,) float32 broad shades of an old face: under the eyes, in the cheeks, at temples and jowls."""
    side, z = np.abs(points[:, 0]), points[:, 2]
    shade = 0.26 * blob(side, z, 0.029, -0.0125, 0.006) + 0.16 * blob(side, z, 0.046, -0.058, 0.012)
    shade += 0.14 * blob(side, z, 0.064, 0.022, 0.013) + 0.12 * blob(side, z, 0.030, -0.092, 0.009)
    return shade.astype(np.float32)


def _aging(layers, age):
    """(F, 3) float32 factors of the reflectance in front at this age."""
    grown = np.array([smoothstep(line.onset, line.onset + AGE_SPAN, age) for line in AGE_LINES], np.float32)
    shade = np.float32(AGE_DEPTH) * (np.float32(age) * layers.sag + np.einsum("l,lf->f", grown, layers.lines))
    shown = smoothstep(0, 0.3, age - np.linspace(0.35, 0.85, MOST_SPOTS))
    number, place, density = layers.spots
    spots = np.bincount(place, shown[number] * density, len(shade)).astype(np.float32)
    channels = np.array([[0.9, 1.1, 1.1], [0.45, 0.7, 0.85]], np.float32)
    return np.exp(-shade[:, None] * channels[0] - spots[:, None] * channels[1])


def _random(identity, part):
    return np.random.default_rng([identity.skin_seed, part])


def _mix(colors, other, amount):
    amount = amount[:, None].astype(np.float32)
    return colors * (1 - amount) + np.asarray(other, np.float32) * amount
