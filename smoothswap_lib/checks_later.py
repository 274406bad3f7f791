"""Self-checks of the exercises of notebooks 07 to 10: scores, intervals, verdicts, pictures, costs.

`checks` offers them too. Depends on checks_base and slerp.
"""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from smoothswap_lib import smoothness
from smoothswap_lib.checks_base import NO_RETURN, draw, judge, say_right, wrong


def check_relative_distance(function: Callable) -> None:
    """(z_swap, z_source, z_target), each (B, dim) -> (B,): 0 at the source, 1 at the target (Sec. 5.2)."""
    z_swap, z_source, z_target = draw(3, 4, 5)

    def ratio(length: Callable[[Tensor], Tensor]) -> Tensor:
        to_source, to_target = length(z_swap - z_source), length(z_swap - z_target)
        return to_source / (to_source + to_target)

    to_source, to_target = (torch.linalg.vector_norm(z_swap - z, dim=1) for z in (z_source, z_target))
    ends = torch.linalg.vector_norm(z_source - z_target, dim=1)
    far = [1 - F.cosine_similarity(z_swap, z, dim=1) for z in (z_source, z_target)]
    right = to_source / (to_source + to_target)
    mistakes = {
        "the other way round: at the source it must be 0, at the target 1": 1 - right,
        "divide by the sum of both distances, not by the one to the target": to_source / to_target,
        "divide by the sum of the swap's two distances, not by that of source and target": to_source / ends,
        "the division by the sum of both distances is missing": to_source,
        "a distance is a length: the root is missing": ratio(lambda gap: gap.square().sum(1)),
        "the distance is Euclidean: square, add, take the root": ratio(lambda gap: gap.abs().sum(1)),
        "the distance is Euclidean; these are made of cosines": far[0] / (far[0] + far[1]),
        "wrong axis: a distance runs over dim 1, the vector, not over the batch": (
            ratio(lambda gap: torch.linalg.vector_norm(gap, dim=0))
        ),
        "one distance for the whole batch: each swap has its own": ratio(torch.linalg.vector_norm),
        "the answer has one number a swap: the mean comes later": right.mean(),
        "divide swap by swap: this is a ratio of means": to_source.mean() / (to_source + to_target).mean(),
    }
    judge(function, function(z_swap, z_source, z_target), right, mistakes)


def check_redrawn_mean(function: Callable) -> None:
    """(values, source, target, drawn): a pair counts as often as its source times its target was drawn."""
    values = draw(6).numpy()
    source, target = np.array([0, 1, 2, 3, 0, 2]), np.array([1, 2, 3, 0, 2, 1])
    drawn = np.array([2, 0, 2, 1])  # of the people 0 to 3; 3 is left out, 2 is there twice
    count = np.bincount(drawn, minlength=4)
    times, there = count[source] * count[target], (count > 0)[source] & (count > 0)[target]
    mistakes = {
        "nothing was redrawn: this is the plain mean": values.mean(),
        "redraw people, not pairs: `drawn` holds people, it is no list of rows": values[drawn].mean(),
        "the target counts too: this redraws sources only": np.average(values, weights=count[source]),
        "the source counts too: this redraws targets only": np.average(values, weights=count[target]),
        "a pair needs both its people: multiply how often they were drawn, do not add": (
            np.average(values, weights=count[source] + count[target])
        ),
        "a person drawn twice counts twice: this asks only who was drawn": values[there].mean(),
        "divide by the sum of the weights, not by the number of pairs": (times * values).mean(),
        "divide by the sum of the weights: this is the sum alone": (times * values).sum(),
        "divide by the sum of the weights, not by the pairs that are left": (times * values).sum()
        / there.sum(),
    }
    judge(function, function(values, source, target, drawn), np.average(values, weights=times), mistakes)


