"""TrueSwap's beards: short locks that grow down the face and, when long, hang from jaw and chin.

A lock is combed once over the template's skin and remembers the points of skin that it passes; a face moves
these points, and the lock with them. Depends on head, strands, hairline.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.spatial import cKDTree

from smoothswap_lib.render.hairline import beard_cover
from smoothswap_lib.render.head import HeadModel, Mesh, smoothstep, unit, vertex_normals
from smoothswap_lib.render.strands import gray_share, lock_colors, ribbons
from smoothswap_lib.world.traits import Identity, State

MAX_LOCKS, POINTS = 980, 4  # 6 triangles a lock
LOCKS_PER_AREA = 0.17e6  # a square meter, where the cover is full
SKIN_POINTS, SKIN_SEED = 30_000, 0  # the skin as points, dense enough to walk on: about 0.7 mm apart
STEPS = 9  # of a lock's way over the skin
LENGTH = {"mustache": 0.55, "goatee": 1.0, "chin_strap": 0.4, "short": 0.35, "full": 1.0}  # a style's share
LEAST_LENGTH, STUBBLE = 3.0, 2.0  # mm; a shorter lock is paint
MUSTACHE_LENGTH = 9.0  # mm; what is longer is combed aside or cut
CLEARANCE = 0.0006  # meters above the skin at the root
BEARD = 6  # its part of what `skin_seed` draws; 0 to 5 are the skin's own
FULLNESS = 0.22  # share of its length by which a lock's tip stands off the skin
GRAVITY = np.array([0.0, -0.12, -1.0])


@dataclass(frozen=True)
class _Skin:
    """Points of the template's lower face, as places in triangles."""

    triangles: np.ndarray  # (T, 3) vertices
    triangle: np.ndarray  # (P,) of each point
    weights: np.ndarray  # (P, 3)
    points: np.ndarray  # (P, 3) meters
    normals: np.ndarray  # (P, 3)
    off_lips: np.ndarray  # (P,) 1 = skin, 0 = lip or inside of the mouth
    area: float  # square meters a point stands for
    tree: cKDTree


@dataclass(frozen=True)
class _Locks:
    """Locks of one identity: point k is a place on the skin plus an offset from it."""

    places: np.ndarray  # (N, POINTS) indices of skin points
    height: np.ndarray  # (N, POINTS) meters along the skin's normal
    hanging: np.ndarray  # (N, POINTS, 3) meters more, where the skin has been left
    widths: np.ndarray  # (N, POINTS) meters
    colors: np.ndarray  # (N, POINTS, 3)


def beard_mesh(model: HeadModel, vertices: np.ndarray, identity: Identity, state: State) -> Mesh | None:
    """The beard on deformed vertices (V, 3), with vertex colors; None for "none" and for paint only."""
    if identity.beard_style == "none":
        return None
    skin, locks = _skin(model), _comb(model, identity, state)
    if len(locks.places) == 0:
        return None
    corners = skin.triangles[skin.triangle[locks.places]]  # (N, K, 3)
    weights = skin.weights[locks.places]
    normals = vertex_normals(vertices, skin.triangles)
    surface = _mean(vertices, corners, weights)
    facing = unit(_mean(normals, corners, weights))
    paths = surface + locks.height[..., None] * facing + locks.hanging
    return ribbons(paths, locks.widths, facing[:, :1].repeat(POINTS, 1), locks.colors)


