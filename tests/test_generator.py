"""The generator: NCSN++'s size and wiring against diffusers, gradients everywhere, any width."""

import math

import ncsnpp
import pytest
import torch
import torch.nn.functional as F
from ncsnpp import diffusers_unet
from torch import nn

from smoothswap_lib.generator import Generator
from smoothswap_lib.layers import ResidualBlock, SelfAttention


def numbers(*values):
    names = ("size", "width", "channel_multipliers", "blocks_per_level", "attention_resolutions")
    return dict(zip(names, values))


PAPER = numbers(256, 64, (1, 1, 2, 2, 2, 2, 2), 2, (16,))
LAPTOP = numbers(64, 16, (1, 2, 2, 2), 1, (16,))
TINY = numbers(16, 8, (1, 2), 1, (8,))


@pytest.fixture(autouse=True)
def fixed_seed_and_one_thread():
    """One thread: on a busy machine two threads wait for each other at each of these tiny layers."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def count(module, only=""):
    return sum(p.numel() for name, p in module.named_parameters() if only in name)


def images_and_vectors(batch, size, dim):
    return torch.rand(batch, 3, size, size) * 2 - 1, F.normalize(torch.randn(batch, dim), dim=1)


def shake(generator):
    """Give the layers that start near zero ordinary weights, so that an untrained network does something."""
    for module in generator.modules():
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
    return generator


def test_paper_configuration_has_the_papers_size():
    with torch.device("meta"):
        generator, explicit = Generator(), Generator(**PAPER, identity_dim=512)
    assert count(generator) == count(explicit) == 17_725_717
    assert sum(isinstance(m, ResidualBlock) for m in generator.modules()) == 49
    assert sum(isinstance(m, SelfAttention) for m in generator.modules()) == 4
    assert sum(name.endswith("_image") for name in generator.encoder) == 6
    assert sum(name.endswith("_output") for name in generator.decoder) == 7


@pytest.mark.parametrize("configuration", [PAPER, PAPER | {"width": 128}, LAPTOP])
def test_shared_part_has_as_many_parameters_as_diffusers(configuration):
    with torch.device("meta"):
        ours, theirs = Generator(**configuration), diffusers_unet(**configuration)
    conditioning = count(theirs, "time_emb") + count(theirs, "time_proj")  # and what makes the vector
    assert 0 < count(ours, "from_identity") == count(ours) - count(theirs) + conditioning


def copy_generator(ours, theirs, z):
    """Our weights to diffusers; for one z the blocks' conditioning is a constant, a bias of theirs."""
    for mine, other in ncsnpp.layer_pairs(ours, theirs):
        ncsnpp.copy(mine, other)
    for mine, other in ncsnpp.block_pairs(ours, theirs):
        other.time_emb_proj.weight.data.zero_()
        other.time_emb_proj.bias.data = mine.from_identity(z * math.sqrt(len(z))).detach()


def test_same_weights_give_the_same_picture_as_diffusers():
    """The wiring agrees too: same weights, same output (plus the input image, the paper's own skip).

    At least 128 channels where there is attention: below that, diffusers' attention has other group sizes.
    """
    configuration = numbers(32, 64, (1, 2, 2), 2, (16,))
    ours = shake(Generator(**configuration, identity_dim=24)).double()
    theirs = diffusers_unet(**configuration).double()
    x, z = (t.double() for t in images_and_vectors(2, 32, 24))
    z[1] = z[0]
    copy_generator(ours, theirs, z[0])
    with torch.no_grad():
        our_change = ours(x, z) - x
        their_change = theirs(x, torch.ones(2, dtype=torch.float64)).sample
    assert our_change.std() > 0.1
    torch.testing.assert_close(our_change, their_change, rtol=0, atol=1e-5)  # their FIR filter stays float32


