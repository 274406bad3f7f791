"""Each loss of the paper, one function an equation (Sec. 4.1, 4.2).

All return a scalar, averaged over the batch. The cross-entropy of the baselines is torch's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(z: Tensor, identity: Tensor, temperature: float = 0.07) -> Tensor:
    """Supervised contrastive loss as the paper writes it (Sec. 4.1).

    For each (anchor i, positive p) the denominator holds that positive and the negatives n only:
    -log e^(s_ip) / (e^(s_ip) + sum_n e^(s_in)) = softplus(log sum_n e^(s_in) - s_ip), s = <z, z> / tau.

    Parameters
    ----------
    z : (B, dim) embeddings; brought to unit length here
    identity : (B,) integer labels
    temperature : tau, more than 0

    Raises
    ------
    ValueError
        For wrong shapes, a batch without a positive pair, or a batch of one identity.
    """
    similarity, positive, negative = _similarities(z, identity, temperature)  # (B, B) each
    negatives = similarity.masked_fill(~negative, -torch.inf).logsumexp(dim=1, keepdim=True)  # (B, 1)
    return F.softplus(negatives - similarity)[positive].mean()


def supcon_loss(z: Tensor, identity: Tensor, temperature: float = 0.07) -> Tensor:
    """Supervised contrastive loss of Khosla et al. 2020 (Eq. 2), for comparison.

    Its denominator holds all other images, the other positives too, so with m images of each identity it
    cannot fall below log(m - 1). Averaged over an anchor's positives, then over the anchors that have one.

    Parameters and errors are those of `contrastive_loss`.
    """
    similarity, positive, negative = _similarities(z, identity, temperature)  # (B, B) each
    itself = ~(positive | negative)  # (B, B)
    others = similarity.masked_fill(itself, -torch.inf).logsumexp(dim=1, keepdim=True)  # (B, 1)
    pair_loss = (others - similarity).masked_fill(~positive, 0.0)  # (B, B)
    num_positives = positive.sum(dim=1)  # (B,)
    anchor_loss = pair_loss.sum(dim=1) / num_positives.clamp(min=1)  # (B,)
    return anchor_loss[num_positives > 0].mean()


def identity_loss(z_swap: Tensor, z_source: Tensor) -> Tensor:
    """L_id = 1 - cos(z_swap, z_source) (Sec. 4.2), from 0 to 2; both (B, dim)."""
    _same_shape(z_swap, z_source, "z_swap", "z_source", dims=2)
    return (1 - F.cosine_similarity(z_swap, z_source, dim=1)).mean()


def change_loss(x_swap: Tensor, x_target: Tensor) -> Tensor:
    """L_chg = ||x_swap - x_target||^2 / D (Sec. 4.2); both (B, 3, H, W), D = 3 H W."""
    _same_shape(x_swap, x_target, "x_swap", "x_target", dims=4)
    return (x_swap - x_target).square().mean()


def generator_adversarial_loss(logits: Tensor) -> Tensor:
    """L_adv = -log f_dis(x_swap) (Sec. 4.2), the non-saturating loss; `logits` (B,) of swapped images.

    f_dis is the sigmoid of the logit, and -log sigmoid(l) = softplus(-l), which does not overflow.
    """
    _logit_shape(logits, "logits")
    return F.softplus(-logits).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The original GAN loss, -log f_dis(x_real) - log(1 - f_dis(x_swap)) (Goodfellow 2014); (B,) each."""
    _logit_shape(real_logits, "real_logits")
    _logit_shape(fake_logits, "fake_logits")
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def r1_penalty(logits: Tensor, x: Tensor) -> Tensor:
    """||d f_dis(x) / d x||^2 on real images (Mescheder et al. 2018, Eq. 9), without the factor gamma / 2.

    Parameters
    ----------
    logits : (B,) the discriminator's answer to x
    x : (B, ...) real images, with requires_grad set before the discriminator saw them

    Raises
    ------
    ValueError
        For wrong shapes, or if the logits do not depend on x.
    """
    _logit_shape(logits, "logits")
    if x.dim() < 2 or x.shape[0] != logits.shape[0]:
        raise ValueError(f"x must be (B, ...) with B = {logits.shape[0]} as the logits, got {tuple(x.shape)}")
    if not x.requires_grad or not logits.requires_grad:
        raise ValueError("r1_penalty needs x.requires_grad_(True) before logits = discriminator(x)")
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True, allow_unused=True)
    if gradient is None:
        raise ValueError("the logits do not depend on this x; pass the tensor that the discriminator saw")
    # The last bias has no share in the gradient, but under DDP each parameter must be in the graph.
    return gradient.flatten(1).square().sum(dim=1).mean() + 0 * logits.sum()


def _similarities(z: Tensor, identity: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return <z_i, z_j> / temperature, which (i, j) are positive and which negative pairs: (B, B) each."""
    if z.dim() != 2:
        raise ValueError(f"z must be (B, dim), got {tuple(z.shape)}")
    if identity.shape != z.shape[:1]:
        raise ValueError(f"identity must be (B,) = ({z.shape[0]},) as z, got {tuple(identity.shape)}")
    if not temperature > 0:
        raise ValueError(f"temperature must be more than 0, got {temperature}")
    same = identity[:, None] == identity[None, :]  # (B, B)
    positive = same & ~torch.eye(len(z), dtype=torch.bool, device=z.device)  # (B, B)
    if not positive.any():
        raise ValueError("no positive pair in the batch: sample several images of each identity")
    if same.all():
        raise ValueError("no negative pair in the batch: sample several identities")
    z = F.normalize(z, dim=1)  # (B, dim)
    return z @ z.T / temperature, positive, ~same


def _same_shape(a: Tensor, b: Tensor, name_a: str, name_b: str, dims: int) -> None:
    # Without this, broadcasting would silently compare each with each.
    if a.dim() != dims or a.shape != b.shape:
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise ValueError(f"{name_a} and {name_b} must have one {dims}-dimensional shape, got {shapes}")


def _logit_shape(logits: Tensor, name: str) -> None:
    if logits.dim() != 1:
        raise ValueError(f"{name} must be (B,), got {tuple(logits.shape)}")
