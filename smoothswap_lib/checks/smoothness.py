"""Self-checks of the exercises on smoothness: the arc between two identities, a verdict on intervals."""

from collections.abc import Callable
from types import SimpleNamespace

import torch
import torch.nn.functional as F

from smoothswap_lib import smoothness
from smoothswap_lib.checks.base import NO_RETURN, draw, judge, say_right, wrong


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
