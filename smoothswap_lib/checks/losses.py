"""Self-checks of the exercises on the discriminator and the losses."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from smoothswap_lib.checks.base import draw, judge, say_right, wrong


def check_identity_loss(function: Callable) -> None:
    """(z_swap, z_source), each (B, dim), not of unit length -> the mean of 1 - cos."""
    z_swap, z_source = draw(2, 4, 3) + 0.2
    cosine = F.cosine_similarity(z_swap, z_source, dim=1)  # (B,)
    table = F.normalize(z_swap, dim=1) @ F.normalize(z_source, dim=1).T  # (B, B)
    mistakes = {
        "divide by both lengths: these vectors are not of unit length": 1 - (z_swap * z_source).sum(1).mean(),
        "this is the cosine; the loss is 1 minus the cosine": cosine.mean(),
        "the sign is wrong: 1 - cos, so that more alike costs less": (cosine - 1).mean(),
        "the sign is wrong: 1 minus the cosine, not plus": (1 + cosine).mean(),
        "take the mean over the batch, not the sum": (1 - cosine).sum(),
        "the answer has one number an image: take the mean": 1 - cosine,
        "wrong axis: the cosine runs over dim 1, the vector, not over the batch": (
            (1 - F.cosine_similarity(z_swap, z_source, dim=0)).mean()
        ),
        "each swap is compared with each source: only pairs belong together": (1 - table).mean(),
    }
    judge(function, function(z_swap, z_source), (1 - cosine).mean(), mistakes)


def check_minibatch_stddev(function: Callable) -> None:
    """(x, num_groups) with x (B, C, H, W) -> (B, C + 1, H, W); a group is every num_groups-th image."""
    x, groups = draw(6, 2, 3, 4), 2

    def appended(spread: Tensor, of: Tensor) -> Tensor:
        return torch.cat([x, spread[of].view(6, 1, 1, 1).expand(6, 1, 3, 4)], dim=1)

    def spread_of(dealt: list[Tensor], unbiased: bool = False) -> Tensor:
        return torch.stack([(part.var(0, unbiased=unbiased) + 1e-8).sqrt().mean() for part in dealt])

    dealt, dealer = [x[0::2], x[1::2]], torch.arange(6) % groups
    right = appended(spread_of(dealt), dealer)
    within = x.flatten(1).std(1, unbiased=False)  # (B,)
    mistakes = {
        "a group is every num_groups-th image, not a run of neighbors": (
            appended(spread_of([x[:3], x[3:]]), torch.arange(6) // 3)
        ),
        "divide by the number of images, not by one less (unbiased=False)": (
            appended(spread_of(dealt, unbiased=True), dealer)
        ),
        "each group has its own number: this is one for the whole batch": appended(
            spread_of([x]), dealer * 0
        ),
        "wrong axis: deviate over the images of a group, not over the pixels of an image": (
            appended(within, torch.arange(6))
        ),
        "the root is missing: this is the variance": (
            appended(torch.stack([part.var(0, unbiased=False).mean() for part in dealt]), dealer)
        ),
        "take the root pixel by pixel, then the mean": (
            appended(torch.stack([part.var(0, unbiased=False).mean().sqrt() for part in dealt]), dealer)
        ),
        "this is the new channel alone: append it to x": right[:, -1:],
        "the new channel goes behind the others, not in front": right.roll(1, dims=1),
    }
    judge(function, function(x, groups), right, mistakes)


def check_r1_penalty(function: Callable) -> None:
    """(logits, x) -> the mean over images of the squared length of d logit / d x, differentiable."""
    weight = draw(2, 3, 3).requires_grad_()
    x = draw(5, 4, 2, 3, 3)[0].requires_grad_()
    logits = (x * weight).flatten(1).sum(1) ** 2  # (B,)
    (slope,) = torch.autograd.grad(logits.sum(), x, retain_graph=True)
    squares = slope.flatten(1).square()  # (B, C * H * W)
    right = squares.sum(1).mean()
    mistakes = {
        "the length must be squared": squares.sum(1).sqrt().mean(),
        "sum over the pixels of an image: this is their mean": squares.mean(),
        "take the mean over the images, not the sum": squares.sum(),
        "the factor gamma / 2 belongs to the loss, not into the penalty": right / 2,
        "differentiate logits.sum(): with the mean each slope is divided by the batch": right / len(x) ** 2,
        "this pulls the length to 1 (WGAN-GP); R1 pulls it to 0": (squares.sum(1).sqrt() - 1).square().mean(),
        "one length for the whole batch: sum the pixels of each image apart": squares.sum().sqrt(),
        "the answer has one number an image: take the mean": squares.sum(1),
    }
    answer = function(logits, x)
    if weight.grad is not None or x.grad is not None:
        raise wrong(function, "backward() leaves gradients in the weights: use torch.autograd.grad")
    judge(function, answer, right, mistakes, praise=False)
    if not isinstance(answer, Tensor) or not answer.requires_grad:
        raise wrong(
            function, "the penalty cannot be trained: create_graph=True is missing, or it was detached"
        )
    say_right(function)
