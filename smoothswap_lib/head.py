"""TrueSwap's head: parameters -> posed meshes with colors. The geometry half of rendering; plain numpy.

The shapes are MakeHuman's (CC0), exported once into `data/head_model.npz` by
`data/scripts/export_head_model.py`. Coordinates are meters from the middle between the eyes: x toward the
subject's left (the image's right), y away from the camera, z up. Depends on files, world.
"""

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from smoothswap_lib.files import verify
from smoothswap_lib.world import ACTIONS, PAIRED_SHAPES, SINGLE_SHAPES, Attributes, Identity, State

TEXTURE_SIZE = 512
# About the neck's top: turning the head leaves most of the shoulders behind.
PIVOT = np.array([0.0, 0.09, -0.09])
SHOULDERS_FOLLOW = 0.35
SCALP_CENTER = np.array([0.0, 0.075, 0.02])
HANGING_ROWS = 12


@dataclass
class Mesh:
    """Vertices (V, 3) in meters, triangles (T, 3), normals (V, 3), and uv (V, 2) or vertex colors (V, 3)."""

    vertices: np.ndarray
    triangles: np.ndarray
    normals: np.ndarray
    uv: np.ndarray | None = None
    colors: np.ndarray | None = None


class HeadModel:
    """The exported head: evaluates vertices for parameters and knows what lies where in its texture.

    Parameters
    ----------
    path : path of `head_model.npz`.

    Raises
    ------
    FileNotFoundError, ValueError
        Name the file and how to get it back.
    """

    def __init__(self, path: str | Path):
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except FileNotFoundError:
            raise FileNotFoundError(f"{path} is missing; restore it with `git checkout -- {path}`") from None
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(
                f"{path} is damaged ({error}); restore it with `git checkout -- {path}`"
            ) from None
        self.template = arrays["template"].astype(np.float64)
        self.triangles = arrays["triangles"].astype(np.int64)
        self.part = arrays["part"]
        self.part_names = [str(name) for name in arrays["part_names"]]
        self.corners = arrays["corners"].astype(np.float64)  # (gender 2, age 2, weight 3, V, 3)
        self.shape_index = {str(name): i for i, name in enumerate(arrays["shape_names"])}
        self.action_index = {str(name): i for i, name in enumerate(arrays["action_names"])}
        self.landmarks = arrays["landmarks"].astype(np.int64)
        self.scalp_triangles = arrays["scalp_triangles"].astype(np.int64)
        self.scalp_weights = arrays["scalp_weights"].astype(np.float64)
        self._sparse = {
            key: tuple(arrays[f"{key}_{part}"] for part in ("offsets", "indices", "values"))
            for key in ("plus", "minus", "action")
        }
        # A vertex on a texture seam has two texture coordinates: the textured mesh has its own vertex list.
        pairs = np.stack([self.triangles.ravel(), arrays["triangles_uv"].astype(np.int64).ravel()], 1)
        unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
        self.textured_vertex = unique[:, 0]
        self.textured_uv = arrays["uv"][unique[:, 1]].astype(np.float64)
        self.textured_triangles = inverse.reshape(-1, 3)
        self.masks = {n.removeprefix("mask_"): a for n, a in arrays.items() if n.startswith("mask_")}
        self.eye_vertices = [self.vertices_of(f"helper-{side}-eye") for side in "lr"]

    def vertices_of(self, *names: str) -> np.ndarray:
        """Indices of the vertices that belong to the named parts."""
        codes = [self.part_names.index(name) for name in names]
        return np.unique(self.triangles[np.isin(self.part, codes)])

    def deform(self, identity: Identity, state: State, attributes: Attributes) -> np.ndarray:
        """Vertices (V, 3) in meters of a face with its expression, before the head is turned."""
        age = np.clip(identity.age + state.age, 0, 1)
        weight = np.clip(identity.weight + state.weight, 0, 1)
        vertices = self.template + self._phenotype(identity.gender, age, weight)
        for name, value in _shape_values(identity, age, weight).items():
            self._add(vertices, "plus" if value > 0 else "minus", self.shape_index[name], abs(value))
        for name, value in zip(ACTIONS, attributes.actions, strict=True):
            self._add(vertices, "action", self.action_index[name], value)
        return vertices

    def _phenotype(self, gender, age, weight):
        """Multilinear interpolation of the twelve corner meshes."""
        ages = self.corners[0] * (1 - gender) + self.corners[1] * gender
        weights = ages[0] * (1 - age) + ages[1] * age
        low = min(int(weight * 2), 1)
        part = weight * 2 - low
        return weights[low] * (1 - part) + weights[low + 1] * part

    def _add(self, vertices, key, row, amount):
        if amount:
            offsets, indices, values = self._sparse[key]
            moved = slice(offsets[row], offsets[row + 1])
            vertices[indices[moved]] += amount * values[moved].astype(np.float64)

    def scalp(self, vertices: np.ndarray) -> np.ndarray:
        """Points (azimuth, elevation, 3) of the skull under the hair, on the grid of the exported rays."""
        corners = vertices[self.scalp_triangles]
        u, v = self.scalp_weights[..., :1], self.scalp_weights[..., 1:]
        return corners[:, :, 0] * (1 - u - v) + corners[:, :, 1] * u + corners[:, :, 2] * v


