"""Self-checks of the exercises: each `check_*` asks a student's function and says what is wrong with it.

A check compares the answer with the right one, then with what typical mistakes would give. A right answer is
printed, a wrong one raises `WrongAnswer`. Here are those of notebooks 00 to 06; the others come from
`checks_later` and `checks_detection`, and `checks` offers all. Depends on these, losses, layers and slerp.
"""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from smoothswap_lib import layers, losses, smoothness
from smoothswap_lib.checks_base import NO_RETURN, WrongAnswer, draw, judge, say_right, wrong
from smoothswap_lib.checks_detection import check_auc, check_rings, check_share_of_alarms
from smoothswap_lib.checks_later import (
    check_claim_verdict,
    check_difference,
    check_film,
    check_joined_gradient,
    check_r1_share,
    check_redrawn_mean,
    check_relative_distance,
    check_step_seconds,
    check_steps_to_level,
)

__all__ = [
    "WrongAnswer",
    "check_auc",
    "check_claim_verdict",
    "check_contrastive_loss",
    "check_difference",
    "check_ema_update",
    "check_error_over_copying",
    "check_film",
    "check_fir_downsample",
    "check_identity_loss",
    "check_joined_gradient",
    "check_minibatch_stddev",
    "check_psnr",
    "check_r1_penalty",
    "check_r1_share",
    "check_redrawn_mean",
    "check_relative_distance",
    "check_rings",
    "check_self_pairs",
    "check_share_of_alarms",
    "check_slerp",
    "check_step_seconds",
    "check_steps_to_level",
    "check_true_swap",
    "check_verdict",
]


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


def check_contrastive_loss(function: Callable) -> None:
    """(z, identity, temperature) with z (B, dim) of unit length -> the paper's loss (Sec. 4.1)."""
    z, identity, temperature = F.normalize(draw(8, 4), dim=1), torch.tensor([0, 0, 0, 1, 1, 1, 2, 2]), 0.3
    similarity = z @ z.T / temperature  # (B, B)
    same, itself = identity[:, None] == identity[None, :], torch.eye(8, dtype=torch.bool)  # (B, B)
    positive = same & ~itself
    negatives = similarity.masked_fill(same, -torch.inf).logsumexp(1, keepdim=True)  # (B, 1)
    others = similarity.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)  # (B, 1)
    with_itself = similarity.masked_fill(positive, -torch.inf).logsumexp(1, keepdim=True)  # (B, 1)
    every = similarity.logsumexp(1, keepdim=True)  # (B, 1)
    terms = F.softplus(negatives - similarity)  # (B, B)
    khosla = "the other positives do not belong into the denominator: that is Khosla's loss, not the paper's"
    mistakes = {
        khosla: (others - similarity)[positive].mean(),
        khosla + " (averaged by anchor)": losses.supcon_loss(z, identity, temperature),
        "an image is no positive of itself: leave out the diagonal": terms[same].mean(),
        "the image itself is in the denominator: only the positive and the negatives belong there": (
            F.softplus(with_itself - similarity)[positive].mean()
        ),
        "all images are in the denominator, the image itself too": (every - similarity)[positive].mean(),
        "the positive is missing from the denominator": (negatives - similarity)[positive].mean(),
        "the temperature is missing": losses.contrastive_loss(z, identity, 1.0),
        "divide by the temperature, do not multiply": losses.contrastive_loss(z, identity, 1 / temperature),
        "take the mean over the pairs, not the sum": terms[positive].sum(),
    }
    right = losses.contrastive_loss(z, identity, temperature)
    judge(function, function(z, identity, temperature), right, mistakes)


def check_slerp(function: Callable) -> None:
    """(z_a, z_b, r) with z (dim,) of unit length -> the point at ratio r on the arc."""
    z_a, z_b = F.normalize(draw(2, 5), dim=1)
    r, dot = 0.3, z_a @ z_b
    omega = torch.arccos(dot)
    lerp = (1 - r) * z_a + r * z_b
    arc = torch.sin((1 - r) * omega) * z_a + torch.sin(r * omega) * z_b
    right = smoothness.slerp(z_a, z_b, r)
    mistakes = {
        "this is Lerp, the chord: it leaves the sphere": lerp,
        "this is Lerp scaled to unit length: it does not turn at an even pace": F.normalize(lerp, dim=0),
        "A and B are exchanged: r = 0 must give A": smoothness.slerp(z_a, z_b, 1 - r),
        "the division by sin(omega) is missing": arc,
        "omega is the angle: the arccos of the inner product is missing": (
            (torch.sin((1 - r) * dot) * z_a + torch.sin(r * dot) * z_b) / torch.sin(dot)
        ),
        "cos stands where sin belongs": (
            (torch.cos((1 - r) * omega) * z_a + torch.cos(r * omega) * z_b) / torch.cos(omega)
        ),
    }
    judge(function, function(z_a, z_b, r), right, mistakes)


