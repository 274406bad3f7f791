"""Random colors: against Pillow, colorsys and what must not change."""

import colorsys

import numpy as np
import torch
from PIL import Image, ImageEnhance

from smoothswap_lib.training.augmentation import color_factors, jitter_colors


def images(count=4, size=8):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def factors(brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0):
    return torch.tensor([[brightness, contrast, saturation, hue]])


def test_neutral_factors_change_nothing():
    x = images()
    torch.testing.assert_close(jitter_colors(x, factors().expand(4, 4)), x)


def test_brightness_and_saturation_are_pillows():
    x = images(1, 16)
    pixels = np.rint((x[0].permute(1, 2, 0).numpy() + 1) * 127.5).astype(np.uint8)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    for kind, name in ((ImageEnhance.Brightness, "brightness"), (ImageEnhance.Color, "saturation")):
        for value in (0.0, 0.6, 1.3):
            theirs = np.asarray(kind(Image.fromarray(pixels)).enhance(value)).astype(float)
            ours = (jitter_colors(x, factors(**{name: value}))[0].permute(1, 2, 0).numpy() + 1) * 127.5
            assert np.abs(ours - theirs).max() < 1.6, (name, value)  # Pillow rounds gray, and cuts fractions


def test_a_third_of_a_turn_moves_red_to_green_and_gray_stays():
    red = torch.tensor([1.0, -1, -1])[None, :, None, None].expand(1, 3, 2, 2)
    turned = jitter_colors(red, factors(hue=1 / 3))[0, :, 0, 0]
    torch.testing.assert_close(turned, torch.tensor([-1.0, 1, -1]), atol=1e-5, rtol=0)
    gray = torch.full((1, 3, 2, 2), 0.2)
    torch.testing.assert_close(jitter_colors(gray, factors(hue=0.17, saturation=0.4)), gray)
    weak = torch.tensor([0.2, 0.0, 0.0])[None, :, None, None].expand(1, 3, 2, 2)
    turned = (jitter_colors(weak, factors(hue=0.1))[0, :, 0, 0] + 1) / 2
    assert abs(colorsys.rgb_to_hsv(*turned.tolist())[0] - 0.1) < 0.02


def test_contrast_keeps_the_mean_and_scales_the_deviation():
    x = images() * 0.3
    y = jitter_colors(x, factors(contrast=0.5).expand(4, 4))
    torch.testing.assert_close(y.mean((1, 2, 3)), x.mean((1, 2, 3)))
    torch.testing.assert_close(y.std((1, 2, 3)), 0.5 * x.std((1, 2, 3)))


def test_factors_depend_on_seed_and_step_only_and_keep_their_range():
    a = color_factors(2000, 0.4, 0.2, seed=1, step=7)
    assert torch.equal(a, color_factors(2000, 0.4, 0.2, 1, 7))
    assert not torch.equal(a, color_factors(2000, 0.4, 0.2, 1, 8))
    assert not torch.equal(a, color_factors(2000, 0.4, 0.2, 2, 7))
    gray = a[:, 2] == 0
    assert abs(gray.float().mean() - 0.2) < 0.03
    assert a[:, :2].min() >= 0.6 and a[:, :2].max() <= 1.4 and a[~gray, 2].min() >= 0.6
    assert a[:, 3].abs().max() <= 0.1
    assert jitter_colors(images(16), color_factors(16, 1.0, 0.0, 0, 0)).abs().max() <= 1
    assert torch.equal(color_factors(3, 0.0, 0.0, 0, 0), factors().expand(3, 4))
