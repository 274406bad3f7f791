"""HifiFace (Wang et al., IJCAI 2021, "3D Shape and Semantic Prior Guided High Fidelity Face Swapping").

The decoder is told a shape-aware identity: the embedder's vector, and the coefficients of a 3D face with the
source's shape and the target's expression and pose. Semantic fusion: a learned mask, taught by the target's
true one, mixes decoder and encoder at a quarter of the size, and another one mixes the result and the target.
Losses: adversarial 1, segmentation 100, reconstruction 20, cycle 1, shape 0.5, identity 5; half of the pairs
are one person.

Not as in the paper: coefficients and fused landmarks are the renderer's and free of error, also for unseen
people, where the paper's come from a network. The landmarks of a swap, in pixels, are read by a small network
that learns at the same time from the targets' known ones (term "reader"). Channels are 24 to 96. The LPIPS
term is left out, because its network learned from photographs. The mask holds hair as well as the face,
because hair takes the source's color here. The coefficients are those of the head model, not of scans.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.rivals.loop import Rival, draw_pairs, reconstruction_loss
from experiments.rivals.simswap import AdaIN
from smoothswap_lib import losses, render, world
from smoothswap_lib.layers import NEAR_ZERO, conv1x1, conv3x3, group_norm

CHANNELS = (24, 48, 96, 96)  # at 64, 32, 16, 8 px
SHAPE = [f"identity.shape.{name}" for name in world.PAIRED_SHAPES + world.SINGLE_SHAPES]
SHAPE += [f"identity.asymmetry.{name}" for name in world.PAIRED_SHAPES] + ["identity.gender"]
DRIFTING = ["identity.age", "identity.weight"]
DRIFT = ["state.age", "state.weight"]  # is added to them
MOTION = [f"attributes.actions.{name}" for name in world.ACTIONS]
POSE, DEGREES = [f"attributes.{name}" for name in ("yaw", "pitch", "roll")], 30.0  # a turn of 30 counts as 1
NUM_COEFFICIENTS = len(SHAPE) + len(DRIFTING) + len(MOTION) + len(POSE)
DILATION = 2  # pixels: the source's face may be the wider one


class Residual(nn.Module):
    """Two convolutions beside a skip; resampled before, normalized by group norm or by AdaIN."""

    def __init__(self, in_channels: int, out_channels: int, dim: int = 0, scale: float = 1.0) -> None:
        super().__init__()
        norm = partial(AdaIN, identity_dim=dim) if dim else group_norm
        self.told, self.scale = bool(dim), scale
        self.norms = nn.ModuleList([norm(in_channels), norm(out_channels)])
        self.convs = nn.ModuleList([conv3x3(in_channels, out_channels), conv3x3(out_channels, out_channels)])
        self.skip = conv1x1(in_channels, out_channels)

    def forward(self, x: Tensor, v: Tensor | None = None) -> Tensor:
        """(B, in, H, W) and (B, dim) -> (B, out, scale H, scale W)."""
        if self.scale != 1:
            x = F.interpolate(x, scale_factor=self.scale, mode="bilinear")  # (B, in, scale H, scale W)
        h = x
        for norm, conv in zip(self.norms, self.convs):
            h = conv(F.leaky_relu(norm(h, v) if self.told else norm(h), 0.2))  # (B, out, ...)
        return (self.skip(x) + h) / math.sqrt(2)


def _head(in_channels: int, out_channels: int) -> nn.Sequential:
    """A mask or an image of these maps; it starts at 0, as a saturated tanh or sigmoid would not learn."""
    return nn.Sequential(
        group_norm(in_channels), nn.SiLU(), conv3x3(in_channels, out_channels, scale=NEAR_ZERO)
    )


class Reader(nn.Module):
    """Image -> 68 landmarks in pixels, from the mean face on."""

    def __init__(self, size: int) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 64)
        convs = [nn.Conv2d(i, o, 3, stride=2, padding=1) for i, o in pairwise(widths)]
        self.trunk = nn.Sequential(*(part for conv in convs for part in (conv, nn.LeakyReLU(0.2))))
        self.fc = nn.Linear(widths[-1] * (size // 16) ** 2, 136)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, size, size) -> (B, 68, 2) pixels."""
        h = self.fc(self.trunk(x).flatten(1))  # (B, 136), in widths of the image from its middle
        return self.size * (0.5 + h.view(-1, 68, 2))  # (B, 68, 2)


