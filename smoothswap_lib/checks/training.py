"""Self-checks of the exercises on the swapper's training: self pairs, and the moving average."""

from collections.abc import Callable

import numpy as np
import torch

from smoothswap_lib.checks.base import judge, wrong


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
