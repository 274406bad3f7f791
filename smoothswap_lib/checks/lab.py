"""Self-checks of the exercises on the swap lab: a difference of pictures, a film between two identities."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from smoothswap_lib import smoothness
from smoothswap_lib.checks.base import draw, judge


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
