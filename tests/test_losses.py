"""The losses against pytorch-metric-learning, closed forms and finite differences."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import NTXentLoss, SupConLoss
from torch.autograd import gradcheck

from smoothswap_lib import losses

pytestmark = pytest.mark.usefixtures("fixed_seed")


def random(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


PAIRS = [(losses.contrastive_loss, NTXentLoss), (losses.supcon_loss, SupConLoss)]


@pytest.mark.parametrize(("ours", "reference"), PAIRS, ids=["contrastive", "supcon"])
@settings(max_examples=30, deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=3, max_size=16).filter(lambda x: 1 < len(set(x)) < len(x)),
    temperature=st.sampled_from([0.07, 0.2, 1.0]),
    length=st.sampled_from([1, 3]),
    seed=st.integers(0, 10_000),
)
@example(labels=list(range(32)) * 4, temperature=0.07, length=1, seed=0)  # the paper's batch
def test_contrastive_losses_equal_pytorch_metric_learning(ours, reference, labels, temperature, length, seed):
    """Any mixture of identities, lonely images among them, and vectors of any length."""
    identity, theirs = torch.tensor(labels), reference(temperature=temperature)
    z = torch.randn(len(labels), 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    z = (length * F.normalize(z, dim=1)).requires_grad_()
    our_value, their_value = ours(z, identity, temperature), theirs(z, identity)
    torch.testing.assert_close(our_value, their_value, rtol=0, atol=1e-6)
    our_gradient, their_gradient = (torch.autograd.grad(value, z) for value in (our_value, their_value))
    torch.testing.assert_close(our_gradient, their_gradient, rtol=0, atol=1e-6)
    assert their_gradient[0].abs().max() > 0


def test_contrastive_loss_equals_the_papers_equation_pair_by_pair():
    z, identity = F.normalize(random(9, 5), dim=1), torch.arange(9) % 3
    terms = []
    for i in range(9):
        for p in range(9):
            if p == i or identity[p] != identity[i]:
                continue
            own = math.exp((z[i] @ z[p]).item() / 0.07)
            others = [n for n in range(9) if identity[n] != identity[i]]
            negatives = sum(math.exp((z[i] @ z[n]).item() / 0.07) for n in others)
            terms.append(-math.log(own / (own + negatives)))
    assert losses.contrastive_loss(z, identity).item() == pytest.approx(sum(terms) / len(terms), abs=1e-9)


def test_the_two_losses_differ_in_their_floor():
    identity = torch.arange(8).repeat_interleave(4)
    z = torch.eye(8, dtype=torch.float64)[identity]  # images of a person coincide, people are orthogonal
    assert losses.contrastive_loss(z, identity, 0.01).item() < 1e-12
    assert losses.supcon_loss(z, identity, 0.01).item() == pytest.approx(math.log(3), abs=1e-9)


@pytest.mark.parametrize("loss", [losses.contrastive_loss, losses.supcon_loss])
@pytest.mark.parametrize("temperature", [0.07, 0.005])
def test_contrastive_losses_are_stable_in_float32(loss, temperature):
    identity = torch.tensor([0, 0, 1, 1])
    z = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).repeat(2, 1).requires_grad_()  # the worst case
    value = loss(z, identity, temperature)
    value.backward()
    assert value.item() == pytest.approx(2 / temperature, rel=0.01)
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("loss", [losses.contrastive_loss, losses.supcon_loss])
@pytest.mark.parametrize(
    ("shape", "identity", "temperature", "message"),
    [
        ((4, 8), [0, 1, 2, 3], 0.07, "no positive pair"),
        ((4, 8), [0, 0, 0, 0], 0.07, "no negative pair"),
        ((0, 8), [], 0.07, "no positive pair"),
        ((4, 8, 1), [0, 0, 1, 1], 0.07, "z must be"),
        ((4, 8), [[0], [0], [1], [1]], 0.07, "identity must be"),
        ((4, 8), [0, 0, 1], 0.07, "identity must be"),
        ((4, 8), [0, 0, 1, 1], 0.0, "temperature"),
    ],
)
def test_contrastive_losses_refuse_batches_without_an_answer(loss, shape, identity, temperature, message):
    with pytest.raises(ValueError, match=message):
        loss(torch.randn(shape), torch.tensor(identity), temperature)


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
    assert gradcheck(losses.change_loss, (x_swap, x_target))


def test_adversarial_losses_equal_their_logarithms():
    real, fake = random(6), random(6)
    d_real, d_fake = torch.sigmoid(real), torch.sigmoid(fake)
    torch.testing.assert_close(losses.generator_adversarial_loss(fake), -d_fake.log().mean())
    expected = -d_real.log().mean() - (1 - d_fake).log().mean()
    torch.testing.assert_close(losses.discriminator_loss(real, fake), expected)
    assert gradcheck(losses.generator_adversarial_loss, fake)
    assert gradcheck(losses.discriminator_loss, (real, fake))


def test_adversarial_losses_stay_finite_where_the_sigmoid_is_0_or_1():
    extreme = torch.tensor([-1e4, 1e4])
    assert losses.generator_adversarial_loss(extreme).item() == pytest.approx(5e3)
    assert losses.discriminator_loss(extreme, extreme).item() == pytest.approx(1e4)
    logits = torch.tensor([-20.0], requires_grad=True)  # the discriminator is sure that the swap is one
    losses.generator_adversarial_loss(logits).backward()
    assert logits.grad.item() == pytest.approx(-1)


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
    assert bias.grad.item() == 0


X = torch.ones(2, 3, 4, 4, requires_grad=True)
LOGITS = X.sum(dim=(1, 2, 3))


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (losses.r1_penalty, (LOGITS.detach(), X.detach()), "requires_grad_"),
        (losses.r1_penalty, (LOGITS, X.detach().clone().requires_grad_()), "do not depend on this x"),
        (losses.r1_penalty, (LOGITS, X[:1]), "B = 2"),
        (losses.r1_penalty, (LOGITS[:, None], X), "logits must be"),
        (losses.identity_loss, (X[:, 0, 0], X[:1, 0, 0]), "z_swap and z_source"),
        (losses.identity_loss, (X[0, 0, 0], X[0, 0, 0]), "z_swap and z_source"),
        (losses.change_loss, (X, X[:1]), "x_swap and x_target"),
        (losses.change_loss, (X[0], X[0]), "x_swap and x_target"),
        (losses.generator_adversarial_loss, (LOGITS[:, None],), "logits must be"),
        (losses.discriminator_loss, (LOGITS[:, None], LOGITS), "real_logits"),
        (losses.discriminator_loss, (LOGITS, LOGITS[:, None]), "fake_logits"),
    ],
)
def test_what_has_no_answer_is_refused_instead_of_broadcast(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)
