"""TrueSwap's colors: skin, lips, brows, beard and eyes as one texture.

Every texel of the head's texture knows its place on the template, so a brow or a hairline is a formula in
millimeters. Colors are linear RGB reflectances in [0, 1]. Depends on world and head.
"""

from functools import lru_cache

import numpy as np

from smoothswap_lib.head import TEXTURE_SIZE, HeadModel, hairline_height, smoothstep
from smoothswap_lib.world import Attributes, Identity, State

LIGHT_SKIN, DARK_SKIN = np.array([0.76, 0.51, 0.40]), np.array([0.10, 0.052, 0.034])
IRIS_ANGLE, PUPIL_ANGLE, LIMBUS_ANGLE = 0.40, 0.16, 0.44  # radians seen from the eyeball's center
LOWEST_SKIN = -0.22  # meters; what lies deeper is always under clothes


class TexelMap:
    """Which texels of the texture are skin or eyeball, and where on the template they lie."""

    def __init__(self, model: HeadModel):
        rows, columns, points, part = _rasterize(model)
        seen = points[:, 2] > LOWEST_SKIN
        self.rows, self.columns, part = rows[seen], columns[seen], part[seen]
        self.points = points[seen].astype(np.float32)
        self.is_eye = np.isin(part, [model.part_names.index(f"helper-{s}-eye") for s in "lr"])
        self.is_left = part == model.part_names.index("helper-l-eye")
        scale = (next(iter(model.masks.values())).shape[0] - 1) / (TEXTURE_SIZE - 1)
        at = (self.rows * scale).round().astype(int), (self.columns * scale).round().astype(int)
        self.masks = {name: mask[at].astype(np.float32) / 255 for name, mask in model.masks.items()}
        self.eye_centers = [model.template[vertices].mean(0) for vertices in model.eye_vertices]


def _rasterize(model):
    """Template position and part of every texel that a skin or eye triangle covers, with a border of one."""
    size = TEXTURE_SIZE
    position, part = np.zeros((size, size, 3)), np.full((size, size), -1)
    wanted = [model.part_names.index(name) for name in ("skin", "helper-l-eye", "helper-r-eye")]
    chosen = np.flatnonzero(np.isin(model.part, wanted))
    corners = model.template[model.triangles]
    pixel = (model.textured_uv * [1, -1] + [0, 1]) * size - 0.5
    for triangle in chosen:
        p = pixel[model.textured_triangles[triangle]]
        low = np.maximum(np.floor(p.min(0)).astype(int) - 1, 0)
        high = np.minimum(np.ceil(p.max(0)).astype(int) + 1, size - 1)
        x, y = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1))
        to_weights = np.linalg.pinv(np.vstack([p.T, np.ones(3)]))
        weights = np.stack([x, y, np.ones_like(x)], -1) @ to_weights.T
        # The border keeps bilinear look-ups off the empty texels.
        reach = 1.0 / max(np.ptp(p, axis=0).max(), 1.0)
        inside = (weights > -reach).all(-1)
        exact = (weights > -1e-6).all(-1)
        free = inside & ((part[y, x] < 0) | exact)
        position[y[free], x[free]] = weights[free] @ corners[triangle]
        part[y[free], x[free]] = model.part[triangle]
    rows, columns = np.nonzero(part >= 0)
    return rows, columns, position[rows, columns], part[rows, columns]


@lru_cache(maxsize=2)
def texel_map(model: HeadModel) -> TexelMap:
    """The texel map of a head model, made once a process (about a second)."""
    return TexelMap(model)


def skin_color(identity: Identity) -> np.ndarray:
    """Mean reflectance (3,) from melanin and redness; mixed in the logarithm, as pigments do."""
    mixed = np.exp(np.log(LIGHT_SKIN) * (1 - identity.melanin) + np.log(DARK_SKIN) * identity.melanin)
    return mixed * (1 + (identity.skin_redness - 0.5) * np.array([0.12, -0.10, -0.06]))


def paint(model: HeadModel, identity: Identity, state: State, attributes: Attributes) -> np.ndarray:
    """The texture (TEXTURE_SIZE, TEXTURE_SIZE, 3) of skin and eyes: float32 linear RGB, v = 1 first."""
    texels = texel_map(model)
    colors = _paint_skin(texels, identity, state)
    colors[texels.is_eye] = _paint_eyes(texels, identity, attributes)
    texture = np.tile(skin_color(identity).astype(np.float32), (TEXTURE_SIZE, TEXTURE_SIZE, 1))
    texture[texels.rows, texels.columns] = np.clip(colors, 0, 1)
    return texture


