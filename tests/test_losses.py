"""The losses against pytorch-metric-learning, closed forms and finite differences."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import NTXentLoss, SupConLoss
from torch.autograd import gradcheck

from smoothswap_lib import losses


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)


def random(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def batch_of(num_identities, num_images, dim, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(num_identities * num_images, dim, generator=generator, dtype=torch.float64)
    identity = torch.arange(num_identities).repeat_interleave(num_images)
    shuffled = torch.randperm(len(identity), generator=generator)
    return F.normalize(z, dim=1), identity[shuffled]


def assert_equal_with_gradients(ours, theirs, z):
    z = z.clone().requires_grad_()
    our_value, their_value = ours(z), theirs(z)
    torch.testing.assert_close(our_value, their_value, rtol=0, atol=1e-6)
    (our_gradient,) = torch.autograd.grad(our_value, z)
    (their_gradient,) = torch.autograd.grad(their_value, z)
    assert their_gradient.abs().max() > 0
    torch.testing.assert_close(our_gradient, their_gradient, rtol=0, atol=1e-6)


PAIRS = [(losses.contrastive_loss, NTXentLoss), (losses.supcon_loss, SupConLoss)]


@pytest.mark.parametrize(("ours", "reference"), PAIRS, ids=["contrastive", "supcon"])
@settings(max_examples=30, deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=3, max_size=16).filter(lambda x: 1 < len(set(x)) < len(x)),
    temperature=st.sampled_from([0.07, 0.2, 1.0]),
    seed=st.integers(0, 10_000),
)
def test_contrastive_losses_equal_pytorch_metric_learning(ours, reference, labels, temperature, seed):
    """Any mixture of identities, lonely images among them, and vectors of any length."""
    identity = torch.tensor(labels)
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(len(labels), 6, generator=generator, dtype=torch.float64)
    theirs = reference(temperature=temperature)
    assert_equal_with_gradients(
        lambda z: ours(z, identity, temperature), lambda z: theirs(z, identity), F.normalize(z, dim=1)
    )
    assert_equal_with_gradients(
        lambda z: ours(z, identity, temperature), lambda z: theirs(z, identity), 3 * z
    )


@pytest.mark.parametrize(("ours", "reference"), PAIRS, ids=["contrastive", "supcon"])
def test_contrastive_losses_agree_on_the_papers_batch(ours, reference):
    z, identity = batch_of(32, 4, 512)
    theirs = reference(temperature=0.07)
    assert_equal_with_gradients(lambda z: ours(z, identity), lambda z: theirs(z, identity), z)
    single = z.float()
    torch.testing.assert_close(ours(single, identity), theirs(single, identity), rtol=1e-5, atol=1e-6)


def test_contrastive_loss_equals_the_papers_equation_pair_by_pair():
    z, identity = batch_of(3, 3, 5)
    terms = []
    for i in range(9):
        for p in range(9):
            if p == i or identity[p] != identity[i]:
                continue
            own = math.exp((z[i] @ z[p]).item() / 0.07)
            negatives = sum(
                math.exp((z[i] @ z[n]).item() / 0.07) for n in range(9) if identity[n] != identity[i]
            )
            terms.append(-math.log(own / (own + negatives)))
    assert losses.contrastive_loss(z, identity).item() == pytest.approx(sum(terms) / len(terms), abs=1e-9)


def test_the_two_losses_differ_in_their_floor():
    identity = torch.arange(8).repeat_interleave(4)
    z = torch.eye(8, dtype=torch.float64)[
        identity
    ]  # images of one identity coincide, identities are orthogonal
    assert losses.contrastive_loss(z, identity, 0.01).item() < 1e-12
    assert losses.supcon_loss(z, identity, 0.01).item() == pytest.approx(math.log(3), abs=1e-9)


@pytest.mark.parametrize("loss", [losses.contrastive_loss, losses.supcon_loss])
@pytest.mark.parametrize("temperature", [0.07, 0.005])
def test_contrastive_losses_are_stable_in_float32(loss, temperature):
    worst = torch.tensor(
        [[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]
    )  # positives opposite, negatives equal
    identity = torch.tensor([0, 0, 1, 1])
    z = worst.clone().requires_grad_()
    value = loss(z, identity, temperature)
    value.backward()
    assert value.item() == pytest.approx(2 / temperature, rel=0.01)
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("loss", [losses.contrastive_loss, losses.supcon_loss])
def test_contrastive_losses_pass_gradcheck(loss):
    _, identity = batch_of(3, 2, 4)
    assert gradcheck(lambda z: loss(z, identity, 0.5), random(6, 4))


@pytest.mark.parametrize("loss", [losses.contrastive_loss, losses.supcon_loss])
@pytest.mark.parametrize(
    ("z", "identity", "temperature", "message"),
    [
        (torch.randn(4, 8), torch.arange(4), 0.07, "no positive pair"),
        (torch.randn(4, 8), torch.zeros(4, dtype=torch.long), 0.07, "no negative pair"),
        (torch.randn(0, 8), torch.zeros(0, dtype=torch.long), 0.07, "no positive pair"),
        (torch.randn(4, 8, 1), torch.tensor([0, 0, 1, 1]), 0.07, r"z must be \(B, dim\)"),
        (torch.randn(4, 8), torch.tensor([[0], [0], [1], [1]]), 0.07, r"identity must be \(B,\)"),
        (torch.randn(4, 8), torch.tensor([0, 0, 1]), 0.07, r"identity must be \(B,\)"),
        (torch.randn(4, 8), torch.tensor([0, 0, 1, 1]), 0.0, "temperature must be more than 0"),
    ],
)
def test_contrastive_losses_refuse_batches_without_an_answer(loss, z, identity, temperature, message):
    with pytest.raises(ValueError, match=message):
        loss(z, identity, temperature)


def test_identity_loss_goes_from_0_to_2_and_ignores_length():
    z = torch.tensor([[1.0, 0.0]])
    for other, expected in [([5.0, 0.0], 0.0), ([0.0, 2.0], 1.0), ([-3.0, 0.0], 2.0)]:
        assert losses.identity_loss(torch.tensor([other]), z).item() == pytest.approx(expected, abs=1e-6)
    z_swap, z_source = random(5, 8), random(5, 8)
    cosines = [a @ b / (a.norm() * b.norm()) for a, b in zip(z_swap, z_source, strict=True)]
    torch.testing.assert_close(losses.identity_loss(z_swap, z_source), 1 - torch.stack(cosines).mean())
    assert gradcheck(losses.identity_loss, (z_swap, z_source))


def test_change_loss_is_the_squared_distance_over_the_number_of_values():
    x_swap, x_target = random(2, 3, 4, 5), random(2, 3, 4, 5)
    distances = torch.stack([(a - b).norm() ** 2 for a, b in zip(x_swap, x_target, strict=True)])
    torch.testing.assert_close(losses.change_loss(x_swap, x_target), distances.mean() / (3 * 4 * 5))
    assert (
        losses.change_loss(torch.ones(1, 3, 2, 2), -torch.ones(1, 3, 2, 2)).item() == 4
    )  # white against black
    assert gradcheck(losses.change_loss, (x_swap, x_target))


def test_adversarial_losses_equal_their_logarithms():
    real, fake = random(6), random(6)
    d_real, d_fake = torch.sigmoid(real), torch.sigmoid(fake)
    torch.testing.assert_close(losses.generator_adversarial_loss(fake), -d_fake.log().mean())
    expected = -d_real.log().mean() - (1 - d_fake).log().mean()
    torch.testing.assert_close(losses.discriminator_loss(real, fake), expected)
    assert losses.discriminator_loss(torch.zeros(3), torch.zeros(5)).item() == pytest.approx(2 * math.log(2))
    assert gradcheck(losses.generator_adversarial_loss, fake)
    assert gradcheck(losses.discriminator_loss, (real, fake))


def test_adversarial_losses_stay_finite_where_the_sigmoid_is_0_or_1():
    extreme = torch.tensor([-1e4, 1e4])
    assert losses.generator_adversarial_loss(extreme).item() == pytest.approx(5e3)
    assert losses.discriminator_loss(extreme, extreme).item() == pytest.approx(1e4)


def test_generator_loss_is_non_saturating():
    logits = torch.tensor([-20.0], requires_grad=True)  # the discriminator is sure that the swap is one
    losses.generator_adversarial_loss(logits).backward()
    assert logits.grad.item() == pytest.approx(-1)


def test_r1_of_a_linear_discriminator_is_its_squared_weight():
    weight = random(3, 4, 4)
    x = random(5, 3, 4, 4)
    penalty = losses.r1_penalty((x * weight).sum(dim=(1, 2, 3)) + 7, x)
    torch.testing.assert_close(penalty, weight.square().sum())
    (gradient,) = torch.autograd.grad(penalty, weight)
    torch.testing.assert_close(gradient, 2 * weight)


def test_r1_of_a_quadratic_discriminator():
    scale = random(12)
    x = random(5, 3, 2, 2)
    penalty = losses.r1_penalty((scale * x.flatten(1).square()).sum(dim=1), x)
    gradient = 2 * scale * x.flatten(1)  # (5, 12)
    torch.testing.assert_close(penalty, gradient.square().sum(dim=1).mean())
    (by_scale,) = torch.autograd.grad(penalty, scale)
    torch.testing.assert_close(by_scale, 8 * scale * x.flatten(1).square().mean(dim=0))


def test_r1_passes_gradcheck():
    weight, x = random(4, 12), random(3, 3, 2, 2)

    def penalty(weight, x):
        return losses.r1_penalty(torch.tanh(x.flatten(1) @ weight.T).sum(dim=1), x)

    assert gradcheck(penalty, (weight, x))


def test_r1_keeps_a_parameter_without_influence_in_the_graph():
    x, bias = random(2, 3, 2, 2), torch.zeros(1, dtype=torch.float64, requires_grad=True)
    losses.r1_penalty(x.flatten(1).square().sum(dim=1) + bias, x).backward()
    assert bias.grad is not None
    assert bias.grad.item() == 0


def test_r1_says_what_is_missing():
    x = torch.randn(2, 3, 4, 4)
    with pytest.raises(ValueError, match="requires_grad_"):
        losses.r1_penalty(x.sum(dim=(1, 2, 3)), x)
    x.requires_grad_()
    with pytest.raises(ValueError, match="do not depend on this x"):
        losses.r1_penalty(x.sum(dim=(1, 2, 3)), x.detach().clone().requires_grad_())
    with pytest.raises(ValueError, match=r"x must be \(B, ...\) with B = 2"):
        losses.r1_penalty(x.sum(dim=(1, 2, 3)), x[:1])
    with pytest.raises(ValueError, match=r"logits must be \(B,\), got \(2, 1\)"):
        losses.r1_penalty(x.sum(dim=(1, 2, 3))[:, None], x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.identity_loss(torch.ones(2, 8), torch.ones(1, 8)), "z_swap and z_source"),
        (lambda: losses.identity_loss(torch.ones(8), torch.ones(8)), "z_swap and z_source"),
        (lambda: losses.change_loss(torch.ones(2, 3, 4, 4), torch.ones(1, 3, 4, 4)), "x_swap and x_target"),
        (lambda: losses.change_loss(torch.ones(3, 4, 4), torch.ones(3, 4, 4)), "x_swap and x_target"),
        (lambda: losses.generator_adversarial_loss(torch.ones(2, 1)), r"logits must be \(B,\)"),
        (lambda: losses.discriminator_loss(torch.ones(2, 1), torch.ones(2)), "real_logits"),
        (lambda: losses.discriminator_loss(torch.ones(2), torch.ones(2, 1)), "fake_logits"),
    ],
)
def test_wrong_shapes_are_refused_instead_of_broadcast(call, message):
    with pytest.raises(ValueError, match=message):
        call()
