"""Self-checks of the exercises on the ablations: steps to a level, and the verdict on a claim."""

from collections.abc import Callable

import numpy as np

from smoothswap_lib.checks.base import NO_RETURN, judge, say_right, wrong


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
