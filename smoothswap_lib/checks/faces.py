"""Self-checks of the exercises on the rendered faces: what a true swap is, how far a picture is from it."""

from collections.abc import Callable

import torch

from smoothswap_lib.checks.base import NO_RETURN, draw, judge, say_right, wrong


def check_error_over_copying(function: Callable) -> None:
    """(x_swap, x_true, x_target), each (B, 3, H, W) -> squared error of the swap over that of the target."""
    x_swap, x_true, x_target = draw(3, 4, 3, 5, 5)
    swap, copy = (x_swap - x_true), (x_target - x_true)
    images = swap.square().sum((1, 2, 3)) / copy.square().sum((1, 2, 3))
    right = swap.square().sum() / copy.square().sum()
    mistakes = {
        "upside down: the swap's error belongs above the line, the target's below": 1 / right,
        "the differences must be squared: this is the ratio of lengths": right.sqrt(),
        "the differences must be squared: these are absolute values": swap.abs().sum() / copy.abs().sum(),
        "square before the mean: differences of two signs cancel": (swap.mean() / copy.mean()) ** 2,
        "take the mean of the errors first, then one ratio: this is the mean of ratios": images.mean(),
        "the answer has one ratio an image: take the means over the whole batch": images,
        "the swap must be compared with the true swap, not with the target": (
            (x_swap - x_target).square().sum() / copy.square().sum()
        ),
        "the division by the error of copying the target is missing": swap.square().mean(),
    }
    judge(function, function(x_swap, x_true, x_target), right, mistakes)


def check_true_swap(function: Callable) -> None:
    """(source, target), each (identity, state, attributes) -> the three groups of the true swap."""
    kinds = ("identity", "state", "attributes")
    source, target = (tuple(f"{kind} of the {who}" for kind in kinds) for who in ("source", "target"))
    answer, right = function(source, target), (*source[:2], target[2])
    if answer is None:
        raise wrong(function, NO_RETURN)
    if not isinstance(answer, (tuple, list)) or len(answer) != 3:
        raise wrong(function, "the answer must be three groups: identity, state, attributes")
    answer = tuple(answer)
    mistakes = {
        source: "this is the source's own picture: attributes come from the target",
        target: "this is the target's own picture: identity and state come from the source",
        (source[0], *target[1:]): "the state comes from the source too: it drifts with the person",
        (*target[:2], source[2]): "the other way round: this puts the target into the source's picture",
        (target[0], source[1], target[2]): "the identity comes from the source",
    }
    if answer in mistakes:
        raise wrong(function, mistakes[answer])
    if answer != right:
        raise wrong(function, f"wrong order or parts: got {answer}, expected {right}")
    say_right(function)


def check_psnr(function: Callable) -> None:
    """(x, y), each (3, H, W) in [-1, 1] -> peak signal-to-noise ratio in dB, peak 2."""
    x, y = draw(2, 3, 8, 8).clamp(-1, 1)
    error = (x - y).square().mean()
    right = 10 * torch.log10(4 / error)
    mistakes = {
        "the peak is 2 for values in [-1, 1], and it is squared: this has a peak of 1": (
            10 * torch.log10(1 / error)
        ),
        "the peak must be squared: 2^2 over the error": 10 * torch.log10(2 / error),
        "the peak is 2, not 255: these are values in [-1, 1]": 10 * torch.log10(255**2 / error),
        "the logarithm is to base 10, not the natural one": 10 * torch.log(4 / error),
        "the factor is 10 for a squared error; 20 belongs to its root": 2 * right,
        "take the mean of the squares, not their sum": 10 * torch.log10(4 / (x - y).square().sum()),
        "the differences must be squared: these are absolute values": (
            10 * torch.log10(4 / (x - y).abs().mean())
        ),
    }
    judge(function, function(x, y), right, mistakes)
