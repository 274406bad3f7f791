"""What all self-checks share: how an answer is compared, and what is said of it."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

NO_RETURN = "returns nothing: is the return missing?"


class WrongAnswer(AssertionError):
    """A student's function gave something else than the exercise asks for; the message says what."""


def draw(*shape: int) -> Tensor:
    """The same random float64 numbers each time, without touching the global seed."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


def wrong(function: Callable, message: str) -> WrongAnswer:
    """The error to raise, with the name of the student's function before the message."""
    return WrongAnswer(f"{getattr(function, '__name__', 'the answer')}: {message}")


def say_right(function: Callable) -> None:
    """Print that a student's function is right."""
    print(f"{getattr(function, '__name__', 'the answer')}: right")


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-7)


def judge(
    function: Callable, answer: Any, right: Any, mistakes: Mapping[str, Any], praise: bool = True
) -> None:
    """Print that the answer is right, or raise `WrongAnswer` with the mistake that explains it best.

    Parameters
    ----------
    answer : what the student's function gave, a number, an array or a tensor
    right : the same shape
    mistakes : message -> what somebody who makes this mistake would give; the first that fits is told
    praise : False if more is asked before the answer counts as right
    """
    if answer is None:
        raise wrong(function, NO_RETURN)
    try:
        given = torch.as_tensor(answer).detach().double()
    except (TypeError, ValueError, RuntimeError):
        raise wrong(function, f"a number or a tensor is expected, got a {type(answer).__name__}") from None
    right = torch.as_tensor(right).detach().double()
    if _same(given, right):
        return say_right(function) if praise else None
    for message, value in mistakes.items():
        if _same(given, torch.as_tensor(value).detach().double()):
            raise wrong(function, message)
    if given.shape != right.shape:
        raise wrong(function, f"the shape is {tuple(given.shape)}, expected {tuple(right.shape)}")
    if not given.isfinite().all():
        raise wrong(function, "the answer has values that are not finite")
    if _same(given, -right):
        raise wrong(function, "the sign is wrong")
    factor = (given * right).sum() / right.square().sum()
    plain = right.numel() > 1 or min(abs(f - f.round()) for f in (factor, 1 / factor)) < 1e-4 < factor.abs()
    if plain and _same(given, factor * right):  # one number is a multiple of any other: only whole factors
        raise wrong(function, f"a factor of {factor:.4g} too large")
    worst = (given - right).abs().max()
    raise wrong(function, f"differs from the right answer by up to {worst:.4g}, and by no usual mistake")
