"""Walks through a gallery: the images met between two faces, and how many of them differ (Sec. 5.5, Fig. 9).

Depends on smoothness; embeddings come in as tensors, whoever made them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smoothswap_lib.smoothness import draw_pairs, nearest, slerp, unit


@dataclass(frozen=True)
class UniqueCount:
    """Different images met along an interpolation: mean and standard deviation over pairs, and each count."""

    mean: float
    standard_deviation: float
    points: int
    gallery_size: int
    counts: np.ndarray

    def __str__(self) -> str:
        return (
            f"{self.mean:.2f} +- {self.standard_deviation:.2f} different images of {self.points} "
            f"({len(self.counts)} pairs, gallery of {self.gallery_size})"
        )


def path_ratios(points: int = 9) -> Tensor:
    """The interpolating points of Fig. 9, without the two ends: .1, .2, ... .9 for nine."""
    return torch.arange(1, points + 1) / (points + 1)


def retrieval_path(
    z_a: Tensor, z_b: Tensor, gallery: Tensor, points: int = 9, exclude=None
) -> tuple[Tensor, int]:
    """The gallery images met on the way from A to B, and how many of them differ (Fig. 9).

    Parameters
    ----------
    z_a, z_b : (dim,)
    exclude : gallery indices never retrieved, such as those of A and B themselves

    Returns
    -------
    indices (points,) into the gallery, and the number of different ones
    """
    z = slerp(z_a.expand(points, -1), z_b.expand(points, -1), path_ratios(points).to(z_a.device))
    if exclude is not None:
        exclude = torch.as_tensor(exclude).reshape(1, -1).expand(points, -1)
    indices, _ = nearest(z, gallery, exclude)
    return indices, len(indices.unique())


def path_distances(z_a: Tensor, z_b: Tensor, z_path: Tensor) -> tuple[Tensor, Tensor]:
    """Distances of the retrieved embeddings (points, dim) to A and to B: the graph of Fig. 9."""
    z_a, z_b, z_path = unit(z_a, "z_a"), unit(z_b, "z_b"), unit(z_path, "z_path")
    return torch.linalg.vector_norm(z_path - z_a, dim=-1), torch.linalg.vector_norm(z_path - z_b, dim=-1)


def mean_pair_distance(z: Tensor, pairs: int = 4000, seed: int = 0) -> float:
    """Average distance of random pairs, the unit of length in Fig. 9's graph."""
    first, second = draw_pairs(len(z), pairs, seed)
    z = unit(z, "z")
    return torch.linalg.vector_norm(z[first] - z[second], dim=1).mean().item()


def unique_per_interpolation(
    z: Tensor, gallery: Tensor, pairs: int = 64, points: int = 9, seed: int = 0, identity=None, own=None
) -> UniqueCount:
    """Different images retrieved along an interpolation; few means a lumpy space (end of Sec. 5.5)."""
    counts = []
    for a, b in zip(*draw_pairs(len(z), pairs, seed, identity), strict=True):
        exclude = None if own is None else [int(own[a]), int(own[b])]
        counts.append(retrieval_path(z[a], z[b], gallery, points, exclude)[1])
    counts = np.array(counts)
    return UniqueCount(float(counts.mean()), float(counts.std(ddof=1)), points, len(gallery), counts)