@pytest.mark.parametrize("configuration", [LAPTOP, numbers(16, 32, (1, 2, 2, 2), 2, (8, 4))])
def test_weights_of_diffusers_give_our_generator_their_picture(configuration):
    """A whole NCSN++ at one timestep, converted with the identity path off; each weight is random."""
    ours, theirs = Generator(**configuration, identity_dim=12), diffusers_unet(**configuration)
    ncsnpp.same_groups(ours, theirs)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    ncsnpp.from_diffusers(ours, theirs)
    x, z = images_and_vectors(2, configuration["size"], 12)
    with torch.no_grad():
        our_change = ours(x, z) - x
        their_change = theirs(x, torch.ones(2)).sample
        assert torch.equal(ours(x, z), ours(x, z.flip(0)))  # the identity path is off
    assert their_change.std() > 0.1
    torch.testing.assert_close(our_change, their_change, rtol=1e-4, atol=1e-4 * their_change.std().item())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"width": 5},
        {"width": 24, "channel_multipliers": (1, 2, 3), "attention_resolutions": (16, 4)},
        {"width": 48, "blocks_per_level": 2},
        {"channel_multipliers": (1,), "attention_resolutions": ()},
        {"size": 24, "channel_multipliers": (1, 1, 2), "attention_resolutions": (6,)},
    ],
)
def test_any_width_keeps_the_size_and_starts_as_a_copy_of_the_target(changes):
    configuration = TINY | changes
    generator = Generator(**configuration, identity_dim=12)
    x, z = images_and_vectors(2, configuration["size"], 12)
    x_swap = generator(x, z)
    torch.testing.assert_close(x_swap, x, rtol=0, atol=1e-2)
    assert not torch.equal(x_swap, x)
    assert (shake(generator)(x, z) - x).std() > 0.05


def test_the_swap_depends_on_z_and_each_image_on_its_own_z_only():
    generator = shake(Generator(**TINY, identity_dim=12)).eval()
    x, z = images_and_vectors(3, 16, 12)
    with torch.no_grad():
        together = generator(x, z)
        alone = torch.cat([generator(x[i : i + 1], z[i : i + 1]) for i in range(3)])
        swapped = generator(x, z.flip(0))
        again = generator(x, z)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    assert torch.equal(together, again)
    change = (together - swapped).abs().amax(dim=(1, 2, 3))
    assert change[1] < 1e-5 < 1e-2 < change[[0, 2]].min()  # the middle image kept its z


def test_every_parameter_receives_a_gradient():
    """After one step: at the start the near-zero layers let next to nothing through."""
    generator = Generator(**LAPTOP, identity_dim=12)
    x, z = images_and_vectors(2, 64, 12)
    goal = torch.rand_like(x) * 2 - 1
    optimizer = torch.optim.Adam(generator.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad(set_to_none=True)
        (generator(x, z) - goal).square().mean().backward()
        optimizer.step()
    for name, parameter in generator.named_parameters():
        # A bias on all keys moves all scores of a pixel alike, which softmax ignores: only rounding is left.
        smallest = 0.0 if name.endswith("key.bias") else 1e-9
        assert torch.isfinite(parameter.grad).all() and parameter.grad.abs().max() > smallest, name


def test_gradient_with_respect_to_the_images_is_right():
    generator = shake(Generator(**numbers(8, 4, (1, 2), 1, (4,)), identity_dim=3)).double()
    x, z = (t.double().requires_grad_() for t in images_and_vectors(1, 8, 3))
    assert torch.autograd.gradcheck(generator, (x, z), fast_mode=True)


def test_impossible_configurations_and_wrong_shapes_are_refused():
    for changes, message in (
        ({"size": 18, "channel_multipliers": (1, 1, 1)}, "18 cannot be halved"),
        ({"attention_resolutions": (4,)}, "attention_resolutions"),
        ({"channel_multipliers": ()}, "cannot be halved"),
    ):
        with pytest.raises(ValueError, match=message):
            Generator(**TINY | changes)
    generator = Generator(**TINY, identity_dim=12)
    for size, vectors, message in ((8, 2, "x_target must be"), (16, 1, "z_source must be")):
        with pytest.raises(ValueError, match=message):
            generator(torch.zeros(2, 3, size, size), torch.zeros(vectors, 12))
