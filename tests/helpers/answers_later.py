"""Right and typical wrong answers to the exercises of notebooks 07, 08 and 10, which test_checks.py runs."""

import math

import numpy as np
import torch


def euclid(a, b):
    return ((a - b) ** 2).sum(-1).sqrt()


def relative(swap, source, target, gap=euclid):
    return 1 / (1 + gap(swap, target) / gap(swap, source))


def redrawn(values, source, target, drawn, ends=None, count=None, divide=None):
    """By loops: the mean over pairs, each as often as its people were drawn; with switches for mistakes."""
    count = count or (lambda person: sum(int(d) == person for d in drawn))
    ends = ends or (lambda s, t: count(s) * count(t))
    weights = [ends(int(s), int(t)) for s, t in zip(source, target)]
    total = sum(w * v for w, v in zip(weights, values))
    return total / (sum(weights) if divide is None else divide(weights))


def times(drawn):
    return lambda person: int((drawn == person).sum())


def steps_to(step, loss, level):
    for k, value in zip(step, loss):
        if value <= level:
            return k
    return math.nan


def verdict(value, low, high, limit, neutral):
    if value <= limit:
        return "reproduced"
    return "reproduced in trend" if high < neutral else "not reproduced"


def r1_part(dear, plain, interval):
    return (dear - plain) / sum([dear] + (interval - 1) * [plain])


def seconds(work, machine, n, ring=None, calls=1, alone=None):
    """By the equation, with switches for mistakes."""
    parts = work.flops / machine.flops, work.traffic / machine.bandwidth
    ring = 2 * (n - 1) / n if ring is None else ring
    alone = sum(parts) if alone is None else alone(parts)
    return alone + calls * work.operations * machine.overhead + ring * work.gradients / machine.link


def joined(gradients, images, weight=lambda count: count, divide=sum):
    total = sum(weight(count) * gradient for count, gradient in zip(images, gradients))
    return total / divide([weight(count) for count in images])


