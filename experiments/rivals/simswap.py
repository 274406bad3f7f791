"""SimSwap (Chen et al., ACM MM 2020, "SimSwap: An Efficient Framework For High Fidelity Face Swapping").

Encoder, blocks that inject the identity by AdaIN, decoder; no skips. Weak feature matching keeps the target's
attributes: the discriminator's last maps of swap and target must agree, its first ones need not. Losses:
adversarial, identity, reconstruction, weak feature matching, weights 1, 10, 10, 10. Batches whose pairs are
one person (two pictures of it) and batches of two people take turns.

Not as in the paper: channels are 24 to 96 (64 to 512), with six injection blocks (9); the middle map has 16
px after two halvings (28 px of 224, three); group norm in place of batch norm, because a batch has 8
pictures; the features are the last two stages of the course's one discriminator (two scales, hinge loss),
before their activation, and R1 replaces the gradient penalty. Two pictures of one person differ in tan and
hair color here; the reconstruction asks for the target's.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.rivals.loop import Rival, draw_pairs, reconstruction_loss
from smoothswap_lib import losses
from smoothswap_lib.layers import conv3x3, group_norm

WIDTH, BLOCKS = 24, 6
MATCHED = 2  # stages of the discriminator, counted from its last one


class AdaIN(nn.Module):
    """Instance norm whose scale and shift come from the identity: sigma(z) (h - mean) / deviation + mu(z)."""

    def __init__(self, channels: int, identity_dim: int) -> None:
        super().__init__()
        self.style = nn.Linear(identity_dim, 2 * channels)
        with torch.no_grad():
            self.style.bias[:channels] = 1  # a plain instance norm at first

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """(B, C, H, W) and (B, dim) -> (B, C, H, W)."""
        scale, shift = self.style(z)[:, :, None, None].chunk(2, dim=1)  # (B, C, 1, 1) each
        return scale * F.instance_norm(h) + shift


class InjectionBlock(nn.Module):
    """The ID block: a residual block with AdaIN in place of batch norm."""

    def __init__(self, channels: int, identity_dim: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(conv3x3(channels, channels) for _ in range(2))
        self.norms = nn.ModuleList(AdaIN(channels, identity_dim) for _ in range(2))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """(B, C, H, W) and (B, dim) -> (B, C, H, W)."""
        h = F.relu(self.norms[0](self.convs[0](x), z))
        return x + self.norms[1](self.convs[1](h), z)


def _conv(in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, padding_mode="reflect")
    return nn.Sequential(conv, group_norm(out_channels), nn.ReLU())


class SimSwap(Rival):
    """Encoder, identity injection, decoder."""

    weights: ClassVar = {"adversarial": 1.0, "identity": 10.0, "reconstruction": 10.0, "weak_features": 10.0}

    def __init__(self, size: int = 64, identity_dim: int = 128) -> None:
        super().__init__(size, identity_dim)
        w = WIDTH
        self.encoder = nn.Sequential(_conv(3, w, 7), _conv(w, 2 * w, stride=2), _conv(2 * w, 4 * w, stride=2))
        self.injection = nn.ModuleList(InjectionBlock(4 * w, identity_dim) for _ in range(BLOCKS))
        self.decoder = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear"), _conv(4 * w, 2 * w),
            nn.Upsample(scale_factor=2, mode="bilinear"), _conv(2 * w, w),
            nn.Conv2d(w, 3, 7, padding=3, padding_mode="reflect"), nn.Tanh(),
        )  # fmt: skip

    def draw(self, data, batch_size, step, rng):
        return draw_pairs(data, batch_size, batch_size * (step % 2), rng, "person")

    def forward(self, x_target: Tensor, z_source: Tensor) -> Tensor:
        """(B, 3, size, size) in [-1, 1] and unit (B, dim) -> (B, 3, size, size) in [-1, 1]."""
        z = z_source * math.sqrt(z_source.shape[1])  # entries of about 1
        h = self.encoder(x_target)  # (B, 96, size / 4, size / 4)
        for block in self.injection:
            h = block(h, z)  # (B, 96, size / 4, size / 4)
        return self.decoder(h)  # (B, 3, size, size)

    def losses(self, pairs, embedder, discriminator):
        x_swap = self(pairs.x_target, pairs.z_source)
        logits, features = logits_and_features(discriminator, x_swap)
        with torch.no_grad():
            _, wanted = logits_and_features(discriminator, pairs.x_target)
        return x_swap, {
            "adversarial": losses.generator_adversarial_loss(logits),
            "identity": losses.identity_loss(embedder(x_swap), pairs.z_source),
            "reconstruction": reconstruction_loss(x_swap, pairs.x_target, pairs.same),
            "weak_features": weak_feature_matching(features, wanted),
        }


def weak_feature_matching(features: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """L_wFM: mean |difference| of each of the last MATCHED stages, summed; lists of (B, C, H, W)."""
    return sum(F.l1_loss(a, b) for a, b in zip(features[-MATCHED:], wanted[-MATCHED:]))


def logits_and_features(discriminator: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """(B,) logits, and what each stage of the discriminator gives, (B, C, res, res) before its activation."""
    features: list[Tensor] = []
    stages = discriminator.convs if hasattr(discriminator, "convs") else discriminator.blocks
    hooks = [s.register_forward_hook(lambda _, __, out: features.append(out)) for s in stages.values()]
    try:
        return discriminator(x), features
    finally:
        for hook in hooks:
            hook.remove()
