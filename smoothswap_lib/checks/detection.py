"""Self-checks of the exercises on detecting swaps: a ROC curve's area, a spectrum's rings, alarms."""

from collections.abc import Callable

import numpy as np

from smoothswap_lib.checks.base import judge


def check_auc(function: Callable) -> None:
    """(score_swap (N,), score_true (M,)) -> the share of pairs in which the swap scores higher, ties half."""
    swap, true = np.array([2.5, 1.0, 1.0, 0.5, -1.5, 3.0]), np.array([1.0, 0.5, -2.0, 0.75, -1.5, -0.5])
    ahead, level = swap[:, None] > true, swap[:, None] == true  # (N, M)
    right = (ahead + level / 2).mean()
    mistakes = {
        "equal scores count half, not nothing: >= and > differ here": ahead.mean(),
        "equal scores count half, not whole: >= and > differ here": (ahead | level).mean(),
        "the other way round: the share in which the swap is higher, not the true swap": 1 - right,
        "each swap meets each true swap, not only the one beside it": (
            (swap > true) + (swap == true) / 2
        ).mean(),
        "this is a share of right answers at the threshold 0; an area needs no threshold": (
            np.concatenate([swap > 0, true <= 0]).mean()
        ),
        "divide by the number of pairs: this is their count": ahead.sum() + level.sum() / 2,
        "the answer is one number: this has one for each swap": (ahead + level / 2).mean(axis=1),
        "ranks count, not logits: this is a difference of means": swap.mean() - true.mean(),
    }
    judge(function, function(swap.copy(), true.copy()), right, mistakes)


def check_rings(function: Callable) -> None:
    """(size) -> (size, size) int: the cycles an image that each place of the FFT stands for, rounded."""
    size = 10
    cycles = np.array([0, 1, 2, 3, 4, -5, -4, -3, -2, -1])
    distance = np.hypot(cycles[:, None], cycles)
    right, place = distance.round(), np.arange(size)
    mistakes = {
        "the FFT's second half holds negative frequencies: the last place is 1 cycle, not size - 1": (
            np.hypot(place[:, None], place).round()
        ),
        "nothing is shifted: the frequency 0 stands at [0, 0], not in the middle": np.fft.fftshift(right),
        "in cycles an image: with cycles a pixel all places round to 0 or 1": (distance / size).round(),
        "in cycles an image, and rounded: these are cycles a pixel": distance / size,
        "round to the nearest number: this cuts off what follows the point": np.floor(distance),
        "round to the nearest number: this rounds up": np.ceil(distance),
        "rounding is missing": distance,
        "a ring is round: take the root of the sum of squares, not the sum": (
            abs(cycles)[:, None] + abs(cycles)
        ),
        "a ring is round: take the root of the sum of squares, not the larger one": (
            np.maximum(abs(cycles)[:, None], abs(cycles))
        ),
        "the root is missing": distance**2,
        "a picture has two directions: this is one row": abs(cycles),
    }
    judge(function, function(size), right, mistakes)


def check_share_of_alarms(function: Callable) -> None:
    """(hits, false_alarms, base_rate) -> the share of swaps among the pictures that are called swaps."""
    hits, false_alarms, base_rate = 0.8, 0.1, 0.02
    found, wrongly = base_rate * hits, (1 - base_rate) * false_alarms  # shares of all pictures
    turned = (1 - base_rate) * hits
    mistakes = {
        "the base rate is missing: this holds only where every second picture is a swap": (
            hits / (hits + false_alarms)
        ),
        "this is the share of the swaps that are found; asked is how many alarms are right": hits,
        "divide by all alarms: this is the share of all pictures that are swaps and are found": found,
        "false alarms come from pictures that are no swaps: weigh them with 1 - base_rate": (
            found / (found + false_alarms)
        ),
        "upside down: this is the share of the alarms that are false": wrongly / (found + wrongly),
        "these are odds, right alarms over false ones: divide by their sum": found / wrongly,
        "exchanged: base_rate belongs to the hits, 1 - base_rate to the false alarms": (
            turned / (turned + base_rate * false_alarms)
        ),
        "this is the share of all pictures that raise an alarm": found + wrongly,
        "this is the base rate: the detector says something too": base_rate,
    }
    judge(function, function(hits, false_alarms, base_rate), found / (found + wrongly), mistakes)
