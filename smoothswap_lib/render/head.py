"""TrueSwap's head: parameters -> vertices, and the meshes of its parts; plain numpy.

The shapes are MakeHuman's (CC0), exported once into `data/head_model.npz` by
`experiments/export_head_model.py`. Coordinates are meters from the middle between the eyes: x toward the
subject's left (the image's right), y away from the camera, z up. Depends on files, traits.
"""

import copy
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from smoothswap_lib.files import verify
from smoothswap_lib.world.traits import ACTIONS, PAIRED_SHAPES, SINGLE_SHAPES, Attributes, Identity, State

try:
    from lzma import LZMAError
except ImportError:  # a Python that was built without it cannot read the file; `HeadModel` says so
    LZMAError = ValueError

TEXTURE_SIZE = 512
# About the neck's top: turning the head leaves most of the shoulders behind.
PIVOT = np.array([0.0, 0.09, -0.09])
SHOULDERS_FOLLOW = 0.35
LOWEST, WIDEST = -0.28, 0.25  # meters: no camera sees what lies deeper, or farther to a side
SCALP_CENTER = np.array([0.0, 0.075, 0.02])
# Added to everyone's: the model's mean eye is small, in 64 pixels nobody could tell where it looks.
LARGER_EYES = {"eye-scale-incr": 0.35, "eye-height2-incr": 0.2}
# What gender, age and weight add to local shapes, per unit: the model's own corner meshes move the body more
# than the face, and what belongs to a person has to be seen.
BY_GENDER = {
    "chin-width-incr": -1.2,
    "chin-bones-incr": -1.0,
    "chin-height-incr": -0.7,
    "chin-prominent-incr": -0.7,
    "eyebrows-trans-forward": -1.3,
    "forehead-nubian-incr": 0.9,
    "neck-scale-horiz-incr": -1.3,
    "nose-scale-horiz-incr": -0.8,
    "nose-point-width-incr": -0.7,
    "mouth-upperlip-volume-incr": 0.9,
    "mouth-lowerlip-volume-incr": 0.9,
    "mouth-upperlip-height-incr": 0.5,
    "mouth-lowerlip-height-incr": 0.5,
    "eye-scale-incr": 0.7,
    "cheek-bones-incr": 0.7,
    "head-scale-vert-incr": -0.4,
}
BY_AGE = {
    "head-age-incr": 1.3,
    "eye-bag-incr": 1.0,
    "mouth-upperlip-volume-incr": -0.7,
    "ear-scale-incr": 0.6,
    "mouth-upperlip-height-incr": -0.3,
    "mouth-angles-up": -0.25,
    "cheek-trans-up": -0.6,
    "nose-point-up": -0.4,
    "nose-scale-vert-incr": 0.3,
    "eye-eyefold-up": -0.4,
}
BY_WEIGHT = {
    "head-fat-incr": 2.2, "neck-double-incr": 2.0, "cheek-volume-incr": 1.9, "cheek-inner-incr": 0.8,
    "neck-scale-horiz-incr": 1.0, "chin-width-incr": 0.5, "cheek-bones-incr": -0.4,
}  # fmt: skip


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
            with np.load(path) as file:  # reads arrays only, unless told otherwise
                arrays = {name: file[name] for name in file.files}
        except (NotImplementedError, RuntimeError) as error:  # zipfile's answer where Python has no lzma
            raise RuntimeError(
                f"{path} is packed with LZMA, which this Python was built without ({error}): "
                "install liblzma's headers and build Python again, or use another one"
            ) from None
        except FileNotFoundError:
            raise FileNotFoundError(f"{path} is missing; restore it with `git checkout -- {path}`") from None
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, LZMAError) as error:
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
        # (V,) whether a picture can show the vertex
        self.seen = (self.template[:, 2] > LOWEST) & (np.abs(self.template[:, 0]) < WIDEST)
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

    def only_landmarks(self) -> "HeadModel":
        """A head to `deform` and nothing else: its 68 landmarks alone, in a third of the time."""
        small, chosen = copy.copy(self), np.unique(self.landmarks)
        small.template, small.corners = self.template[chosen], self.corners[..., chosen, :]
        small.landmarks = np.searchsorted(chosen, self.landmarks)
        small._sparse = {}
        for key, (offsets, indices, values) in self._sparse.items():
            kept = np.isin(indices, chosen)
            before = np.concatenate([[0], np.cumsum(kept)])  # how many are kept before each entry
            small._sparse[key] = (before[offsets], np.searchsorted(chosen, indices[kept]), values[kept])
        return small

    def scalp(self, vertices: np.ndarray) -> np.ndarray:
        """Points (azimuth, elevation, 3) of the skull under the hair, on the grid of the exported rays."""
        corners = vertices[self.scalp_triangles]
        u, v = self.scalp_weights[..., :1], self.scalp_weights[..., 1:]
        return corners[:, :, 0] * (1 - u - v) + corners[:, :, 1] * u + corners[:, :, 2] * v


def _shape_values(identity, age, weight):
    """Local changes by name: tied left to right with a little asymmetry, plus what age and weight add."""
    count = len(PAIRED_SHAPES)
    values = dict(zip(SINGLE_SHAPES, identity.shape[count:], strict=True))
    paired = dict(zip(PAIRED_SHAPES, identity.shape[:count], strict=True))
    for amount, slopes in (
        (identity.gender - 0.5, BY_GENDER),
        (age - 0.4, BY_AGE),
        (weight - 0.5, BY_WEIGHT),
    ):
        for name, slope in slopes.items():
            (paired if name in paired else values)[name] += slope * amount
    for name, more in LARGER_EYES.items():
        paired[name] += more
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


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) at length 1; those without a direction stay short."""
    return vectors / np.maximum(np.sqrt(np.einsum("...i,...i", vectors, vectors)), 1e-12)[..., None]


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """0 below low, 1 above high, smooth between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def head_mesh(model: HeadModel, vertices: np.ndarray, names: Sequence[str]) -> Mesh:
    """What can be seen of the named parts: one textured mesh whose normals do not break at its seams."""
    codes = [model.part_names.index(name) for name in names]
    chosen = np.isin(model.part, codes) & model.seen[model.triangles].any(1)
    used, triangles = np.unique(model.textured_triangles[chosen], return_inverse=True)
    normals = vertex_normals(vertices, model.triangles[chosen])[model.textured_vertex[used]]
    return Mesh(
        vertices[model.textured_vertex[used]], triangles.reshape(-1, 3), normals, uv=model.textured_uv[used]
    )


def join_meshes(meshes: Sequence[Mesh]) -> Mesh:
    """One mesh of several; with vertex colors if all of them have some."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    colored = all(mesh.colors is not None for mesh in meshes)
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.triangles + start for mesh, start in zip(meshes, starts)]),
        np.concatenate([mesh.normals for mesh in meshes]),
        colors=np.concatenate([mesh.colors for mesh in meshes]) if colored else None,
    )


@lru_cache(maxsize=2)
def load_head(path: str) -> HeadModel:
    """The head model of a file, read once a process; a shipped file's hash is checked."""
    return HeadModel(verify(path))
