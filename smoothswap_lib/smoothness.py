"""How smooth an embedding space is: Slerp, the nearest image of a gallery, d_smooth (Sec. 5.5).

A space is smooth when a point half-way between two faces lies close to the embedding of some real face.
Embeddings come in as tensors, whoever made them.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

NEARLY_STRAIGHT = 1e-4  # sine of the angle below which sin(omega) is too small to divide by in float32
QUERY_BLOCK = 1024  # 1024 x 16384 float32 similarities are 64 MB, whatever the size of the gallery
GALLERY_BLOCK = 16384
BOOTSTRAP_DRAWS = 1000


@dataclass(frozen=True)
class SmoothnessScore:
    """d_smooth with all that it depends on; `low` and `high` bound a 95 % bootstrap interval.

    `gallery_size` is None for the score of a generator, which needs no gallery.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    r: float
    pairs: int
    gallery_size: int | None = None

    def __str__(self) -> str:
        gallery = "no gallery" if self.gallery_size is None else f"gallery of {self.gallery_size}"
        interval = f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"
        return f"{interval} (r = {self.r:g}, {self.pairs} pairs, {gallery})"


def unit(z: Tensor, name: str) -> Tensor:
    """`z` scaled to unit length, refused when it has no direction."""
    if not isinstance(z, Tensor) or z.ndim == 0:
        raise ValueError(f"{name} must be a tensor of embeddings (..., dim), not {type(z).__name__}")
    z = z if z.dtype == torch.float64 else z.float()
    length = torch.linalg.vector_norm(z, dim=-1)
    if not bool(torch.isfinite(length).all()) or not bool((length > 0).all()):
        raise ValueError(
            f"{name} holds a zero or non-finite embedding; check the embedder and its input range [-1, 1]"
        )
    return normalize(z, dim=-1)


def _perpendicular(z: Tensor) -> Tensor:
    """A unit vector at a right angle to each unit vector of `z` (..., dim): the same one for z and for -z."""
    if z.shape[-1] < 2:
        raise ValueError("opposite embeddings of one dimension have no path between them; use dim >= 2")
    axis = torch.zeros_like(z).scatter_(-1, z.abs().argmin(dim=-1, keepdim=True), 1.0)
    return normalize(axis - (axis * z).sum(-1, keepdim=True) * z, dim=-1)


def slerp(z_a: Tensor, z_b: Tensor, r: float | Tensor) -> Tensor:
    """Slerp, (sin((1 - r) w) z_a + sin(r w) z_b) / sin(w) with w the angle between the two (Sec. 5.5).

    Nearly parallel vectors are averaged in a straight line. Opposite vectors are joined by infinitely many
    arcs: the one over the coordinate axis nearest to a right angle is taken, the same from either end.

    Parameters
    ----------
    z_a, z_b : (B, dim) or (dim,), scaled to unit length here
    r : one ratio in [0, 1] or one for each pair, (B,); 0 gives z_a, 1 gives z_b

    Returns
    -------
    (B, dim) or (dim,), unit length
    """
    z_a, z_b = torch.broadcast_tensors(unit(z_a, "z_a"), unit(z_b, "z_b"))
    r = torch.as_tensor(r, dtype=z_a.dtype, device=z_a.device)
    if not bool(((r >= 0) & (r <= 1)).all()):
        raise ValueError(f"the ratio r must lie in [0, 1], got {r.min():g} to {r.max():g}")
    if r.ndim and r.shape != z_a.shape[:-1]:
        raise ValueError(f"r must be one number or have shape {tuple(z_a.shape[:-1])}, got {tuple(r.shape)}")
    r = r.unsqueeze(-1)  # (B, 1) or (1,)

    chord = torch.linalg.vector_norm(z_a - z_b, dim=-1, keepdim=True)
    # Unlike the arc cosine of the dot product, this keeps its digits near 0 and pi.
    omega = 2 * torch.atan2(chord, torch.linalg.vector_norm(z_a + z_b, dim=-1, keepdim=True))
    sine = omega.sin()
    straight = sine < NEARLY_STRAIGHT
    safe = torch.where(straight, torch.ones_like(sine), sine)
    point = (((1 - r) * omega).sin() * z_a + (r * omega).sin() * z_b) / safe
    if bool(straight.any()):
        line = (1 - r) * z_a + r * z_b
        cosine = (math.pi * r).cos()
        arc = cosine.clamp_min(0) * z_a + (-cosine).clamp_min(0) * z_b
        arc = arc + (math.pi * r).sin() * _perpendicular(z_a)
        point = torch.where(straight, torch.where(omega > math.pi / 2, arc, line), point)
    return normalize(point, dim=-1)


