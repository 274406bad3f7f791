"""The embedder's sizes, its unit vectors, and the two classifier heads."""

import math

import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import ArcFaceLoss

from smoothswap_lib.embedder import ArcFaceHead, Embedder, LinearHead

pytestmark = pytest.mark.usefixtures("fixed_seed")


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_resnet50_has_the_known_size_and_halves_the_image_five_times():
    with torch.device("meta"):
        embedder, x = Embedder(), torch.empty(2, 3, 256, 256)
    assert count(embedder.trunk) == 23_508_032
    assert count(embedder) == 23_508_032 + (2048 * 1024 + 1024) + (1024 * 512 + 512)
    convolutions = [m for m in embedder.trunk.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 1 + 3 * 16 + 4  # stem, 16 blocks, 4 shortcuts; with its classifier 50 layers
    assert embedder.trunk(x).shape == (2, 2048, 8, 8) and embedder(x).shape == (2, 512)


def test_vectors_have_unit_length_change_with_the_image_and_train_every_parameter():
    embedder = Embedder("plain", 32)
    z = embedder(torch.randn(8, 3, 64, 64))
    assert z.shape == (8, 32)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(8))
    assert (z @ z.T)[~torch.eye(8, dtype=torch.bool)].max() < 0.9999
    (z * torch.randn_like(z)).sum().backward()
    for name, parameter in embedder.named_parameters():
        assert torch.isfinite(parameter.grad).all() and parameter.grad.abs().max() > 0, name


def test_eval_mode_depends_on_the_one_image_only_and_changes_no_buffer():
    embedder = Embedder("plain", 32)
    embedder(torch.randn(8, 3, 64, 64))  # moves the running averages away from their start
    embedder.eval()
    before = {name: tensor.clone() for name, tensor in embedder.state_dict().items()}
    x = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        together, alone = embedder(x), torch.cat([embedder(image[None]) for image in x])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    for name, tensor in embedder.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="backbone must be one of"):
        Embedder("vgg")
    with pytest.raises(ValueError, match=r"images must be \(B, 3, H, W\)"):
        Embedder("plain", 8)(torch.zeros(3, 64, 64))


def unit_vectors(batch, dim):
    return F.normalize(torch.randn(batch, dim, dtype=torch.float64), dim=1)


def test_linear_head_is_linear():
    head, z = LinearHead(16, 5).double(), unit_vectors(2, 16)
    torch.testing.assert_close(head(z.mean(0, keepdim=True)), head(z).mean(0, keepdim=True))


@pytest.mark.parametrize(("scale", "margin"), [(64.0, 0.5), (16.0, 0.2)])
def test_arcface_head_equals_pytorch_metric_learning(scale, margin):
    head = ArcFaceHead(16, 7, scale, margin).double()
    z, identity = unit_vectors(30, 16).requires_grad_(), torch.arange(30) % 7
    reference = ArcFaceLoss(7, 16, margin=math.degrees(margin), scale=scale).double()
    reference.W.data = head.weight.data.T.clone()
    ours, theirs = F.cross_entropy(head(z, identity), identity), reference(z, identity)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    our_gradient, their_gradient = (torch.autograd.grad(loss, z) for loss in (ours, theirs))
    torch.testing.assert_close(our_gradient, their_gradient, rtol=0, atol=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_arcface_gradient_stays_finite_at_the_ends_of_the_angle(sign):
    head = ArcFaceHead(8, 3)
    z = (sign * F.normalize(head.weight.detach(), dim=1)).requires_grad_()
    F.cross_entropy(head(z, torch.arange(3)), torch.arange(3)).backward()
    assert torch.isfinite(z.grad).all() and torch.isfinite(head.weight.grad).all()


def test_arcface_own_logit_falls_as_the_angle_grows_up_to_pi():
    head = ArcFaceHead(2, 1, scale=1.0, margin=0.5).double()
    head.weight.data = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    angle = torch.linspace(0.0, math.pi, 400, dtype=torch.float64)
    z = torch.stack([angle.cos(), angle.sin()], dim=1)
    logits = head(z, torch.zeros(400, dtype=torch.long)).squeeze(1)
    assert (logits.diff() < 0).all()
