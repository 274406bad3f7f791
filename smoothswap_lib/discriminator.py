"""Discriminator: image -> logit. StyleGAN2's residual discriminator, as the paper says (Sec. 5.1).

Equalized learning rate everywhere, FIR down-sampling, minibatch standard deviation. Beside it a smaller one
for short trainings at 64 px, which sees the finest detail from its first layer on.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from smoothswap_lib.layers import (
    EqualizedConv2d,
    EqualizedLinear,
    at_least_float32,
    channels_last,
    fir_blur,
    fir_downsample,
    minibatch_stddev,
    scaled_leaky_relu,
)

LAST_SIZE = 4  # pixels; what remains is judged by fully-connected layers


class DownBlock(nn.Module):
    """StyleGAN2's residual block: two 3 x 3 convolutions, the second at half the size, beside a 1 x 1."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv0 = EqualizedConv2d(in_channels, in_channels, 3, padding=1)
        self.conv1 = EqualizedConv2d(in_channels, out_channels, 3, stride=2)
        self.skip = EqualizedConv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H/2, W/2)."""
        h = scaled_leaky_relu(self.conv0(x))  # (B, in, H, W)
        h = fir_blur(h, padding=2)  # (B, in, H + 1, W + 1): low-pass before every second pixel is dropped
        h = scaled_leaky_relu(self.conv1(h))  # (B, out, H/2, W/2)
        return (h + self.skip(fir_downsample(x))) / math.sqrt(2)  # (B, out, H/2, W/2)


class Discriminator(nn.Module):
    """Image -> logit of "this is a photograph"; the paper's f_dis is its sigmoid.

    Parameters
    ----------
    size : image size in pixels, a power of two from 8 on
    base_channels : a map of r x r pixels has base_channels / r channels ...
    max_channels : ... but not more than this
    """

    def __init__(self, size: int = 256, base_channels: int = 32768, max_channels: int = 512) -> None:
        super().__init__()
        _check_numbers(size, base_channels, max_channels)

        def channels(res: int) -> int:
            return min(base_channels // res, max_channels)

        self.size = size
        self.from_rgb = EqualizedConv2d(3, channels(size), 1)
        self.blocks = nn.ModuleDict()
        res = size
        while res > LAST_SIZE:
            self.blocks[f"{res}x{res}"] = DownBlock(channels(res), channels(res // 2))
            res //= 2
        last = channels(LAST_SIZE)
        self.conv = EqualizedConv2d(last + 1, last, 3, padding=1)  # + 1: minibatch standard deviation
        self.fc0 = EqualizedLinear(last * LAST_SIZE**2, last)
        self.fc1 = EqualizedLinear(last, 1)
        channels_last(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, size, size) in [-1, 1] -> (B,) logits."""
        _check_images(x, self.size)
        h = scaled_leaky_relu(self.from_rgb(x))  # (B, C, size, size)
        for block in self.blocks.values():
            h = block(h)  # (B, C', res / 2, res / 2)
        h = minibatch_stddev(h)  # (B, C + 1, 4, 4)
        h = scaled_leaky_relu(self.conv(h))  # (B, C, 4, 4)
        h = scaled_leaky_relu(self.fc0(h.flatten(1)))  # (B, C)
        return at_least_float32(self.fc1(h).squeeze(1))  # (B,)


class StridedDiscriminator(nn.Module):
    """DCGAN's form: 4 x 4 convolutions of stride 2 down to 4 x 4 pixels, then one linear layer.

    No low-pass filter, no skip, no minibatch standard deviation; equalized learning rates as above. The
    parameters mean the same as the `Discriminator`'s.
    """

    def __init__(self, size: int = 64, base_channels: int = 1024, max_channels: int = 128) -> None:
        super().__init__()
        _check_numbers(size, base_channels, max_channels)
        self.size = size
        self.convs = nn.ModuleDict()
        res, before = size, 3
        while res > LAST_SIZE:
            after = min(base_channels // (res // 2), max_channels)
            self.convs[f"{res}x{res}"] = EqualizedConv2d(before, after, 4, stride=2, padding=1)
            res, before = res // 2, after
        self.fc = EqualizedLinear(before * LAST_SIZE**2, 1)
        channels_last(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, size, size) in [-1, 1] -> (B,) logits."""
        return at_least_float32(self.fc(self.features(x)).squeeze(1))  # (B,)

    def features(self, x: Tensor) -> Tensor:
        """(B, 3, size, size) in [-1, 1] -> (B, C * 4 * 4): the last map, place by place."""
        _check_images(x, self.size)
        for conv in self.convs.values():
            x = scaled_leaky_relu(conv(x))  # (B, C, res / 2, res / 2)
        return x.flatten(1)


DISCRIMINATORS = {"stylegan2": Discriminator, "strided": StridedDiscriminator}  # by a profile's name of them


def _check_numbers(size: int, base_channels: int, max_channels: int) -> None:
    if size < 2 * LAST_SIZE or size & (size - 1):
        raise ValueError(f"size must be a power of two from {2 * LAST_SIZE} on, got {size}")
    if base_channels < size or max_channels < 1:
        raise ValueError(
            f"base_channels must be {size} (the size) or more and max_channels 1 or more, "
            f"got {base_channels} and {max_channels}"
        )


def _check_images(x: Tensor, size: int) -> None:
    if x.dim() != 4 or x.shape[1:] != (3, size, size):
        raise ValueError(f"images must be (B, 3, {size}, {size}), got {tuple(x.shape)}")
