"""The parts that generator and discriminator are made of.

FIR resampling, NCSN++'s residual block with attention (score_sde layerspp.py), StyleGAN2's equalized layers.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FIR_TAPS = (1.0, 3.0, 3.0, 1.0)  # a binomial low-pass filter, in both directions
HALF_PRECISION_LIMIT = 256.0  # StyleGAN2-ADA's conv_clamp: activations beyond it would overflow in fp16
NEAR_ZERO = 1e-10  # score_sde's init_scale 0: the branch starts silent, but its gradient is not exactly zero


def _fir(x: Tensor, gain: float, transposed: bool = False, **how: int) -> Tensor:
    """Filter each channel of x on its own; the filter's sum is `gain`.

    On a CPU in float32 even under mixed precision: PyTorch's bfloat16 is 2 to 8 times slower there.
    """
    taps = torch.tensor(FIR_TAPS, device=x.device)
    kernel = torch.outer(taps, taps)
    kernel = (kernel * (gain / kernel.sum())).expand(x.shape[1], 1, 4, 4)
    convolve = F.conv_transpose2d if transposed else F.conv2d
    h = at_least_float32(x) if x.device.type == "cpu" else x
    with torch.autocast("cpu", enabled=False):
        return convolve(h, kernel.to(h.dtype), groups=x.shape[1], **how).to(x.dtype)


def fir_blur(x: Tensor, padding: int) -> Tensor:
    """Low-pass filter, zeros outside: (B, C, H, W) -> (B, C, H + 2 padding - 3, W + 2 padding - 3)."""
    return _fir(x, gain=1.0, padding=padding)


def fir_downsample(x: Tensor) -> Tensor:
    """Low-pass filter, then keep every second pixel: (B, C, H, W) -> (B, C, H/2, W/2), H and W even."""
    return _fir(x, gain=1.0, stride=2, padding=1)


def fir_upsample(x: Tensor) -> Tensor:
    """Put zeros between the pixels, then low-pass filter: (B, C, H, W) -> (B, C, 2H, 2W).

    Three pixels of four are zeros, so the filter's sum is 4 to keep the brightness.
    """
    return _fir(x, gain=4.0, transposed=True, stride=2, padding=1)


def at_least_float32(x: Tensor) -> Tensor:
    """Under mixed precision return x in float32, where half precision would lose digits or overflow."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def channels_last(module: nn.Module) -> None:
    """Store weights, and with them all maps, pixel by pixel: a step is 1.2 to 1.8 times faster on a CPU."""
    module.to(memory_format=torch.channels_last)


