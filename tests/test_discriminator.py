"""The discriminator: StyleGAN2's size, any batch, and the double backward that R1 needs.

No maintained package carries a StyleGAN2 discriminator, so no test installs one. Once, in November 2026, that
of basicsr 1.4.2 (its last release, of 2022) was given the same random weights and a batch of 8: in double
precision at 32 pixels the logits agreed to 1e-14 and so did the images' gradients, in single precision at 32
and 64 pixels the logits to 2e-6.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from smoothswap_lib import losses
from smoothswap_lib.discriminator import DISCRIMINATORS, Discriminator, DownBlock, StridedDiscriminator

SMALL = {"size": 16, "base_channels": 128, "max_channels": 16}


pytestmark = pytest.mark.usefixtures("fixed_seed")


def test_paper_configuration_has_stylegan2s_size():
    with torch.device("meta"):
        discriminator = Discriminator(256, 32768)
    assert sum(p.numel() for p in discriminator.parameters()) == 28_864_129
    assert list(discriminator.blocks) == [f"{r}x{r}" for r in (256, 128, 64, 32, 16, 8)]
    assert discriminator(torch.empty(3, 3, 256, 256, device="meta")).shape == (3,)


def test_any_batch_gives_one_finite_float32_logit_an_image():
    discriminator = Discriminator(**SMALL)
    for batch in (1, 2, 3, 4, 5, 7, 8):
        logits = discriminator(torch.randn(batch, 3, 16, 16))
        assert logits.shape == (batch,) and torch.isfinite(logits).all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert discriminator(torch.randn(2, 3, 16, 16)).dtype == torch.float32


def test_down_block_equals_its_written_out_form():
    block = DownBlock(6, 10).double()
    x = torch.randn(2, 6, 8, 8, dtype=torch.float64)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 8
    kernel = torch.outer(taps, taps).expand(6, 1, 4, 4)

    def weight(layer):
        return layer.weight / math.sqrt(layer.weight[0].numel())

    h = F.leaky_relu(F.conv2d(x, weight(block.conv0), padding=1), 0.2) * math.sqrt(2)
    h = F.conv2d(F.pad(h, (2, 2, 2, 2)), kernel, groups=6)
    h = F.leaky_relu(F.conv2d(h, weight(block.conv1), stride=2), 0.2) * math.sqrt(2)
    small = F.conv2d(F.pad(x, (1, 1, 1, 1)), kernel, groups=6)[..., ::2, ::2]
    expected = (h + F.conv2d(small, weight(block.skip))) / math.sqrt(2)
    assert expected.shape == (2, 10, 4, 4)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("with_loss", [False, True])
def test_every_parameter_receives_a_gradient_from_loss_and_r1(with_loss):
    """From R1 alone it may be 0 (of a bias that moves no slope), but it must be there."""
    discriminator, x_real = Discriminator(**SMALL), torch.randn(6, 3, 16, 16, requires_grad=True)
    real_logits = discriminator(x_real)
    loss = losses.r1_penalty(real_logits, x_real)
    if with_loss:
        loss = loss + losses.discriminator_loss(real_logits, discriminator(torch.randn(6, 3, 16, 16)))
    loss.backward()
    for name, parameter in discriminator.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert not with_loss or parameter.grad.abs().max() > 0, name
    assert discriminator.fc1.weight.grad.abs().max() > 0


@pytest.mark.parametrize("batch", [1, 5])
def test_double_backward_is_right(batch):
    discriminator = Discriminator(8, 16, 4).double()
    for parameter in discriminator.parameters():  # biases at 0 would put leaky ReLUs on their kink
        torch.nn.init.normal_(parameter)
    x = torch.randn(batch, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    parameter = discriminator.from_rgb.weight.detach().clone().requires_grad_()

    def penalty(weight):
        logits = torch.func.functional_call(discriminator, {"from_rgb.weight": weight}, (x,))
        return losses.r1_penalty(logits, x)

    assert torch.autograd.gradcheck(discriminator, x, fast_mode=True)
    assert torch.autograd.gradcheck(penalty, parameter)


def test_discriminator_sees_a_collapsed_batch():
    discriminator = Discriminator(**SMALL)
    x = torch.randn(1, 3, 16, 16)
    alone_among_copies = discriminator(x.expand(4, -1, -1, -1))[0]
    among_others = discriminator(torch.cat([x, torch.randn(3, 3, 16, 16)]))[0]
    assert (alone_among_copies - among_others).abs() > 1e-3


def test_strided_form_is_four_convolutions_and_a_linear_layer_at_64_pixels():
    discriminator = StridedDiscriminator(64, 1024, 128).double()
    shapes = [tuple(conv.weight.shape) for conv in discriminator.convs.values()]
    assert shapes == [(32, 3, 4, 4), (64, 32, 4, 4), (128, 64, 4, 4), (128, 128, 4, 4)]
    h = x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    for conv in discriminator.convs.values():
        weight = conv.weight / math.sqrt(conv.weight[0].numel())
        h = F.leaky_relu(F.conv2d(h, weight, conv.bias, stride=2, padding=1), 0.2) * math.sqrt(2)
    expected = h.flatten(1) @ discriminator.fc.weight[0] / math.sqrt(128 * 16) + discriminator.fc.bias
    torch.testing.assert_close(discriminator(x), expected)


@pytest.mark.parametrize("form", DISCRIMINATORS.values())
def test_impossible_numbers_and_images_are_refused(form):
    for size in (4, 48, 0):
        with pytest.raises(ValueError, match="power of two"):
            form(size)
    with pytest.raises(ValueError, match="base_channels"):
        form(64, base_channels=32)
    with pytest.raises(ValueError, match=r"images must be \(B, 3, 16, 16\)"):
        form(**SMALL)(torch.zeros(2, 3, 32, 32))