def _shape_values(identity, age, weight):
    """Local changes by name: tied left to right with a little asymmetry, plus what age and weight add."""
    count = len(PAIRED_SHAPES)
    values = dict(zip(SINGLE_SHAPES, identity.shape[count:], strict=True))
    values["head-age-incr"] += 0.7 * (age - 0.3)
    values["head-fat-incr"] += 0.9 * (weight - 0.5)
    values["neck-double-incr"] += 0.8 * (weight - 0.5)
    paired = dict(zip(PAIRED_SHAPES, identity.shape[:count], strict=True))
    paired["cheek-volume-incr"] += 0.8 * (weight - 0.5)
    paired["eye-bag-incr"] += 0.6 * (age - 0.4)
    for name, extra in zip(PAIRED_SHAPES, identity.asymmetry, strict=True):
        values[f"l-{name}"], values[f"r-{name}"] = paired[name] + extra, paired[name] - extra
    return {name: float(np.clip(value, -1, 1)) for name, value in values.items()}


def turn(points: np.ndarray, attributes: Attributes) -> np.ndarray:
    """Turn points (V, 3) by the head's yaw, pitch and roll; the shoulders follow only in part."""
    follow = smoothstep(-0.24, -0.11, points[:, 2]) * (1 - SHOULDERS_FOLLOW) + SHOULDERS_FOLLOW
    yaw, pitch, roll = (
        np.deg2rad(angle) * follow for angle in (attributes.yaw, attributes.pitch, attributes.roll)
    )
    x, y, z = (points - PIVOT).T
    x, z = np.cos(roll) * x + np.sin(roll) * z, -np.sin(roll) * x + np.cos(roll) * z
    y, z = np.cos(pitch) * y + np.sin(pitch) * z, -np.sin(pitch) * y + np.cos(pitch) * z
    x, y = np.cos(yaw) * x - np.sin(yaw) * y, np.sin(yaw) * x + np.cos(yaw) * y
    return np.stack([x, y, z], 1) + PIVOT


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals (V, 3)."""
    corners = vertices[triangles]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat = triangles.ravel()
    total = np.stack([np.bincount(flat, np.repeat(face[:, i], 3), len(vertices)) for i in range(3)], 1)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """0 below low, 1 above high, smooth between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def head_mesh(model: HeadModel, vertices: np.ndarray, names: Sequence[str]) -> Mesh:
    """The named parts as one textured mesh, with normals that do not break at texture seams."""
    codes = [model.part_names.index(name) for name in names]
    chosen = np.isin(model.part, codes)
    used, triangles = np.unique(model.textured_triangles[chosen], return_inverse=True)
    normals = vertex_normals(vertices, model.triangles[chosen])[model.textured_vertex[used]]
    return Mesh(
        vertices[model.textured_vertex[used]], triangles.reshape(-1, 3), normals, uv=model.textured_uv[used]
    )


def clothes_mesh(model: HeadModel, vertices: np.ndarray, color: Sequence[float]) -> Mesh:
    """A pullover: the skin below the neckline, lifted off the body; its edge sinks into the skin."""
    skin = model.triangles[model.part == 0]
    template = model.template
    depth = (
        -0.155
        - 0.35 * np.abs(template[:, 0]) ** 1.2
        + 0.25 * np.maximum(template[:, 1] - 0.02, 0)
        - template[:, 2]
    )
    skin = skin[(depth[skin] > -0.03).any(1)]
    used, triangles = np.unique(skin, return_inverse=True)
    triangles = triangles.reshape(-1, 3)
    normals = vertex_normals(vertices, skin)[used]
    # Linear in depth, so that the edge where cloth meets skin is as straight as the neckline's formula.
    lifted = vertices[used] + normals * np.clip(0.4 * depth[used], -0.01, 0.008)[:, None]
    return Mesh(lifted, triangles, vertex_normals(lifted, triangles), colors=np.tile(color, (len(used), 1)))


