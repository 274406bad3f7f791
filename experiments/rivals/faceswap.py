"""FaceSwap (Kowalski's program, as FaceForensics++ ran it): graphics, no training.

The source's face lies on a mesh of its landmarks. The mesh is warped onto the target's landmarks, each
triangle by its own affine map; the colors' mean is moved to that of the face it covers; the edge is blended.

Not as in the program: the mesh is the Delaunay triangulation of the 68 known landmarks in the picture, where
the program fits a 3D template to detected ones, so what a turned head hides is stretched, not completed.
Nothing above the brows is swapped.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from scipy.spatial import Delaunay
from torch import Tensor

from experiments.rivals.loop import Rival

FEATHER = 1.5  # pixels, deviation of the blur that softens the edge


class FaceSwap(Rival):
    """Warp, correct colors, blend; it has no parameter and looks at no identity vector."""

    def known(self, data, source, target, rng=None):
        rows = {"source_landmarks": source, "target_landmarks": target}
        return {n: torch.from_numpy(np.stack([data.landmarks(r) for r in part])) for n, part in rows.items()}

    def swap(self, pairs):
        points = pairs.known["source_landmarks"], pairs.known["target_landmarks"]
        columns = zip(pairs.x_source, pairs.x_target, *points)
        return torch.stack([swap_by_mesh(*column) for column in columns])


def swap_by_mesh(x_source: Tensor, x_target: Tensor, source_points: Tensor, target_points: Tensor) -> Tensor:
    """One swap: (3, H, W) in [-1, 1] and (68, 2) pixels, of each picture -> (3, H, W)."""
    size = x_target.shape[-1]
    warped = warp_mesh(x_source, source_points, target_points)  # (3, H, W)
    hull = hull_mask(target_points, size)  # (H, W) bool
    if hull.any():
        warped = warped + (x_target - warped)[:, hull].mean(1)[:, None, None]
    weight = soft_inside(hull)  # (H, W)
    return (x_target + weight * (warped - x_target)).clamp(-1, 1)  # (3, H, W)


def warp_mesh(x: Tensor, source_points: Tensor, target_points: Tensor) -> Tensor:
    """Draw the picture (3, H, W) so that its points (68, 2) come to lie on the target's; black outside."""
    size = x.shape[-1]
    mesh, pixels = Delaunay(target_points.numpy()), _centers(size)  # (H W, 2)
    triangle = mesh.find_simplex(pixels)  # (H W,), -1 outside
    transform = mesh.transform[
        triangle
    ]  # (H W, 3, 2): the inverse of a triangle's edges, and its last corner
    first = np.einsum("nij,nj->ni", transform[:, :2], pixels - transform[:, 2])  # (H W, 2) barycentric
    weights = np.concatenate([first, 1 - first.sum(1, keepdims=True)], axis=1)  # (H W, 3)
    corners = source_points.numpy()[mesh.simplices[triangle]]  # (H W, 3, 2)
    places = torch.from_numpy((weights[..., None] * corners).sum(1)).float()  # (H W, 2) in the source
    grid = (2 * places / size - 1).view(1, size, size, 2)  # grid_sample counts from -1 to 1
    drawn = F.grid_sample(x[None], grid, padding_mode="border", align_corners=False)[0]  # (3, H, W)
    return torch.where(torch.from_numpy(triangle >= 0).view(size, size), drawn, -1.0)


def hull_mask(points: Tensor, size: int) -> Tensor:
    """Which pixels lie in the convex hull of the landmarks (68, 2): (size, size) bool."""
    inside = Delaunay(points.numpy()).find_simplex(_centers(size)) >= 0
    return torch.from_numpy(inside).view(size, size)


def soft_inside(mask: Tensor) -> Tensor:
    """Weights (H, W) that rise from 0 at a mask's edge to 1 inside; 0 outside of it."""
    blurred = torch.from_numpy(gaussian_filter(mask.float().numpy(), FEATHER, mode="constant"))
    return (2 * blurred - 1).clamp(0, 1) * mask


def _centers(size: int) -> np.ndarray:
    """(size^2, 2) centers (x, y) of the pixels; the top left one's is (0.5, 0.5), as in TrueSwap."""
    y, x = np.mgrid[:size, :size] + 0.5
    return np.stack([x.ravel(), y.ravel()], axis=1)