def check_steps_to_level(function: Callable) -> None:
    """(step, loss, level), (n,) with NaN at the beginning -> the first step at the level or below, or NaN."""
    step, loss = np.arange(20, 100, 10), np.array([np.nan, np.nan, 0.9, 0.6, 0.7, 0.5, 0.3, 0.4])
    mistakes = {
        "this is the row; the answer is its step": 3,
        "a NaN is no loss yet: the running mean begins later": step[0],
        "the first step, not the one from which on the loss stays there": 70,
        "the first step, not the lowest point": step[6],
        "the first step, not the last": step[-1],
        "at the level or below, not nearest to it": 60,
        "at the level or below: this is the first step above": 40,
        "a step of the curve: nothing is interpolated": 48,
        "this counts the rows; the answer is a step": 4,
    }
    judge(function, function(step, loss, 0.66), 50, mistakes, praise=False)
    equal = {"a loss that is at the level has reached it: <=, not <": 70}
    judge(function, function(step, loss, 0.6), 50, equal, praise=False)
    never = "a curve that never gets there has no such step: the answer is NaN"
    try:
        answer = function(step, loss, 0.1)
    except (IndexError, ValueError) as error:
        raise wrong(function, f"{never} (now: {type(error).__name__})") from error
    if answer is None or not np.isnan(answer):
        raise wrong(function, f"{never}, not {answer}")
    say_right(function)


def check_claim_verdict(function: Callable) -> None:
    """(value, low, high, limit, neutral) -> the ledger's verdict on "at most `limit`"."""
    yes, trend, no = "reproduced", "reproduced in trend", "not reproduced"
    cases = {  # (value, low, high, limit, neutral): (verdict, what a wrong one means)
        (0.2, 0.1, 0.24, 0.25, 1.0): (yes, "a value below the limit is what was claimed"),
        (1.2, 1.1, 1.3, 0.25, 1.0): (no, "this lies on the wrong side of neutral, interval and all"),
        (0.9, 0.8, 0.95, 0.25, 1.0): (trend, "above the limit, and all of the interval below neutral"),
        (0.9, 0.8, 1.1, 0.25, 1.0): (no, "the interval holds neutral: no difference is possible too"),
        (0.2, 0.1, 0.3, 0.25, 1.0): (yes, "the value decides on 'reproduced', not the interval's end"),
        (0.25, 0.2, 0.28, 0.25, 1.0): (yes, "'at most' holds the limit itself"),
        (0.02, 0.01, 0.03, -0.05, 0.0): (no, "use `neutral`: of a difference it is 0, not 1"),
    }
    answers = [function(*case) for case in cases]
    if None in answers:
        raise wrong(function, NO_RETURN)
    if unknown := {str(answer) for answer in answers} - {yes, trend, no}:
        raise wrong(function, f"{min(unknown)!r} is no verdict: say '{yes}', '{trend}' or '{no}'")
    if answers[:2] == [no, yes]:
        raise wrong(function, "the other way round: a value at the limit or below it is 'reproduced'")
    for answer, (case, (right, meaning)) in zip(answers, cases.items()):
        if answer != right:
            value, low, high, limit, neutral = case
            numbers = f"{value} [{low}, {high}], limit {limit}, neutral {neutral}"
            raise wrong(function, f"{meaning} ({numbers}: '{right}')")
    say_right(function)


def check_difference(function: Callable) -> None:
    """(x_swap, x_true), each (3, H, W) in [-1, 1] -> (H, W), the mean absolute difference in gray levels."""
    x_swap, x_true = draw(2, 3, 4, 5).clamp(-1, 1)
    change = 127.5 * (x_swap - x_true)
    mistakes = {
        "this has a sign: take the absolute value": change.mean(0),
        "take the absolute value before the mean: differences of two signs cancel": change.mean(0).abs(),
        "in gray levels: a unit of [-1, 1] is 127.5 of them": change.abs().mean(0) / 127.5,
        "a unit of [-1, 1] is 127.5 gray levels, not 255: the range is 2 wide": 2 * change.abs().mean(0),
        "take the mean of the channels, not their sum": change.abs().sum(0),
    }
    judge(function, function(x_swap, x_true), change.abs().mean(0), mistakes)