RIGHT = {
    "relative_distance": relative,
    "redrawn_mean": redrawn,
    "steps_to_level": steps_to,
    "claim_verdict": verdict,
    "r1_share": r1_part,
    "step_seconds": seconds,
    "joined_gradient": joined,
}
WRONG = {
    "relative_distance": {
        "the other way round": lambda swap, source, target: relative(swap, target, source),
        "not by the one to the target": lambda swap, source, target: (
            euclid(swap, source) / euclid(swap, target)
        ),
        "not by that of source and target": lambda a, s, t: euclid(a, s) / euclid(s, t),
        "division by the sum of both distances is missing": lambda a, s, t: euclid(a, s),
        "the root is missing": lambda *z: relative(*z, gap=lambda a, b: euclid(a, b) ** 2),
        "square, add, take the root": lambda *z: relative(*z, gap=lambda a, b: (a - b).abs().sum(1)),
        "made of cosines": lambda *z: relative(*z, gap=lambda a, b: 1 - torch.cosine_similarity(a, b)),
        "wrong axis": lambda *z: relative(*z, gap=lambda a, b: (a - b).norm(dim=0)),
        "one distance for the whole batch": lambda *z: relative(*z, gap=lambda a, b: (a - b).norm()),
        "the mean comes later": lambda *z: relative(*z).mean(),
        "ratio of means": lambda a, s, t: 1 / (1 + euclid(a, t).mean() / euclid(a, s).mean()),
    },
    "redrawn_mean": {
        "nothing was redrawn": lambda values, source, target, drawn: values.mean(),
        "redraw people, not pairs": lambda values, source, target, drawn: values[drawn].mean(),
        "the target counts too": lambda *a: redrawn(*a, ends=lambda s, t: times(a[3])(s)),
        "the source counts too": lambda *a: redrawn(*a, ends=lambda s, t: times(a[3])(t)),
        "do not add": lambda *a: redrawn(*a, ends=lambda s, t: times(a[3])(s) + times(a[3])(t)),
        "asks only who was drawn": lambda *a: redrawn(*a, count=lambda person: int(person in a[3])),
        "not by the number of pairs": lambda *a: redrawn(*a, divide=len),
        "this is the sum alone": lambda *a: redrawn(*a, divide=lambda weights: 1),
        "not by the pairs that are left": lambda *a: redrawn(*a, divide=np.count_nonzero),
    },
    "steps_to_level": {
        "this is the row": lambda step, loss, level: np.flatnonzero(loss <= level)[0],
        "a NaN is no loss yet": lambda step, loss, level: step[~(loss > level)][0],
        "from which on the loss stays there": lambda step, loss, level: step[
            np.flatnonzero(loss > level)[-1] + 1
        ],
        "not the lowest point": lambda step, loss, level: step[np.nanargmin(loss)],
        "the first step, not the last": lambda step, loss, level: step[loss <= level][-1],
        "not nearest to it": lambda step, loss, level: step[np.nanargmin(abs(loss - level))],
        "the first step above": lambda step, loss, level: step[loss > level][0],
        "nothing is interpolated": lambda step, loss, level: np.interp(-level, -loss[2:4], step[2:4]),
        "counts the rows": lambda step, loss, level: (loss <= level).sum(),
        "<=, not <": lambda step, loss, level: step[loss < level][0],
        "the answer is NaN (now: IndexError)": lambda step, loss, level: step[loss <= level][0],
        "the answer is NaN, not 20": lambda step, loss, level: step[np.argmax(loss <= level)],
    },
    "claim_verdict": {
        "the other way round": lambda value, low, high, limit, neutral: (
            "not reproduced" if value <= limit else "reproduced"
        ),
        "'no' is no verdict": lambda value, low, high, limit, neutral: "yes" if value <= limit else "no",
        "a value below the limit is what was claimed": lambda *a: "not reproduced",
        "on the wrong side of neutral": lambda *a: "reproduced",
        "all of the interval below neutral": lambda value, low, high, limit, neutral: (
            "reproduced" if value <= limit else "not reproduced"
        ),
        "no difference is possible too": lambda value, low, high, limit, neutral: verdict(
            value, low, value, limit, neutral
        ),
        "not the interval's end": lambda value, low, high, limit, neutral: verdict(
            high, low, high, limit, neutral
        ),
        "holds the limit itself": lambda value, low, high, limit, neutral: verdict(
            value + 1e-9, low, high, limit, neutral
        ),
        "of a difference it is 0": lambda value, low, high, limit, neutral: verdict(
            value, low, high, limit, 1
        ),
    },
    "r1_share": {
        "divide what it adds by the interval": lambda dear, plain, k: (dear - plain) / dear,
        "in both places": lambda dear, plain, k: (dear - plain) / (plain + (dear - plain) / k),
        "not by one without R1": lambda dear, plain, k: (dear - plain) / k / plain,
        "not by one with R1": lambda dear, plain, k: (dear - plain) / k / dear,
        "take a step without it away": lambda dear, plain, k: dear / (dear + (k - 1) * plain),
        "divide them by the mean step": lambda dear, plain, k: (dear - plain) / k,
        "R1's part of them is asked": lambda dear, plain, k: (dear + (k - 1) * plain) / k,
        "everything else": lambda *a: 1 - r1_part(*a),
        "this is in percent": lambda *a: 100 * r1_part(*a),
    },
    "step_seconds": {
        "the exchange is missing": lambda *a: seconds(*a, ring=0),
        "needs the ring's factor": lambda *a: seconds(*a, ring=1),
        "factor has a 2": lambda *a: seconds(*a, ring=(a[2] - 1) / a[2]),
        "factor is divided by n": lambda *a: seconds(*a, ring=2 * (a[2] - 1)),
        "the time of the calls is missing": lambda *a: seconds(*a, calls=0),
        "nothing overlaps": lambda *a: seconds(*a, alone=max),
        "one process' share already": lambda *a: (
            seconds(*a) - seconds(*a, ring=0) + seconds(*a, ring=0) / a[2]
        ),
        "not by the memory's bandwidth": lambda work, machine, n: (
            seconds(work, machine, n, ring=0) + 2 * (n - 1) / n * work.gradients / machine.bandwidth
        ),
        "one process exchanges nothing": lambda *a: seconds(*a, ring=1.5),
    },
    "joined_gradient": {
        "this is the plain mean": lambda gradients, images: gradients.mean(0),
        "the sum of the gradients": lambda gradients, images: gradients.sum(0),
        "this is the weighted sum": lambda *a: joined(*a, divide=lambda weights: 1),
        "not of processes": lambda *a: joined(*a, divide=len),
        "upside down": lambda *a: joined(*a, weight=lambda count: 1 / count),
        "do not divide it by them": lambda gradients, images: joined(
            gradients, images, weight=lambda count: 1 / count, divide=lambda weights: images.sum()
        ),
        "add over the processes": lambda gradients, images: gradients * images[:, None] / images.sum(),
    },
}