def check_verdict(function: Callable) -> None:
    """(ours, theirs), each with low, mean, high -> one of three verdicts; a low score is smooth."""
    less, more, open_ = "smoother than", "less smooth than", "not told apart from"
    cases = {  # (ours, theirs): (verdict, what a wrong one means)
        ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)): (less, "an interval that ends below the other is smoother"),
        ((0.5, 0.6, 0.7), (0.1, 0.2, 0.3)): (more, "an interval that begins above the other is less smooth"),
        ((0.1, 0.3, 0.65), (0.4, 0.6, 0.8)): (open_, "these intervals overlap; means alone decide nothing"),
        ((0.4, 0.6, 0.8), (0.1, 0.3, 0.65)): (open_, "these intervals overlap, ours above: no verdict"),
        ((0.1, 0.2, 0.45), (0.4, 0.6, 0.8)): (open_, "ask for the ends of both intervals, not for a mean"),
    }
    answers = []
    for pair in cases:
        intervals = [SimpleNamespace(low=low, mean=mean, high=high) for low, mean, high in pair]
        answers.append(function(*intervals))
    if None in answers:
        raise wrong(function, NO_RETURN)
    if unknown := set(answers) - {less, more, open_}:
        raise wrong(function, f"{min(unknown)!r} is no verdict: say '{less}', '{more}' or '{open_}'")
    if answers[:2] == [more, less]:
        raise wrong(function, "the sign is wrong: a lower d_smooth is smoother")
    for answer, (pair, (right, meaning)) in zip(answers, cases.items()):
        if answer != right:
            raise wrong(function, f"{meaning} (ours {pair[0]}, theirs {pair[1]}: '{right}')")
    say_right(function)


def check_fir_downsample(function: Callable) -> None:
    """(H, W) -> (H/2, W/2): the taps 1, 3, 3, 1 both ways, zeros outside, every second pixel."""
    image = draw(8, 10).float().abs() + 0.1
    taps = torch.tensor(layers.FIR_TAPS) / 8

    def filtered(padding: tuple[int, ...], rows: Tensor = taps, mode: str = "constant") -> Tensor:
        padded = F.pad(image[None, None], padding, mode=mode)
        return F.conv2d(padded, torch.outer(rows, taps)[None, None], stride=2)[0, 0]

    right = filtered((1, 1, 1, 1))
    mistakes = {
        "every second pixel is kept without the filter: that aliases": image[::2, ::2],
        "this is the mean of 2 x 2 pixels: the taps are 1, 3, 3, 1": F.avg_pool2d(image[None, None], 2)[0, 0],
        "off by one: pad one pixel on each side, not two on the right and below": filtered((0, 2, 0, 2)),
        "off by one: pad one pixel on each side, not two on the left and above": filtered((2, 0, 2, 0)),
        "outside the image are zeros: this repeats the border": filtered((1, 1, 1, 1), mode="replicate"),
        "the padding is missing": filtered((0, 0, 0, 0)),
        "filter both directions: rows are only picked": filtered((1, 1, 0, 3), torch.eye(4)[0]),
        "the weights must sum to 1: divide by 64": 64 * right,
        "the weights must sum to 1: divide by 8 for each direction": 8 * right,
    }
    judge(function, function(image), right, mistakes)


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


def check_self_pairs(function: Callable) -> None:
    """(source, target, self_pairs), indices (B,) -> the sources, the first self_pairs of them the targets."""
    source, target, count = np.arange(10, 18), np.arange(20, 28), 2
    kept = source.copy()

    def pairs(first: int, last: int | None) -> np.ndarray:
        new = kept.copy()
        new[first:last] = target[first:last]
        return new

    answer = function(source, target, count)
    if (source != kept).any() or (target != np.arange(20, 28)).any():
        raise wrong(function, "an argument was changed in place: copy the sources first")
    turned = target.copy()
    turned[:count] = kept[:count]
    mistakes = {
        "nothing was changed: no pair is a self pair": kept,
        "one self pair too many: off by one": pairs(0, count + 1),
        "one self pair too few: off by one": pairs(0, count - 1),
        "the first pairs, not the last": pairs(-count, None),
        "every pair is a self pair now": target,
        "the wrong side was replaced: return the sources, with targets in the first places": turned,
        "the first pairs begin at 0: this leaves out the first": pairs(1, count + 1),
    }
    judge(function, answer, pairs(0, count), mistakes)


def check_ema_update(function: Callable) -> None:
    """(average, value, decay) -> the moving average after one more value."""
    average, value, decay = (torch.tensor([number], dtype=torch.float64)[0] for number in (5.0, 1.5, 0.9))
    mistakes = {
        "the weights are exchanged: decay belongs to the old average": (1 - decay) * average + decay * value,
        "the new value needs its weight, 1 - decay": decay * average + value,
        "the old average needs its weight, decay": average + (1 - decay) * value,
        "this is the plain mean of the two: use the decay": (average + value) / 2,
        "the new value is added, not subtracted": decay * average - (1 - decay) * value,
        "this is the new value: the average is forgotten": value,
        "this is the old average: the new value is ignored": average,
        "off by one: the average only decays, the new value is missing": decay * average,
    }
    judge(function, function(average, value, decay), decay * average + (1 - decay) * value, mistakes)
