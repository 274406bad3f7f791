"""Locks of hair as ribbons: paths in space, and the narrow meshes along them. Plain numpy.

Scalp hair and beards are both made of these. Depends on
head, traits.
"""

import numpy as np

from smoothswap_lib.render.head import Mesh, unit
from smoothswap_lib.world.traits import Identity, State

ROUNDNESS = 0.75  # radians by which the normals of a ribbon's two edges lean apart: it shades like a lock
EDGE_SHADE = 0.12  # one edge is lighter by this share and the other darker: a lock has strands
SUN_BLEACHED, BLEACH = np.array([0.45, 0.32, 0.17]), 0.3  # linear RGB, and most of the way there
GRAY = np.array([0.55, 0.54, 0.52])  # linear RGB of hair without pigment


def ribbons(paths: np.ndarray, widths: np.ndarray, facing: np.ndarray, colors: np.ndarray) -> Mesh:
    """One mesh of N ribbons of K points each: 2 N K vertices, 2 N (K - 1) triangles.

    Parameters
    ----------
    paths : (N, K, 3) meters, root first.
    widths : (N,) or (N, K) meters; (N,) tapers to a point over the last half.
    facing : (N, 3) or (N, K, 3), the way the broad side looks: away from the head. Need not be unit length
        or square to the path; normals always lie on this side.
    colors : (N, 3) or (N, K, 3) linear RGB.
    """
    count, points = paths.shape[:2]
    if widths.ndim == 1:
        widths = widths[:, None] * taper(points)
    tangent = unit(np.gradient(paths, axis=1))
    facing = np.broadcast_to(facing[:, None] if facing.ndim == 2 else facing, paths.shape)
    across = unit(np.cross(tangent, facing))
    outward = np.cross(across, tangent)
    half = 0.5 * widths[..., None] * across
    lean = np.sin(ROUNDNESS) * across
    vertices = np.stack([paths - half, paths + half], 2)  # (N, K, 2, 3)
    normals = np.stack([np.cos(ROUNDNESS) * outward - lean, np.cos(ROUNDNESS) * outward + lean], 2)
    colors = np.broadcast_to(colors[:, None] if colors.ndim == 2 else colors, paths.shape)
    colors = colors[:, :, None] * np.array([1 - EDGE_SHADE, 1 + EDGE_SHADE])[:, None]
    return Mesh(
        vertices.reshape(-1, 3),
        _ribbon_triangles(count, points),
        normals.reshape(-1, 3),
        colors=np.clip(colors, 0, 1).reshape(-1, 3),
    )


def taper(points: int, root: float = 0.7) -> np.ndarray:
    """(points,) share of a lock's full width: `root` at its root, 1 in the middle, a point at its tip."""
    along = np.linspace(0, 1, points)
    return np.minimum(root + 3 * (1 - root) * along, 1) * np.sqrt(np.clip(2 * (1 - along), 0, 1))


def straight(roots: np.ndarray, directions: np.ndarray, lengths: np.ndarray, points: int, sag=0.0):
    """Paths (N, points, 3) that leave `roots` along `directions` and bend down by `sag` of their length."""
    along = np.linspace(0, 1, points)[:, None]
    reach = lengths[:, None, None]
    paths = roots[:, None] + unit(directions)[:, None] * along * reach
    paths[..., 2:] -= sag * along**2 * reach
    return paths


def curl(paths: np.ndarray, facing: np.ndarray, radius, turns, phase: np.ndarray) -> np.ndarray:
    """Wind paths (N, K, 3) into helices that widen from nothing at the root to `radius` meters.

    `facing` is as in `ribbons`; `radius` and `turns` are numbers or (N,), `phase` (N,) radians.
    """
    along = np.linspace(0, 1, paths.shape[1])
    facing = np.broadcast_to(facing[:, None] if facing.ndim == 2 else facing, paths.shape)
    across = unit(np.cross(unit(np.gradient(paths, axis=1)), facing))
    angle = phase[:, None] + 2 * np.pi * np.reshape(turns, (-1, 1)) * along
    grown = np.reshape(radius, (-1, 1)) * np.minimum(3 * along, 1)
    sideways = (grown * np.cos(angle))[..., None] * across
    # Outward only by half: a helix that dips as deep as it rises would run through the skin.
    return paths + sideways + (0.5 * grown * np.sin(angle))[..., None] * facing


def hair_color(identity: Identity, state: State) -> tuple[np.ndarray, float]:
    """Linear RGB (3,) of the head's pigmented hair, and the share without pigment; dye covers gray."""
    grown = np.array(identity.hair)
    # The sun takes dark hair toward brown and light hair toward straw: the less is left, the slower.
    bleached = grown + state.bleach * BLEACH * np.maximum(SUN_BLEACHED - grown, 0)
    color = (1 - state.dye) * bleached + state.dye * np.array(state.dye_color)
    return color, gray_share(identity, state) * (1 - state.dye)


def gray_share(identity: Identity, state: State) -> float:
    """Share of hair without pigment, of brows and beard too."""
    return float(np.clip(identity.gray + state.gray, 0, 1))


def lock_colors(rng: np.random.Generator, base: np.ndarray, gray: float, count: int) -> np.ndarray:
    """(count, 3) linear RGB: shades of `base` from lock to lock, a share `gray` of them without pigment."""
    shade = np.exp(rng.normal(0, 0.22, (count, 1)))
    # A lock is many strands: few locks are all gray or all dark.
    share = np.clip(gray + rng.normal(0, 0.14, (count, 1)) * np.sqrt(gray * (1.2 - gray)), 0, 1)
    warmth = 1 + rng.normal(0, 0.05, (count, 1)) * np.array([1.0, 0.0, -1.0])
    pigmented = np.asarray(base) * shade * warmth
    return np.clip(pigmented * (1 - share) + GRAY * np.sqrt(shade) * share, 0, 1)


def _ribbon_triangles(count, points):
    """(2 N (K - 1), 3): two triangles between each pair of neighboring points of a path."""
    step = 2 * np.arange(points - 1)[:, None, None]
    pair = step + np.array([[0, 2, 1], [1, 2, 3]])  # (K - 1, 2, 3)
    return (2 * points * np.arange(count)[:, None, None, None] + pair).reshape(-1, 3)
