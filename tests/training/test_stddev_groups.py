"""The discriminator's groups of 4 do not depend on how many processes or parts share a batch.

The shares are cut here in one process; that two real processes get them so is test_processes.py's, whose
discriminator has no such groups.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from smoothswap_lib import layers, losses
from smoothswap_lib.discriminator import Discriminator
from smoothswap_lib.training import accelerator as engine


class Share(SimpleNamespace):
    """As much of an accelerator as the cutting of a batch asks for."""

    def no_sync(self, network):
        return torch.enable_grad()  # a context that changes nothing


def parts_of(x, processes, micro_batches):
    """[(numbers of the images, images)] of each part that goes through the discriminator at once."""
    for rank in range(processes):
        accelerator = Share(num_processes=processes, process_index=rank)
        mine = torch.as_tensor(engine.dealt_share(np.arange(len(x)), accelerator))
        for (numbers,) in engine.in_parts(None, accelerator, micro_batches, mine):
            yield numbers, x[numbers]


@pytest.mark.parametrize(
    "batch, processes, micro_batches",
    [(8, 2, 1), (8, 1, 2), (16, 2, 1), (16, 2, 2), (16, 4, 1), (24, 3, 1), (24, 2, 3), (64, 8, 2)],
)
def test_each_image_is_compared_with_the_same_others(batch, processes, micro_batches):
    x = torch.randn(batch, 5, 4, 4, dtype=torch.float64)
    whole = layers.minibatch_stddev(x)
    seen = []
    for numbers, part in parts_of(x, processes, micro_batches):
        torch.testing.assert_close(layers.minibatch_stddev(part), whole[numbers])
        seen += numbers.tolist()
    assert sorted(seen) == list(range(batch))


@pytest.mark.parametrize("batch, processes", [(8, 4), (12, 2), (4, 2)])
def test_a_share_that_4_does_not_divide_has_other_groups(batch, processes):
    """What `swapper.warn_of_small_groups` warns of; StyleGAN2's groups, one GPU's each, differ there too."""
    x = torch.randn(batch, 5, 4, 4, dtype=torch.float64)
    whole = layers.minibatch_stddev(x)[:, 5]
    parts = parts_of(x, processes, 1)
    assert all((layers.minibatch_stddev(p)[:, 5] - whole[n]).abs().max() > 1e-3 for n, p in parts)


def test_shares_in_one_piece_would_have_other_groups():
    x = torch.randn(16, 5, 4, 4, dtype=torch.float64)
    half = layers.minibatch_stddev(x[:8])[:, 5]
    assert (half - layers.minibatch_stddev(x)[:8, 5]).abs().min() > 1e-4


def test_loss_and_r1_have_the_gradient_of_the_whole_batch():
    """Mean over four shares of four images, of the discriminator's loss with R1, in float64."""
    torch.manual_seed(0)
    discriminator = Discriminator(16, 128, 16).double()
    real, fake = (torch.randn(16, 3, 16, 16, dtype=torch.float64) for _ in range(2))

    def gradients(numbers):
        x_real = real[numbers].clone().requires_grad_()
        logits = discriminator(x_real)
        loss = losses.discriminator_loss(logits, discriminator(fake[numbers]))
        loss = loss + 10 * losses.r1_penalty(logits, x_real)
        return torch.autograd.grad(loss, list(discriminator.parameters()))

    whole = gradients(torch.arange(16))
    shares = [gradients(numbers) for numbers, _ in parts_of(real, 4, 1)]
    for (name, _), expected, *parts in zip(discriminator.named_parameters(), whole, *shares):
        torch.testing.assert_close(sum(parts) / 4, expected, rtol=1e-5, atol=1e-12, msg=name)