class HifiFace(Rival):
    """Encoder, decoder told the shape-aware identity, semantic facial fusion."""

    weights: ClassVar = {
        "adversarial": 1.0, "segmentation": 100.0, "reconstruction": 20.0, "cycle": 1.0, "shape": 0.5,
        "identity": 5.0, "reader": 1.0,
    }  # fmt: skip

    def __init__(self, size: int = 64, identity_dim: int = 128) -> None:
        super().__init__(size, identity_dim)
        dim, (a, b, c, d) = identity_dim + NUM_COEFFICIENTS, CHANNELS
        self.input = conv3x3(3, a)
        self.to_low = nn.Sequential(Residual(a, b, scale=0.5), Residual(b, c, scale=0.5))  # a quarter
        self.to_middle = nn.Sequential(Residual(c, d, scale=0.5), Residual(d, d))
        self.decoder = nn.ModuleList([Residual(d, d, dim), Residual(d, c, dim, scale=2)])
        self.low_skip, self.low_mask, self.low_image = Residual(c, c), _head(c, 1), _head(c, 3)
        self.up = nn.Sequential(Residual(c, b, scale=2), Residual(b, a, scale=2))
        self.mask, self.image = _head(a, 1), _head(a, 3)
        self.reader = Reader(size)

    def draw(self, data, batch_size, step, rng):
        return draw_pairs(data, batch_size, batch_size // 2, rng, "person")

    def known(self, data, source, target, rng=None) -> dict[str, Tensor]:
        """What the renderer knows: `coefficients` (B, C) of the fused face and, in training, more."""
        shape, motion = coefficients_of(data)
        known = {"coefficients": np.concatenate([shape[source], motion[target]], axis=1)}
        if rng is not None:
            known["own"] = np.concatenate([shape[target], motion[target]], axis=1)  # (B, C) for the way back
            known["landmarks"] = np.stack([data.landmarks(row) for row in target])  # (B, 68, 2)
            faces = [(*data.parameters(s)[:2], data.parameters(t)[2]) for s, t in zip(source, target)]
            known["fused"] = np.stack([render.landmarks(*face, self.size) for face in faces])  # (B, 68, 2)
            known["mask"] = np.stack([data[int(row)]["mask"] for row in target])  # (B, H, W)
        return {name: torch.as_tensor(value, dtype=torch.float32) for name, value in known.items()}

    def swap(self, pairs):
        return self(pairs.x_target, pairs.z_source, pairs.known["coefficients"])

    def forward(self, x_target: Tensor, z_source: Tensor, coefficients: Tensor) -> Tensor:
        """(B, 3, size, size) in [-1, 1], unit (B, dim), (B, C) -> (B, 3, size, size) in [-1, 1]."""
        return self.fuse(x_target, z_source, coefficients)[0]

    def fuse(self, x_target: Tensor, z_source: Tensor, coefficients: Tensor) -> tuple[Tensor, ...]:
        """Swap, its mask, and both at a quarter of the size; masks are (B, 1, H, W)."""
        v = torch.cat([z_source * math.sqrt(z_source.shape[1]), coefficients], dim=1)  # (B, dim + C)
        low = self.to_low(self.input(x_target))  # (B, 96, size / 4, size / 4)
        h = self.to_middle(low)  # (B, 96, size / 8, size / 8)
        for block in self.decoder:
            h = block(h, v)  # (B, 96, size / 4, size / 4) in the end
        m_low = torch.sigmoid(self.low_mask(h))  # (B, 1, size / 4, size / 4)
        x_low = torch.tanh(self.low_image(h))  # (B, 3, size / 4, size / 4)
        x_low = m_low * x_low + (1 - m_low) * F.avg_pool2d(x_target, 4)
        h = self.up(m_low * h + (1 - m_low) * self.low_skip(low))  # (B, 24, size, size)
        mask = torch.sigmoid(self.mask(h))  # (B, 1, size, size)
        return mask * torch.tanh(self.image(h)) + (1 - mask) * x_target, mask, x_low, m_low

    def losses(self, pairs, embedder, discriminator):
        x, known = pairs.x_target, pairs.known
        x_small = F.avg_pool2d(x, 4)  # (B, 3, size / 4, size / 4)
        x_swap, mask, x_low, m_low = self.fuse(x, pairs.z_source, known["coefficients"])
        x_large = F.interpolate(x_low, scale_factor=4, mode="bilinear")  # (B, 3, size, size)
        with torch.no_grad():
            z_target = embedder(x)  # (B, dim)
        x_back = self(x_swap, z_target, known["own"])  # (B, 3, size, size)
        true = head_mask(known["mask"])  # (B, 1, size, size)
        frozen = {name: value.detach() for name, value in self.reader.named_parameters()}
        read = partial(torch.func.functional_call, self.reader, frozen)  # swaps must not teach the reader
        return x_swap, {
            "adversarial": losses.generator_adversarial_loss(discriminator(x_swap)),
            "segmentation": F.l1_loss(mask, true) + F.l1_loss(m_low, F.avg_pool2d(true, 4)),
            "reconstruction": reconstruction_loss(x_swap, x, pairs.same)
            + reconstruction_loss(x_low, x_small, pairs.same),
            "cycle": F.l1_loss(x_back, x),
            "shape": sum(F.l1_loss(read(picture), known["fused"]) for picture in (x_swap, x_large)),
            "identity": sum(
                losses.identity_loss(embedder(picture), pairs.z_source) for picture in (x_swap, x_large)
            ),
            "reader": F.l1_loss(self.reader(x), known["landmarks"]),
        }


def head_mask(mask: Tensor) -> Tensor:
    """TrueSwap's mask (B, H, W) -> 1 on face, hair and a rim of DILATION pixels around them: (B, 1, H, W)."""
    head = (mask == render.FACE) | (mask == render.HAIR)
    return F.max_pool2d(head.float()[:, None], 2 * DILATION + 1, stride=1, padding=DILATION)


@lru_cache(maxsize=4)
def coefficients_of(data) -> tuple[np.ndarray, np.ndarray]:
    """Of all images of a TrueSwap split: shape (N, 131), and expression with pose (N, 55)."""
    column = {name: data.table[name].to_numpy() for name in SHAPE + MOTION + POSE + DRIFTING + DRIFT}
    drifting = [np.clip(column[a] + column[b], 0, 1) for a, b in zip(DRIFTING, DRIFT)]
    shape = [column[name] for name in SHAPE] + drifting
    motion = [column[name] for name in MOTION] + [column[name] / DEGREES for name in POSE]
    return np.stack(shape, axis=1), np.stack(motion, axis=1)
