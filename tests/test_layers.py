"""The layers against slow, direct references."""

import math

import pytest
import torch

from smoothswap_lib import layers

TAPS = (1, 3, 3, 1)


pytestmark = pytest.mark.usefixtures("fixed_seed")


def at(image, i, j):
    """Pixel (i, j) of an (H, W) image, 0 outside."""
    inside = 0 <= i < image.shape[0] and 0 <= j < image.shape[1]
    return image[i, j].item() if inside else 0.0


def filtered(image, rows, columns, gain):
    """The 4 x 4 filter with its first tap on each (i, j)."""
    taps = [(a, b, gain * TAPS[a] * TAPS[b] / 64) for a in range(4) for b in range(4)]
    return [[sum(w * at(image, i + a, j + b) for a, b, w in taps) for j in columns] for i in rows]


def for_each_map(x, function):
    """Apply a map of (H, W) images to each channel of each image."""
    maps = [torch.tensor(function(image), dtype=x.dtype) for image in x.flatten(0, 1)]
    return torch.stack(maps).unflatten(0, x.shape[:2])


def slow_downsample(image):
    return filtered(image, *(range(-1, side - 1, 2) for side in image.shape), gain=1)


def slow_upsample(image):
    stuffed = torch.zeros([2 * side for side in image.shape], dtype=image.dtype)
    stuffed[::2, ::2] = image
    return filtered(stuffed, *(range(-2, side - 2) for side in stuffed.shape), gain=4)


def slow_blur(image):
    return filtered(image, *(range(-2, side - 1) for side in image.shape), gain=1)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 5, 4, 6), (1, 1, 2, 2)])
@pytest.mark.parametrize(
    ("fast", "slow"),
    [
        (layers.fir_downsample, slow_downsample),
        (layers.fir_upsample, slow_upsample),
        (lambda x: layers.fir_blur(x, padding=2), slow_blur),
    ],
)
def test_fir_resampling_equals_the_slow_reference(shape, fast, slow):
    x = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(fast(x), for_each_map(x, slow), rtol=0, atol=1e-12)


@pytest.mark.parametrize("resample", [layers.fir_downsample, layers.fir_upsample])
def test_fir_resampling_can_be_differentiated_twice(resample):
    x = torch.randn(1, 2, 2, 4, dtype=torch.float64, requires_grad=True)

    def curved(x):  # resampling is linear; only a curve has a second derivative to check
        return resample(x).pow(3)

    assert torch.autograd.gradcheck(curved, x)
    assert torch.autograd.gradgradcheck(curved, x)


@pytest.mark.parametrize("resample", [layers.fir_downsample, layers.fir_upsample])
def test_fir_resampling_in_half_precision_loses_no_more_than_rounding(resample):
    x = torch.randn(2, 3, 16, 16).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = resample(x)
    assert found.dtype is torch.bfloat16
    torch.testing.assert_close(found, resample(x.double()).bfloat16(), rtol=2**-7, atol=1e-6)


def test_group_norm_divides_any_number_of_channels():
    for channels in range(1, 300):
        assert channels % layers.group_norm(channels).num_groups == 0
    for channels in (64, 128, 192, 256):  # score_sde's widths get score_sde's groups
        assert layers.group_norm(channels).num_groups == min(channels // 4, 32)
    assert layers.group_norm(64).eps == 1e-6


def test_first_weights_have_the_variance_of_score_sde():
    weight = layers.conv3x3(64, 128).weight
    mean_fan = 9 * (64 + 128) / 2
    assert weight.var().item() == pytest.approx(1 / mean_fan, rel=0.03)
    assert weight.abs().max().item() <= math.sqrt(3 / mean_fan) * (1 + 1e-6)  # uniform, not normal
    assert 0 < layers.conv3x3(64, 128, scale=layers.NEAR_ZERO).weight.std().item() < 1e-6


@pytest.mark.parametrize(("resample", "size"), [("", 8), ("up", 16), ("down", 4)])
@pytest.mark.parametrize("channels", [(16, 16), (16, 24)])
@pytest.mark.parametrize("attention", [False, True])
def test_residual_block_starts_silent(resample, size, channels, attention):
    block = layers.ResidualBlock(*channels, 10, resample=resample, attention=attention)
    x, z = torch.randn(2, channels[0], 8, 8), torch.randn(2, 10)
    y = block(x, z)
    assert y.shape == (2, channels[1], size, size)
    silent = block.skip(block.resample(x)) / math.sqrt(2) ** (2 if attention else 1)
    torch.testing.assert_close(y, silent, rtol=0, atol=1e-3)
    with pytest.raises(ValueError, match="resample must be"):
        layers.ResidualBlock(8, 8, 4, resample="left")


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.EqualizedConv2d(48, 64, 3, padding=1), (4, 48, 16, 16)),
        (layers.EqualizedLinear(512, 400), (64, 512)),
    ],
)
def test_equalized_layers_store_unit_weights_and_keep_the_variance(layer, shape):
    assert layer.weight.std().item() == pytest.approx(1, rel=0.02)
    y = layer(torch.randn(shape))
    inner = y[..., 1:-1, 1:-1] if y.dim() == 4 else y  # zeros outside lower the variance at the border
    assert inner.std().item() == pytest.approx(1, rel=0.05)


def stylegan2_statistic(x, group_size):
    """StyleGAN2's reshaping, which needs a batch that group_size divides."""
    batch, channels, height, width = x.shape
    groups = x.reshape(group_size, batch // group_size, channels, height, width)
    spread = (groups.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    return spread.repeat(group_size)


@pytest.mark.parametrize("batch", [4, 8, 12])
def test_minibatch_stddev_equals_stylegan2_where_the_group_divides_the_batch(batch):
    x = torch.randn(batch, 5, 4, 4, dtype=torch.float64)
    expected = stylegan2_statistic(x, 4)[:, None, None, None].expand(batch, 1, 4, 4)
    torch.testing.assert_close(layers.minibatch_stddev(x), torch.cat([x, expected], dim=1))


@pytest.mark.parametrize("batch", [2, 3, 5, 6, 7, 9, 13])
def test_minibatch_stddev_compares_every_image_in_any_batch(batch):
    x = torch.randn(batch, 5, 4, 4)
    statistic = layers.minibatch_stddev(x)[:, 5]
    assert (statistic > 0.3).all()  # nobody is alone in a group, so nobody looks like a collapsed batch
    assert statistic[:, 0, 0].unique().numel() == math.ceil(batch / 4)
    collapsed = layers.minibatch_stddev(x[:1].expand(batch, -1, -1, -1))[:, 5]
    assert (collapsed < 1e-3).all()


def test_minibatch_stddev_in_half_precision_does_not_overflow():
    x = torch.tensor([300.0, -300.0], dtype=torch.float16).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    y = layers.minibatch_stddev(x)  # the variance, 90,000, is more than float16 can hold
    assert y.dtype == torch.float16
    torch.testing.assert_close(y[:, 3], torch.full((2, 4, 4), 300.0, dtype=torch.float16))