def check_film(function: Callable) -> None:
    """(z_a, z_b, frames) with z (dim,) -> (frames, dim) on the arc in even steps, the first A, the last B."""
    (z_a, z_b), frames = F.normalize(draw(2, 5), dim=1), 4
    points = {"right": torch.arange(4) / 3, "early": torch.arange(4) / 4, "inner": torch.arange(1, 5) / 5}
    arcs = {k: torch.stack([smoothness.slerp(z_a, z_b, float(r)) for r in points[k]]) for k in points}
    chord = torch.lerp(z_a, z_b, points["right"].double()[:, None])
    mistakes = {
        "the last frame must be B: divide by frames - 1": arcs["early"],
        "both ends belong to the film: the first frame is A, the last is B": arcs["inner"],
        "A and B are exchanged: the first frame is A": arcs["right"].flip(0),
        "this is Lerp, the chord: it leaves the sphere": chord,
        "this is Lerp scaled to unit length: its steps are not even": F.normalize(chord, dim=1),
    }
    judge(function, function(z_a, z_b, frames), arcs["right"], mistakes)


def check_r1_share(function: Callable) -> None:
    """(with_r1, without_r1, interval) -> the part of a mean step's seconds that R1 takes, in [0, 1]."""
    dear, plain, interval = 2.85, 1.25, 8
    extra = (dear - plain) / interval
    mean = plain + extra
    mistakes = {
        "R1 is in one step of `interval` only: divide what it adds by the interval": (dear - plain) / dear,
        "in both places R1 counts once in `interval` steps": (dear - plain) / mean,
        "divide by the mean step, not by one without R1": extra / plain,
        "divide by the mean step, not by one with R1": extra / dear,
        "not all of a step with R1 is R1's: take a step without it away": dear / interval / mean,
        "the seconds that R1 adds to a mean step; divide them by the mean step": extra,
        "these are the seconds of a mean step; R1's part of them is asked": mean,
        "this is the part of everything else": plain / mean,
        "a part lies between 0 and 1: this is in percent": 100 * extra / mean,
    }
    judge(function, function(dear, plain, interval), extra / mean, mistakes)


def check_step_seconds(function: Callable) -> None:
    """(work, machine, processes) -> the equation's seconds, as `costs.predicted_seconds` has them."""
    machine = SimpleNamespace(flops=2e12, bandwidth=1e9, overhead=1e-4, link=1e8)
    work = SimpleNamespace(flops=6.2e12, traffic=5.3e9, operations=7000, gradients=4e8)
    arithmetic, moved, called, sent = 3.1, 5.3, 0.7, 4.0  # seconds of each part
    alone = arithmetic + moved + called
    mistakes = {
        "the exchange is missing": alone,
        "the exchange needs the ring's factor, 2 (n - 1) / n": alone + sent,
        "the ring's factor has a 2: the sums are formed, and then handed round": alone + 0.75 * sent,
        "the ring's factor is divided by n: each process sends parts of the gradients": alone + 6 * sent,
        "the time of the calls is missing": alone - called + 1.5 * sent,
        "add the parts: nothing overlaps in this model": max(arithmetic, moved) + called + 1.5 * sent,
        "`work` is one process' share already: do not divide it by the processes": (alone / 4 + 1.5 * sent),
        "divide the exchange by the link, not by the memory's bandwidth": alone + 0.6,
    }
    judge(function, function(work, machine, 4), alone + 1.5 * sent, mistakes, praise=False)
    one = {"one process exchanges nothing: the ring's factor is 0": alone + 1.5 * sent}
    judge(function, function(work, machine, 1), alone, one)


def check_joined_gradient(function: Callable) -> None:
    """(gradients, images), (P, n) and (P,) -> (n,): the gradient of the mean loss over all images."""
    gradients, images = draw(3, 5).numpy(), np.array([1, 2, 5])
    total = images @ gradients
    mistakes = {
        "this is the plain mean: a process with more images counts more": gradients.mean(0),
        "this is the sum of the gradients: weigh them, and divide": gradients.sum(0),
        "divide by the number of all images: this is the weighted sum": total,
        "divide by the number of all images, not of processes": total / len(images),
        "the weights are upside down: more images, more weight": (
            (1 / images) @ gradients / (1 / images).sum()
        ),
        "each gradient is a mean over its images already: do not divide it by them": (
            (1 / images) @ gradients / images.sum()
        ),
        "one number a weight of the network is asked: add over the processes": (
            images[:, None] * gradients / images.sum()
        ),
    }
    judge(function, function(gradients, images), total / images.sum(), mistakes)
