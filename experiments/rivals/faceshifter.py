"""FaceShifter (Li et al. 2019, "FaceShifter: Towards High Fidelity And Occlusion Aware Face Swapping").

A U-Net writes the target as attribute maps, one a size. A generator grows the swap from the identity vector;
each of its AAD layers writes attributes and identity into the same map and learns a mask that chooses between
them at every pixel. Losses: adversarial, identity, attributes, reconstruction, weights
1, 5, 10, 10; in a fifth of the pairs the source is the target's picture.

Not as in the paper: channels are an eighth, and the sizes go from 2 to 64 px, not to 256; group norm in
place of the encoder's batch norm, because a batch has 8 pictures; squared errors are means over a map, not
sums; the discriminator is the course's (the paper: three scales, hinge loss). The second stage, HEAR-Net,
which mends occlusions such as glasses, is left out.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.rivals.loop import Rival, draw_pairs, reconstruction_loss
from smoothswap_lib import losses
from smoothswap_lib.layers import conv1x1, conv3x3, group_norm

ENCODER = (16, 32, 64, 128, 128)  # channels at 32, 16, 8, 4, 2 px
GENERATOR = (128, 128, 128, 128, 64, 32, 3)  # channels that the blocks at 2, 4, ... 64 px get, and give
SAME = 0.2  # share of the pairs whose source is the target


class AttributeEncoder(nn.Module):
    """Image -> maps of its attributes, one a size: a U-Net's bottleneck and decoder."""

    def __init__(self) -> None:
        super().__init__()
        down = zip((3, *ENCODER), ENCODER)
        self.down = nn.ModuleList(self._layer(nn.Conv2d, *channels) for channels in down)
        wide = (ENCODER[-1], *(2 * channels for channels in ENCODER[-2:0:-1]))  # joined with the skips
        up = zip(wide, ENCODER[-2::-1])
        self.up = nn.ModuleList(self._layer(nn.ConvTranspose2d, *channels) for channels in up)
        self.channels = (*wide, 2 * ENCODER[0], 2 * ENCODER[0])  # of the maps, from 2 to 64 px

    @staticmethod
    def _layer(kind, in_channels: int, out_channels: int) -> nn.Sequential:
        conv = kind(in_channels, out_channels, 4, stride=2, padding=1)
        return nn.Sequential(conv, group_norm(out_channels), nn.LeakyReLU(0.1))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, 64, 64) -> [(B, 128, 2, 2), (B, 256, 4, 4), ..., (B, 32, 32, 32), (B, 32, 64, 64)]."""
        skips = []
        for layer in self.down:
            x = layer(x)  # (B, C, res / 2, res / 2)
            skips.append(x)
        maps = [skips.pop()]  # (B, 128, 2, 2)
        for layer in self.up:
            maps.append(torch.cat([layer(maps[-1]), skips.pop()], dim=1))  # (B, 2 C, 2 res, 2 res)
        return [*maps, F.interpolate(maps[-1], scale_factor=2, mode="bilinear")]  # (B, 32, 64, 64)


class AAD(nn.Module):
    """Adaptive attentional denormalization: h = (1 - M) A + M I."""

    def __init__(self, channels: int, attribute_channels: int, identity_dim: int) -> None:
        super().__init__()
        self.from_attributes = conv1x1(attribute_channels, 2 * channels)
        self.from_identity = nn.Linear(identity_dim, 2 * channels)
        self.mask = conv1x1(channels, 1)

    def forward(self, h: Tensor, attributes: Tensor, z: Tensor) -> Tensor:
        """(B, C, H, W), (B, C', H, W), (B, dim) -> (B, C, H, W)."""
        h = F.instance_norm(h)
        gamma, beta = self.from_attributes(attributes).chunk(2, dim=1)  # (B, C, H, W) each
        by_attributes = gamma * h + beta
        gamma, beta = self.from_identity(z)[:, :, None, None].chunk(2, dim=1)  # (B, C, 1, 1) each
        by_identity = gamma * h + beta
        mask = torch.sigmoid(self.mask(h))  # (B, 1, H, W)
        return (1 - mask) * by_attributes + mask * by_identity


class AADBlock(nn.Module):
    """Two times AAD, ReLU, 3 x 3 convolution, with a skip of the same form where the channels change."""

    def __init__(self, in_channels: int, out_channels: int, attribute_channels: int, dim: int) -> None:
        super().__init__()
        kinds = [in_channels] + [out_channels] * (1 + (in_channels != out_channels))
        self.norms = nn.ModuleList(AAD(in_channels, attribute_channels, dim) for _ in kinds)
        self.convs = nn.ModuleList(conv3x3(in_channels, channels) for channels in kinds)

    def forward(self, x: Tensor, attributes: Tensor, z: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H, W)."""
        steps = [
            lambda h, norm=norm, conv=conv: conv(F.relu(norm(h, attributes, z)))
            for norm, conv in zip(self.norms, self.convs)
        ]
        skip = steps[2](x) if len(steps) > 2 else x  # (B, out, H, W)
        return steps[1](steps[0](x)) + skip


class FaceShifter(Rival):
    """AEI-Net: attribute encoder and AAD generator; 64 px."""

    weights: ClassVar = {"adversarial": 1.0, "attributes": 10.0, "identity": 5.0, "reconstruction": 10.0}

    def __init__(self, size: int = 64, identity_dim: int = 128) -> None:
        super().__init__(size, identity_dim)
        if size != 2 ** len(GENERATOR[1:]):
            raise ValueError(f"this FaceShifter makes {2 ** len(GENERATOR[1:])} px pictures, size is {size}")
        self.encoder = AttributeEncoder()
        self.start = nn.ConvTranspose2d(identity_dim, GENERATOR[0], 2)
        parts = zip(GENERATOR, GENERATOR[1:], self.encoder.channels)
        self.blocks = nn.ModuleList(AADBlock(*channels, identity_dim) for channels in parts)

    def draw(self, data, batch_size, step, rng):
        return draw_pairs(data, batch_size, max(1, round(SAME * batch_size)), rng, "picture")

    def forward(self, x_target: Tensor, z_source: Tensor) -> Tensor:
        """(B, 3, 64, 64) in [-1, 1] and unit (B, dim) -> (B, 3, 64, 64) in [-1, 1]."""
        return self.generate(self.encoder(x_target), z_source)

    def generate(self, attributes: list[Tensor], z_source: Tensor) -> Tensor:
        """The swap (B, 3, 64, 64) from attribute maps and identity."""
        z = z_source * math.sqrt(z_source.shape[1])  # entries of about 1
        h = self.start(z[:, :, None, None])  # (B, 128, 2, 2)
        for block, maps in zip(self.blocks, attributes):
            if h.shape[2] != maps.shape[2]:
                h = F.interpolate(h, scale_factor=2, mode="bilinear")  # (B, C, 2 res, 2 res)
            h = block(h, maps, z)  # (B, C', res, res)
        return torch.tanh(h)  # (B, 3, 64, 64)

    def losses(self, pairs, embedder, discriminator):
        attributes = self.encoder(pairs.x_target)
        x_swap = self.generate(attributes, pairs.z_source)
        kept = zip(self.encoder(x_swap), attributes)
        return x_swap, {
            "adversarial": losses.generator_adversarial_loss(discriminator(x_swap)),
            "attributes": sum(F.mse_loss(after, before) for after, before in kept) / 2,
            "identity": losses.identity_loss(embedder(x_swap), pairs.z_source),
            "reconstruction": reconstruction_loss(x_swap, pairs.x_target, pairs.same, power=2) / 2,
        }
