"""Random colors for the embedder's training images: it must look at shapes, too. Depends on torch only.

Where hair and skin tell most people apart, colors are a shortcut: the loss is satisfied before the
embedder has learned a jaw. The paper names no augmentation; contrastive learning rarely goes without
(Chen et al. 2020, SimCLR, appendix A).
"""

import math

import torch
from torch import Tensor

GRAY = (0.299, 0.587, 0.114)  # luma of ITU-R BT.601


def step_generator(seed: int, step: int) -> torch.Generator:
    """The randomness of one step's pictures: a resumed run draws what an uninterrupted one draws."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)


def color_factors(count: int, strength: float, gray_share: float, seed: int, step: int) -> Tensor:
    """What `jitter_colors` does to each image of a batch, (count, 4): the same for the same (seed, step).

    Columns: brightness, contrast and saturation, uniform in 1 +- strength, and hue, a turn in units of the
    circle, uniform in +- strength / 4 (SimCLR's proportions). A share of the images gets saturation 0.
    """
    generator = step_generator(seed, step)
    spread = torch.rand(count, 4, generator=generator) * 2 - 1  # (count, 4) in [-1, 1)
    factors = torch.cat([1 + strength * spread[:, :3], strength / 4 * spread[:, 3:]], dim=1)
    gray = torch.rand(count, generator=generator) < gray_share
    factors[gray, 2] = 0.0
    return factors


def _color_matrices(saturation: Tensor, hue: Tensor) -> Tensor:
    """(B, 3, 3): turn colors around the gray axis by `hue`, then draw them toward their gray."""
    cos, sin = (2 * math.pi * hue).cos(), (2 * math.pi * hue).sin()  # (B,) each
    eye, ones = torch.eye(3).to(hue), torch.ones(3, 3).to(hue) / 3
    across = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]).to(hue) / math.sqrt(3)
    turn = cos[:, None, None] * (eye - ones) + ones + sin[:, None, None] * across  # Rodrigues' formula
    gray = torch.tensor(GRAY).to(hue).expand(3, 3)
    fade = saturation[:, None, None] * eye + (1 - saturation[:, None, None]) * gray
    return fade @ turn


def jitter_colors(x: Tensor, factors: Tensor) -> Tensor:
    """Change brightness, contrast, saturation and hue of each image.

    Parameters
    ----------
    x : (B, 3, H, W) in [-1, 1]
    factors : (B, 4) of `color_factors`

    Returns
    -------
    (B, 3, H, W) in [-1, 1], cut off there
    """
    brightness, contrast, saturation, hue = factors.to(x).unbind(dim=1)  # (B,) each
    x = (x + 1) / 2  # [0, 1]: black stays black
    x = torch.einsum("bij,bjhw->bihw", _color_matrices(saturation, hue), x)  # (B, 3, H, W)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
    x = mean + contrast[:, None, None, None] * (x - mean)
    x = brightness[:, None, None, None] * x
    return (2 * x - 1).clamp(-1, 1)