def group_norm(channels: int) -> nn.GroupNorm:
    """NCSN++'s normalization: min(C / 4, 32) groups, or the next smaller number that divides C."""
    groups = max(1, min(channels // 4, 32))
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels, eps=1e-6)


def _scaled(layer: nn.Conv2d | nn.Linear, scale: float = 1.0) -> nn.Conv2d | nn.Linear:
    """Initialize as score_sde: uniform weights of variance scale / mean(fan_in, fan_out), zero bias."""
    nn.init.xavier_uniform_(layer.weight, gain=math.sqrt(scale))
    nn.init.zeros_(layer.bias)
    return layer


def conv3x3(in_channels: int, out_channels: int, scale: float = 1.0) -> nn.Conv2d:
    """3 x 3 convolution that keeps the size; `scale` multiplies the variance of its first weights."""
    return _scaled(nn.Conv2d(in_channels, out_channels, 3, padding=1), scale)


def conv1x1(in_channels: int, out_channels: int, scale: float = 1.0) -> nn.Conv2d:
    """1 x 1 convolution: the same linear map at each pixel."""
    return _scaled(nn.Conv2d(in_channels, out_channels, 1), scale)


class SelfAttention(nn.Module):
    """Each pixel looks at all pixels: one head, added to its input (score_sde AttnBlockpp)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.query = conv1x1(channels, channels, scale=0.1)
        self.key = conv1x1(channels, channels, scale=0.1)
        self.value = conv1x1(channels, channels, scale=0.1)
        self.out = conv1x1(channels, channels, scale=NEAR_ZERO)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        h = self.norm(x)
        q, k, v = (
            layer(h).flatten(2).transpose(1, 2)[:, None]  # (B, 1, H*W, C)
            for layer in (self.query, self.key, self.value)
        )
        h = F.scaled_dot_product_attention(q, k, v)  # (B, 1, H*W, C)
        h = h[:, 0].transpose(1, 2).reshape(x.shape)  # (B, C, H, W)
        return (x + self.out(h)) / math.sqrt(2)  # two terms of variance 1 add up to 2


class ResidualBlock(nn.Module):
    """NCSN++'s BigGAN-type block (score_sde ResnetBlockBigGANpp), told by z whose face to make.

    Parameters
    ----------
    in_channels, out_channels : channels before and after
    identity_dim : length of z
    resample : "up" doubles the size inside the block, "down" halves it, "" keeps it
    attention : whether self-attention follows
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        identity_dim: int,
        resample: str = "",
        attention: bool = False,
    ) -> None:
        super().__init__()
        resamplers = {"": nn.Identity(), "up": fir_upsample, "down": fir_downsample}
        if resample not in resamplers:
            raise ValueError(f"resample must be 'up', 'down' or '', got {resample!r}")
        self.resample = resamplers[resample]
        self.norm0 = group_norm(in_channels)
        self.conv0 = conv3x3(in_channels, out_channels)
        self.from_identity = _scaled(nn.Linear(identity_dim, out_channels))
        self.norm1 = group_norm(out_channels)
        self.conv1 = conv3x3(out_channels, out_channels, scale=NEAR_ZERO)
        changes = in_channels != out_channels or resample
        self.skip = conv1x1(in_channels, out_channels) if changes else nn.Identity()
        self.attention = SelfAttention(out_channels) if attention else nn.Identity()

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """(B, in, H, W) and (B, identity_dim) -> (B, out, H', W')."""
        h = self.resample(F.silu(self.norm0(x)))  # (B, in, H', W')
        h = self.conv0(h) + self.from_identity(z)[:, :, None, None]  # (B, out, H', W')
        h = self.conv1(F.silu(self.norm1(h)))  # (B, out, H', W')
        x = self.skip(self.resample(x))  # (B, out, H', W')
        return self.attention((x + h) / math.sqrt(2))


class EqualizedConv2d(nn.Module):
    """Convolution with StyleGAN2's equalized learning rate.

    The weights are stored with variance 1 and divided by sqrt(fan_in) when used, so that Adam, whose steps
    ignore the size of a weight, moves the weights of all layers by the same fraction.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.gain = 1 / math.sqrt(in_channels * kernel_size**2)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H', W')."""
        return F.conv2d(x, self.weight * self.gain, self.bias, self.stride, self.padding)


class EqualizedLinear(nn.Module):
    """Fully-connected layer with StyleGAN2's equalized learning rate: (B, in) -> (B, out)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.gain = 1 / math.sqrt(in_features)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in) -> (B, out)."""
        return F.linear(x, self.weight * self.gain, self.bias)


def scaled_leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2, times sqrt(2) to give back the variance that it takes.

    In half precision what comes out is clamped to +-256, as in StyleGAN2-ADA's half-precision layers.
    """
    x = F.leaky_relu(x, 0.2) * math.sqrt(2)
    half = x.dtype in (torch.float16, torch.bfloat16)
    return x.clamp(-HALF_PRECISION_LIMIT, HALF_PRECISION_LIMIT) if half else x


def minibatch_stddev(x: Tensor, group_size: int = 4) -> Tensor:
    """Append a channel that says how much the images of a group differ: (B, C, H, W) -> (B, C + 1, H, W).

    A generator that paints the same face again and again gives itself away here (StyleGAN2). A batch that
    group_size does not divide is dealt out into groups of nearly equal size, none larger than group_size.
    With several processes each sees its own images only (`training.swapper.shard` deals them out alike).
    """
    batch = x.shape[0]
    num_groups = math.ceil(batch / group_size)
    spread = [_mean_stddev(at_least_float32(x[first::num_groups])) for first in range(num_groups)]
    group_of = torch.arange(batch, device=x.device) % num_groups
    channel = torch.stack(spread)[group_of].view(batch, 1, 1, 1).to(x.dtype)  # (B, 1, 1, 1)
    return torch.cat([x, channel.expand(-1, 1, *x.shape[2:])], dim=1)  # (B, C + 1, H, W)


def _mean_stddev(group: Tensor) -> Tensor:
    """Standard deviation over a group's images, averaged over channels and pixels: (N, C, H, W) -> ()."""
    variance = group.var(dim=0, unbiased=False)
    return (variance + 1e-8).sqrt().mean()  # the constant keeps the root differentiable where images agree