def hair_mesh(model: HeadModel, vertices: np.ndarray, identity: Identity, state: State) -> Mesh | None:
    """A shell of hair over the skull whose lower rows hang; None for a bald head."""
    if not identity.has_hair:
        return None
    points = model.scalp(vertices)  # (A, E, 3)
    azimuth = np.linspace(-np.pi, np.pi, points.shape[0])
    edge = hairline_height(azimuth, identity)
    height = points[..., 2] - (vertices[np.concatenate(model.eye_vertices)].mean(0))[2]
    out = points - SCALP_CENTER
    out /= np.linalg.norm(out, axis=-1, keepdims=True)
    top = smoothstep(0.0, 1.0, out[..., 2])
    volume = (identity.hair_side * (1 - top) + identity.hair_top * top) / 1000
    volume *= 1 - 0.25 * np.exp(-(((azimuth - 0.9 * identity.parting) / 0.18) ** 2))[:, None] * top
    inside = smoothstep(-0.004, 0.018, height - edge[:, None])
    shell = points + out * (volume * inside - 0.004 * (1 - inside))[..., None]
    colors = _strand_colors(identity, shell.shape[:2])
    length = hanging_length(azimuth, identity, state)
    above = np.where(height - edge[:, None] > 0, height, np.inf)
    last = np.argmin(above, axis=1)  # the lowest row above the edge
    shell, colors = _hang(shell, colors, last, length)
    triangles = _grid_triangles(*shell.shape[:2])
    flat = shell.reshape(-1, 3)
    return Mesh(flat, triangles, vertex_normals(flat, triangles), colors=colors.reshape(-1, 3))


def hairline_height(azimuth: np.ndarray, identity: Identity) -> np.ndarray:
    """Where the hair ends, in meters above the eyes, by azimuth (0 = front, +-pi/2 = ears, pi = nape)."""
    knots = np.array([0.0, 0.35, 0.62, 0.9, 1.15, 1.45, 1.75, 2.2, np.pi])
    heights = np.array([64, 64, 58, 36, 4, 18, 12, -28, -48], float)
    heights[:3] += identity.hairline + identity.recession * np.array([0.15, 0.6, 1.0])
    heights[3] += 0.5 * (identity.hairline + identity.recession)
    return np.interp(np.abs(azimuth), knots, heights) / 1000


def hanging_length(azimuth: np.ndarray, identity: Identity, state: State) -> np.ndarray:
    """How far the hair hangs below its edge, in meters, by azimuth; 0 for short hair."""
    length = max(identity.hair_length + state.hair_length, 0.0)
    hanging = length if identity.hair_length > 40 else 0.0
    sides = smoothstep(0.85, 1.15, np.abs(azimuth))
    front = smoothstep(0.95, 0.7, np.abs(azimuth))
    fringe = max(identity.fringe + 0.3 * state.hair_length, 0.0) if identity.fringe else 0.0
    return (sides * hanging + front * fringe) / 1000


def _hang(shell, colors, last, length):
    """Replace what lies below each column's last row by rows that drop straight down by its length."""
    rows = shell.shape[1]
    columns = np.arange(len(shell))
    edge = shell[columns, last]  # (A, 3)
    axis = np.array([0.0, SCALP_CENTER[1]])
    outward = edge[:, :2] - axis
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    fall = np.linspace(0, 1, HANGING_ROWS)[None, :, None]
    drop = np.repeat(edge[:, None], HANGING_ROWS, axis=1)
    drop[..., 2] -= fall[..., 0] * length[:, None]
    tuck = 0.012 * fall**3 * np.minimum(length / 0.05, 1)[:, None, None]  # tips turn inward a little
    drop[..., :2] -= tuck * outward[:, None]
    # Hanging hair leaves the skull at the last row above the edge; short hair ends two rows on, in the skin.
    short = (length < 1e-4)[:, None]
    end = np.where(short, np.minimum(last[:, None] + 2, rows - 1), last[:, None])
    upper = shell[columns[:, None], np.minimum(np.arange(rows)[None], end)]
    lower = np.where(short[..., None], upper[:, -1:], drop)
    shades = colors[:, -1:] * (1 - 0.15 * fall)
    return np.concatenate([upper, lower], 1), np.concatenate([colors, shades], 1)


def _strand_colors(identity, shape):
    """Shades (A, E, 3) that vary from strand to strand and slowly along a strand."""
    rng = np.random.default_rng(identity.hair_seed)
    strands = rng.normal(0, 1, (shape[0], 1)) * 0.16 + rng.normal(0, 0.05, shape)
    strands[-1] = strands[0]
    return np.clip(np.array(identity.hair) * np.exp(strands)[..., None], 0, 1)


def _grid_triangles(columns, rows):
    index = np.arange(columns * rows).reshape(columns, rows)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]
    return np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])


@lru_cache(maxsize=2)
def load_head(path: str) -> HeadModel:
    """The head model of a file, read once a process; a shipped file's hash is checked."""
    return HeadModel(verify(path))