@lru_cache(maxsize=2)  # once a process: half a second
def _skin(model) -> _Skin:
    triangles = model.triangles[model.part == model.part_names.index("skin")]
    textured = model.textured_triangles[model.part == model.part_names.index("skin")]
    centers = model.template[triangles].mean(1)
    lower = (centers[:, 2] < -0.03) & (centers[:, 2] > -0.17) & (centers[:, 1] < 0.1)
    triangles, textured = triangles[lower], textured[lower]
    corners = model.template[triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = 0.5 * np.linalg.norm(normal, axis=1)
    rng = np.random.default_rng(SKIN_SEED)
    triangle = rng.choice(len(triangles), SKIN_POINTS, p=areas / areas.sum())
    u, v = np.sort(rng.uniform(0, 1, (2, SKIN_POINTS)), axis=0)
    weights = np.stack([u, v - u, 1 - v], 1)  # uniform in a triangle
    points = _mean(model.template, triangles[triangle], weights)
    normals = unit(_mean(vertex_normals(model.template, triangles), triangles[triangle], weights))
    uv = _mean(model.textured_uv, textured[triangle], weights)
    mask = np.maximum(model.masks["lips"], model.masks["inside_mouth"])
    rows = ((1 - uv[:, 1]) * (len(mask) - 1)).round().astype(int)
    columns = (uv[:, 0] * (len(mask) - 1)).round().astype(int)
    off_lips = 1 - np.clip(1.5 * mask[rows, columns] / 255, 0, 1)
    area = areas.sum() / SKIN_POINTS
    return _Skin(triangles, triangle, weights, points, normals, off_lips, area, cKDTree(points))


@lru_cache(maxsize=4)  # an identity's images come one after the other, a matrix row in one state
def _comb(model, identity, state) -> _Locks:
    skin, rng = _skin(model), np.random.default_rng([identity.skin_seed, BEARD])
    length = LENGTH[identity.beard_style] * state.beard_length + STUBBLE * state.stubble
    cover = beard_cover(skin.points, skin.off_lips, identity, state)
    cover = np.where(cover > 0.4, cover, 0)  # what covers less is stubble, and painted
    count = min(MAX_LOCKS, int(LOCKS_PER_AREA * cover.sum() * skin.area))
    if length < LEAST_LENGTH or count == 0:
        return _Locks(*(np.zeros((0, POINTS, *rest)) for rest in ((), (), (3,), (), (3,))))
    roots = rng.choice(len(cover), count, replace=False, p=cover / cover.sum())
    on_lip = smoothstep(-0.070, -0.066, skin.points[roots, 2])  # of the mustache
    lengths = length * (1 - on_lip) + np.minimum(length, MUSTACHE_LENGTH) * on_lip
    lengths = lengths * rng.uniform(0.7, 1.15, count) / 1000
    places, hanging = _walk(skin, roots, lengths, rng)
    along = np.linspace(0, 1, POINTS)
    height = CLEARANCE + FULLNESS * lengths[:, None] * along * rng.uniform(0.3, 1, (count, 1))
    shade = lock_colors(rng, np.array(identity.hair) * 0.9, gray_share(identity, state), count)
    colors = shade[:, None] * (0.75 + 0.25 * along)[:, None]
    widths = 0.0032 * rng.uniform(0.7, 1.3, (count, 1)) * np.array([0.7, 1.0, 0.8, 0.1])
    return _Locks(places, height, hanging, widths, colors)


def _walk(skin, roots, lengths, rng):
    """Comb locks down over the skin; where it turns under the jaw they leave it and hang.

    Returns the skin point nearest to each point of a lock (N, POINTS), and the rest of the way there
    (N, POINTS, 3), which is not 0 only where the lock hangs.
    """
    side = np.sign(skin.points[roots, 0])
    apart = np.where(skin.points[roots, 2] > -0.07, 0.9, 0.15) * side  # a mustache is combed to both sides
    wish = np.stack([apart, np.zeros(len(roots)), -np.ones(len(roots))], 1) + rng.normal(
        0, 0.25, (len(roots), 3)
    )
    position, place = skin.points[roots].copy(), roots
    free = np.zeros(len(roots), bool)
    path, near = [position], [place]
    for _ in range(STEPS):
        normal = skin.normals[place]
        along = unit(wish - (wish * normal).sum(1, keepdims=True) * normal)
        # The skin faces down here: hair falls free instead of following it backward.
        free = free | (normal[:, 2] < -0.55)
        direction = np.where(free[:, None], unit(GRAVITY), along)
        position = position + direction * (lengths / STEPS)[:, None]
        _, place = skin.tree.query(position)
        # Back to the skin along its normal only: snapping to a point would stop locks whose steps are short.
        normal = skin.normals[place]
        off = ((position - skin.points[place]) * normal).sum(1, keepdims=True)
        position = np.where(free[:, None], position, position - off * normal)
        path.append(position)
        near.append(place)
    steps = np.linspace(0, STEPS, POINTS).round().astype(int)
    path, near = np.stack(path, 1)[:, steps], np.stack(near, 1)[:, steps]
    return near, path - skin.points[near]


def _mean(values, corners, weights):
    """Weighted means (..., 3 or 2) of values at the three corners (..., 3)."""
    return (values[corners] * weights[..., None]).sum(-2)
