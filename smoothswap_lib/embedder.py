"""Identity embedder: image -> unit vector (Sec. 4.1, 5.1), and the classifier heads of Table 2's baselines.

The paper's is ResNet-50 (He et al. 2016), average pool, two fully-connected layers; at 64 px a plain trunk.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smoothswap_lib.layers import at_least_float32, channels_last

EXPANSION = 4  # a bottleneck block of width w puts out 4 w channels
RESNET50_WIDTH, RESNET50_BLOCKS = 64, (3, 4, 6, 3)  # width of the first stage, blocks a stage
PLAIN_WIDTHS = (32, 64, 128, 192)  # two 3 x 3 convolutions each, the first with stride 2
PLAIN_MAP = 4  # pixels a side of what the plain trunk hands on, place by place


def _conv_norm(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Sequential:
    """Convolution and batch norm, whose shift makes a bias pointless."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


class Bottleneck(nn.Module):
    """ResNet's block: 1 x 1 to few channels, 3 x 3 (with the stride), 1 x 1 back to 4 times as many."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = EXPANSION * width
        self.reduce = _conv_norm(in_channels, width, 1)
        self.conv = _conv_norm(width, width, 3, stride)
        self.expand = _conv_norm(width, out_channels, 1)
        changes = stride != 1 or in_channels != out_channels
        self.skip = _conv_norm(in_channels, out_channels, 1, stride) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, 4 width, H / stride, W / stride)."""
        h = F.relu(self.reduce(x))  # (B, width, H, W)
        h = F.relu(self.conv(h))  # (B, width, H / stride, W / stride)
        return F.relu(self.expand(h) + self.skip(x))  # (B, 4 width, H / stride, W / stride)


def _resnet50_trunk() -> nn.Sequential:
    """Return the trunk: (B, 3, H, W) -> (B, 2048, H / 32, W / 32)."""
    channels = RESNET50_WIDTH
    layers: list[nn.Module] = [_conv_norm(3, channels, 7, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)]
    for stage, num_blocks in enumerate(RESNET50_BLOCKS):
        stage_width = RESNET50_WIDTH * 2**stage
        for block in range(num_blocks):
            halves = stage > 0 and block == 0
            layers.append(Bottleneck(channels, stage_width, stride=2 if halves else 1))
            channels = EXPANSION * stage_width
    return nn.Sequential(*layers)


def _plain_trunk() -> nn.Sequential:
    """Return the trunk: (B, 3, H, W) -> (B, PLAIN_WIDTHS[-1], H / 16, W / 16)."""
    layers: list[nn.Module] = []
    channels = 3
    for width in PLAIN_WIDTHS:
        for stride in (2, 1):
            layers += [_conv_norm(channels, width, 3, stride), nn.ReLU()]
            channels = width
    return nn.Sequential(*layers)


class Embedder(nn.Module):
    """Image -> identity vector of unit length.

    Parameters
    ----------
    backbone : "resnet50" (the paper's: 2048 features -> 1024 -> 512) or "plain" (for 64 px: eight
        convolutions whose last map is not averaged away, because a nose is where it is:
        192 x 4 x 4 -> 256 -> dim)
    dim : length of the identity vector; the sizes of the two fully-connected layers are inferred
    """

    def __init__(self, backbone: str = "resnet50", dim: int = 512) -> None:
        super().__init__()
        if backbone not in ("plain", "resnet50"):
            raise ValueError(f"backbone must be one of ('plain', 'resnet50'), got {backbone!r}")
        self.backbone, self.dim = backbone, dim
        if backbone == "plain":
            self.trunk, last_map = _plain_trunk(), PLAIN_MAP
            features, hidden = PLAIN_WIDTHS[-1] * PLAIN_MAP**2, 256
        else:
            self.trunk, last_map = _resnet50_trunk(), 1
            features, hidden = 2048, 1024
        self.pool = nn.AdaptiveAvgPool2d(last_map)
        self.fc0 = nn.Linear(features, hidden)
        self.fc1 = nn.Linear(hidden, dim)
        channels_last(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, dim), each row of length 1."""
        if x.dim() != 4 or x.shape[1] != 3:
            raise ValueError(f"images must be (B, 3, H, W), got {tuple(x.shape)}")
        h = self.trunk(x)  # (B, channels, h, w)
        h = self.pool(h).flatten(1)  # (B, features)
        h = F.relu(self.fc0(h))  # (B, hidden)
        z = at_least_float32(self.fc1(h))  # (B, dim)
        return F.normalize(z, dim=1)  # (B, dim)


class LinearHead(nn.Module):
    """CE-Lin (Table 2): a linear classifier on the identity vector, for softmax cross-entropy."""

    def __init__(self, dim: int, num_identities: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, num_identities)

    def forward(self, z: Tensor, identity: Tensor | None = None) -> Tensor:
        """(B, dim) -> (B, num_identities) logits; `identity` is ignored, it makes both heads exchangeable."""
        # Entries of a unit vector are about 1 / sqrt(dim); a linear layer expects about 1.
        return self.linear(z * math.sqrt(z.shape[1]))


class ArcFaceHead(nn.Module):
    """CE-Arc (Table 2): the angle to one's own class weight gets a margin (Deng et al. 2019, Eq. 3).

    Parameters
    ----------
    dim, num_identities : sizes
    scale : length of the logits, s in the paper
    margin : additive angle in radians, m in the paper
    """

    def __init__(self, dim: int, num_identities: int, scale: float = 64.0, margin: float = 0.5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_identities, dim) / math.sqrt(dim))
        self.scale, self.margin = scale, margin

    def forward(self, z: Tensor, identity: Tensor) -> Tensor:
        """(B, dim) and (B,) class numbers -> (B, num_identities) logits, for cross-entropy."""
        # in full precision: at s = 64 a cosine of bf16 puts up to .37 of error on a logit
        with torch.autocast(z.device.type, enabled=False):
            z = at_least_float32(z)
            cos = F.linear(F.normalize(z, dim=1), F.normalize(self.weight, dim=1))  # (B, num_identities)
        own = cos.gather(1, identity[:, None])  # (B, 1)
        sin = (1 - own.square()).clamp(min=1e-6).sqrt()  # the root has no finite slope at 0
        with_margin = own * math.cos(self.margin) - sin * math.sin(self.margin)  # cos(angle + margin)
        # Beyond angle + margin = pi the cosine would rise again and reward the wrong direction.
        beyond = own - self.margin * math.sin(self.margin)
        own = torch.where(own > math.cos(math.pi - self.margin), with_margin, beyond)  # (B, 1)
        return self.scale * cos.scatter(1, identity[:, None], own)  # (B, num_identities)
