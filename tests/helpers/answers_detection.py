"""Right and typical wrong answers to the exercises of notebook 11, which test_checks.py runs."""

import numpy as np
from sklearn.metrics import roc_auc_score


def pairs(swap, true, tie=0.5, turn=1):
    """By loops: how often the swap is ahead, with switches for mistakes."""
    return sum(1 if turn * (s - t) > 0 else tie * (s == t) for s in swap for t in true) / (
        len(swap) * len(true)
    )


def rings(size, length=lambda a, b: (a * a + b * b) ** 0.5, rounding=round, fold=True, unit=1):
    """By loops: the distance of each place of the FFT from the frequency 0, with switches for mistakes."""
    cycles = [k - size if fold and 2 * k >= size else k for k in range(size)]
    return np.array([[rounding(unit * length(a, b)) for b in cycles] for a in cycles])


def share(hits, false_alarms, base_rate):
    """By counting ten thousand pictures."""
    swaps = 10_000 * base_rate
    alarms = swaps * hits + (10_000 - swaps) * false_alarms
    return swaps * hits / alarms


RIGHT = {
    "auc": lambda swap, true: roc_auc_score(np.repeat([1, 0], [len(swap), len(true)]), np.r_[swap, true]),
    "rings": rings,
    "share_of_alarms": share,
}
WRONG = {
    "auc": {
        "not nothing": lambda swap, true: pairs(swap, true, tie=0),
        "not whole": lambda swap, true: pairs(swap, true, tie=1),
        "the other way round": lambda swap, true: pairs(swap, true, turn=-1),
        "not only the one beside it": lambda swap, true: np.mean(
            [pairs([s], [t]) for s, t in zip(swap, true)]
        ),
        "right answers at the threshold 0": lambda swap, true: ((swap > 0).sum() + (true <= 0).sum()) / 12,
        "this is their count": lambda swap, true: 36 * pairs(swap, true),
        "one for each swap": lambda swap, true: np.array([pairs([s], true) for s in swap]),
        "difference of means": lambda swap, true: swap.mean() - true.mean(),
    },
    "rings": {
        "negative frequencies": lambda size: rings(size, fold=False),
        "nothing is shifted": lambda size: np.fft.fftshift(rings(size)),
        "round to 0 or 1": lambda size: rings(size, unit=1 / size),
        "these are cycles a pixel": lambda size: rings(size, unit=1 / size, rounding=float),
        "cuts off what follows the point": lambda size: rings(size, rounding=int),
        "rounds up": lambda size: rings(size, rounding=np.ceil),
        "rounding is missing": lambda size: rings(size, rounding=float),
        "not the sum": lambda size: rings(size, lambda a, b: abs(a) + abs(b)),
        "not the larger one": lambda size: rings(size, lambda a, b: max(abs(a), abs(b))),
        "the root is missing": lambda size: rings(size, lambda a, b: a * a + b * b),
        "this is one row": lambda size: rings(size)[0],
    },
    "share_of_alarms": {
        "the base rate is missing": lambda hits, alarms, base: share(hits, alarms, 0.5),
        "share of the swaps that are found": lambda hits, alarms, base: hits,
        "swaps and are found": lambda hits, alarms, base: hits * base,
        "weigh them with 1 - base_rate": lambda hits, alarms, base: share(hits, alarms / (1 - base), base),
        "the alarms that are false": lambda hits, alarms, base: 1 - share(hits, alarms, base),
        "these are odds": lambda hits, alarms, base: hits / alarms * base / (1 - base),
        "exchanged": lambda hits, alarms, base: share(hits, alarms, 1 - base),
        "raise an alarm": lambda hits, alarms, base: alarms + base * (hits - alarms),
        "this is the base rate": lambda hits, alarms, base: base,
    },
}
