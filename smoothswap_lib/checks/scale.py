"""Self-checks of the exercises on the paper's scale: a step's seconds, a joined gradient, R1's price."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from smoothswap_lib.checks.base import draw, judge


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
