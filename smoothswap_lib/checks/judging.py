"""Self-checks of the exercises on judging swaps: dist-R, and the bootstrap over people."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from smoothswap_lib.checks.base import draw, judge


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