def _excluded_columns(exclude: Tensor | None, rows: int, size: int, device) -> Tensor:
    """Gallery indices that each query must not get, (rows, E); -1 excludes nothing."""
    if exclude is None:
        return torch.empty(rows, 0, dtype=torch.long, device=device)
    exclude = torch.as_tensor(exclude, device=device).long()
    exclude = exclude.unsqueeze(-1) if exclude.ndim == 1 else exclude
    if exclude.ndim != 2 or len(exclude) != rows:
        raise ValueError(
            f"exclude must have one row for each of the {rows} queries, got {tuple(exclude.shape)}"
        )
    if exclude.numel() and (exclude.min() < -1 or exclude.max() >= size):
        raise ValueError(f"exclude must hold gallery indices 0..{size - 1}, or -1 for none")
    return exclude


@torch.no_grad()
def nearest(z: Tensor, gallery: Tensor, exclude: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The gallery's embedding closest to each query, block by block: no (B, N) table is ever held.

    Parameters
    ----------
    z : (B, dim) queries
    gallery : (N, dim)
    exclude : (B,) or (B, E) gallery indices that a query must not get, such as its own image; -1 for none

    Returns
    -------
    indices (B,) into the gallery and distances (B,), Euclidean between unit vectors, in [0, 2]
    """
    z = unit(z, "z")
    if z.ndim != 2 or gallery.ndim != 2 or z.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"z and gallery must be (B, dim) and (N, dim), got {tuple(z.shape)}, {tuple(gallery.shape)}"
        )
    exclude = _excluded_columns(exclude, len(z), len(gallery), z.device)
    indices = torch.full((len(z),), -1, dtype=torch.long, device=z.device)
    for start in range(0, len(z), QUERY_BLOCK):
        rows = slice(start, start + QUERY_BLOCK)
        best = torch.full_like(indices[rows], -math.inf, dtype=z.dtype)
        for offset in range(0, len(gallery), GALLERY_BLOCK):
            block = unit(gallery[offset : offset + GALLERY_BLOCK], "gallery").to(z)
            cosine = z[rows] @ block.T  # (rows, block)
            column = exclude[rows] - offset
            row, which = ((column >= 0) & (column < cosine.shape[1])).nonzero(as_tuple=True)
            cosine[row, column[row, which]] = -math.inf
            value, index = cosine.max(dim=1)
            better = value > best
            best = torch.where(better, value, best)
            indices[rows] = torch.where(better, index + offset, indices[rows])
    if bool((indices < 0).any()):
        raise ValueError(
            "a query has no image left to retrieve: its whole gallery is excluded; use a larger gallery"
        )
    # The difference keeps the digits that sqrt(2 - 2 cos) would lose for close neighbors.
    return indices, torch.linalg.vector_norm(z - unit(gallery[indices], "gallery").to(z), dim=1)


def draw_pairs(count: int, pairs: int, seed: int, identity=None) -> tuple[np.ndarray, np.ndarray]:
    """Random ordered pairs (A, B) of two different images; of two identities when `identity` is given."""
    group = np.arange(count) if identity is None else np.asarray(identity)
    if len(group) != count:
        raise ValueError(f"identity must hold one value for each of the {count} embeddings, got {len(group)}")
    if len(np.unique(group)) < 2:
        raise ValueError("pairs need at least two different images (identities, when these are given)")
    rng = np.random.default_rng(seed)
    first, second = rng.integers(count, size=pairs), rng.integers(count, size=pairs)
    while (same := group[first] == group[second]).any():
        first[same], second[same] = rng.integers(count, size=same.sum()), rng.integers(count, size=same.sum())
    return first, second


def _ratio(gap: Tensor, distance: Tensor) -> np.ndarray:
    if bool((distance < 1e-6).any()):
        raise ValueError(
            "two different images have the same embedding, so d_smooth divides by zero: "
            "the embedder has collapsed, or an image is there twice"
        )
    return (gap / distance).double().cpu().numpy()


def _summary(
    ratio: np.ndarray, unit_a: np.ndarray, unit_b: np.ndarray, seed: int, **fields
) -> SmoothnessScore:
    """Mean and bootstrap over the units (images or identities) that the pairs are made of.

    Pairs that share an image are not independent, so whole units are redrawn, and a pair counts as often as
    its two ends together; a plain standard error over thousands of pairs would look far too sure.
    """
    rng = np.random.default_rng(seed)
    count = 1 + int(max(unit_a.max(), unit_b.max()))
    means = []
    for _ in range(BOOTSTRAP_DRAWS):
        drawn = np.bincount(rng.integers(count, size=count), minlength=count)
        weight = drawn[unit_a] * (drawn[unit_b] if unit_b is not unit_a else 1)
        if weight.any():
            means.append(np.average(ratio, weights=weight))
    low, high = np.quantile(means, [0.025, 0.975])
    return SmoothnessScore(
        float(ratio.mean()), float(np.std(means)), float(low), float(high), pairs=len(ratio), **fields
    )


def smoothness_score(
    z: Tensor,
    gallery: Tensor,
    r: float = 0.5,
    pairs: int = 4000,
    seed: int = 0,
    identity=None,
    own: Tensor | None = None,
) -> SmoothnessScore:
    """d_smooth = E ||Slerp(z_A, z_B; r) - z_C|| / ||z_A - z_B||, z_C the nearest in the gallery (Sec. 5.5).

    It falls as the gallery grows, so that only scores against the same gallery can be compared.

    Parameters
    ----------
    z : (n, dim) embeddings of test images; A and B are drawn from them
    gallery : (N, dim) valid embeddings, in the paper those of the train split
    identity : (n,), optional; then A and B are two identities, and the interval is over identities
    own : (n,), optional; index in the gallery of each test image itself (-1: not there), never retrieved
    """
    z = unit(z, "z")
    first, second = draw_pairs(len(z), pairs, seed, identity)
    z_a, z_b = z[first], z[second]
    exclude = None if own is None else torch.as_tensor(own)[np.stack([first, second], axis=1)]  # (pairs, 2)
    _, gap = nearest(slerp(z_a, z_b, r), gallery, exclude)
    ratio = _ratio(gap, torch.linalg.vector_norm(z_a - z_b, dim=1))
    group = np.arange(len(z)) if identity is None else np.unique(np.asarray(identity), return_inverse=True)[1]
    return _summary(ratio, group[first], group[second], seed, r=r, gallery_size=len(gallery))


def smoothness_score_path(z_path: Tensor, r: float = 0.5, seed: int = 0) -> SmoothnessScore:
    """d_smooth of a generator or renderer that can draw the face between two faces ("w/GAN" in Table 2).

    Parameters
    ----------
    z_path : (pairs, 3, dim) embeddings of image A, the in-between image g(Lerp(y_A, y_B; r)) and image B
    """
    if z_path.ndim != 3 or z_path.shape[1] != 3:
        raise ValueError(
            f"z_path must be (pairs, 3, dim), in the order A, in-between, B; got {tuple(z_path.shape)}"
        )
    z_a, z_c, z_b = unit(z_path, "z_path").unbind(dim=1)
    gap = torch.linalg.vector_norm(slerp(z_a, z_b, r) - z_c, dim=1)
    group = np.arange(len(z_path))
    return _summary(_ratio(gap, torch.linalg.vector_norm(z_a - z_b, dim=1)), group, group, seed, r=r)