def _paint_skin(texels, identity, state):
    x, y, z = texels.points.T
    side = np.abs(x)
    age = np.clip(identity.age + state.age, 0, 1)
    base = skin_color(identity)
    colors = base * _blotches(texels, identity.skin_seed)[:, None]

    flush = _blob(side, z, 0.042, -0.045, 0.02) + 0.8 * _blob(side, z, 0, -0.042, 0.012)
    colors *= 1 + (0.25 * identity.skin_redness * flush)[:, None] * np.array([0.5, -0.6, -0.5])
    shade = 0.30 * age * _blob(side, z, 0.03, -0.022, 0.010)  # under the eyes
    shade += (
        0.22
        * age
        * np.exp(-(((side - 0.026 - 0.35 * (-0.052 - z)) / 0.0035) ** 2))
        * _between(z, -0.078, -0.046)
    )
    shade += 0.12 * age * (0.5 + 0.5 * np.cos(z * 620)) * _between(z, 0.032, 0.058) * (side < 0.04)
    colors *= (1 - shade * (y < 0.03))[:, None]

    lip = texels.masks["lips"] * (0.55 + 0.35 * identity.lip_redness)
    colors = _mix(colors, base * np.array([0.95, 0.45, 0.48]) + np.array([0.06, 0.01, 0.012]), lip)
    colors = _mix(colors, np.array([0.16, 0.03, 0.03]), texels.masks["inside_mouth"])

    hair = np.array(identity.hair)
    colors = _mix(colors, hair, _brows(side, y, z, identity) * identity.brow_density)
    beard, mustache = _beard_areas(texels, side, y, z)
    stubble = 0.38 * state.stubble * (identity.gender < 0.5)
    colors = _mix(colors, hair * 0.9, beard * np.maximum(identity.beard, stubble))
    colors = _mix(colors, hair * 0.9, mustache * np.maximum(identity.mustache, stubble))
    if identity.has_hair:
        azimuth = np.arctan2(x, -(y - 0.075))
        above = z - hairline_height(azimuth, identity)
        scalp = smoothstep(-0.004, 0.008, above) * (1 - np.clip(2 * texels.masks["ears"], 0, 1)) * (z > -0.06)
        colors = _mix(colors, hair, 0.92 * scalp)
    lid = texels.masks["eyelids"] * 0.25
    return colors * (1 - lid)[:, None]


def _brows(side, y, z, identity):
    """How much of each texel is brow, 0 to 1."""
    along = np.clip((side - 0.012) / 0.040, 0, 1)
    middle = 0.0175 + identity.brow_arch / 1000 * np.sin(np.pi * np.clip(along * 0.85, 0, 1)) + 0.003 * along
    middle = middle - 0.004 * np.clip(along - 0.7, 0, 1) / 0.3
    half = identity.brow_thickness / 1000 * (1.0 - 0.65 * along**2)
    ends = smoothstep(0.008, 0.015, side) * smoothstep(0.056, 0.048, side)
    return np.exp(-(((z - middle) / half) ** 2)) * ends * (y < 0.03)


def _beard_areas(texels, side, y, z):
    """(beard, mustache), 0 to 1 each, kept off the lips."""
    off_lips = 1 - np.clip(1.5 * texels.masks["lips"], 0, 1)
    cheek_line = -0.072 + 0.9 * np.clip(side - 0.028, 0, 0.045)
    below = (
        smoothstep(0.004, -0.006, z - cheek_line) * smoothstep(-0.150, -0.128, z) * smoothstep(0.085, 0.06, y)
    )
    mustache = (
        smoothstep(-0.052, -0.057, z)
        * smoothstep(-0.076, -0.070, z)
        * smoothstep(0.034, 0.026, side)
        * (y < 0)
    )
    return below * off_lips, mustache * off_lips


def _paint_eyes(texels, identity, attributes):
    """Sclera, iris with a dark rim, pupil: by the angle between a point of the eyeball and the gaze."""
    points = texels.points[texels.is_eye]
    left = texels.is_left[texels.is_eye]
    center = np.where(left[:, None], texels.eye_centers[0], texels.eye_centers[1])
    direction = (points - center) / np.linalg.norm(points - center, axis=1, keepdims=True)
    yaw, pitch = np.deg2rad([attributes.gaze_x, attributes.gaze_y])
    gaze = np.array([np.sin(yaw) * np.cos(pitch), -np.cos(yaw) * np.cos(pitch), np.sin(pitch)])
    angle = np.arccos(np.clip(direction @ gaze, -1, 1))
    white = np.tile([0.62, 0.58, 0.55], (len(points), 1))
    iris = np.array(identity.iris) * (0.75 + 0.6 * smoothstep(PUPIL_ANGLE, IRIS_ANGLE, angle))[:, None]
    colors = _mix(white, np.array(identity.iris) * 0.25, smoothstep(LIMBUS_ANGLE + 0.05, LIMBUS_ANGLE, angle))
    colors = np.where((angle < IRIS_ANGLE)[:, None], iris, colors)
    return np.where((angle < PUPIL_ANGLE)[:, None], 0.004, colors)


@lru_cache(maxsize=4)  # one identity's images come one after the other
def _blotches(texels, seed):
    """Smooth random factor of the reflectance (about +-8 %), a sum of twelve waves 2 to 6 cm long."""
    rng = np.random.default_rng(seed)
    waves = rng.normal(0, 1, (3, 12))
    waves *= 2 * np.pi / rng.uniform(0.02, 0.06, 12) / np.linalg.norm(waves, axis=0)
    phases = rng.uniform(0, 2 * np.pi, 12)
    field = np.cos((texels.points @ waves + phases).astype(np.float32)).sum(1) / np.sqrt(6)
    return np.exp(0.035 * field)


def _blob(side, z, x0, z0, radius):
    return np.exp(-((side - x0) ** 2 + (z - z0) ** 2) / (2 * radius**2))


def _between(z, low, high):
    return smoothstep(low - 0.004, low + 0.004, z) * smoothstep(high + 0.004, high - 0.004, z)


def _mix(colors, other, amount):
    return colors * (1 - amount[:, None]) + other * amount[:, None]
