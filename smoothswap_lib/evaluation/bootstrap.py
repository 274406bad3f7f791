"""A mean and how far it would move with other people: the bootstrap that redraws whole identities."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

BOOTSTRAP_DRAWS = 1000


@dataclass(frozen=True)
class Interval:
    """A mean; `low` and `high` bound its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def as_array(values, name: str, dims: int) -> np.ndarray:
    """A tensor or array as finite float64 with `dims` axes; one column (N,) serves as (N, 1)."""
    values = values.detach().cpu() if isinstance(values, Tensor) else values
    values = np.asarray(values, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 and dims == 2 else values
    if values.ndim != dims or not values.size:
        raise ValueError(f"{name} must have {dims} axes and not be empty, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinite numbers; leave these rows out")
    return values


def groups_of(identity, rows: int) -> np.ndarray:
    """The number 0..G-1 of each row's identity, (rows,) int."""
    identity = np.asarray(identity)
    if identity.shape != (rows,):
        raise ValueError(f"identity must hold one value for each of the {rows} rows, got {identity.shape}")
    return np.unique(identity, return_inverse=True)[1]


def ratio_interval(numerator, denominator, people, draws: int, rng: np.random.Generator) -> list[float]:
    """95 % interval of a ratio of means over pairs, (N,) each, when whole people are redrawn.

    `people` are the two ends of each pair, twice (N,) int; a pair counts as often as both were drawn.
    """
    count, ratios = 1 + int(max(part.max() for part in people)), []
    for _ in range(draws):
        drawn = np.bincount(rng.integers(count, size=count), minlength=count)
        weight = drawn[people[0]] * drawn[people[1]]
        ratios.append((weight * numerator).sum() / (weight * denominator).sum())
    return [float(value) for value in np.quantile(ratios, [0.025, 0.975])]


def mean_interval(values, identity=None, seed: int = 0) -> Interval:
    """Mean with a 95 % bootstrap interval of one number an image or a walk, (N,).

    Images of one face are not independent: with `identity` (N,), whole identities are redrawn.
    """
    values = as_array(values, "values", 1)
    group = groups_of(np.arange(len(values)) if identity is None else identity, len(values))
    total, count = np.bincount(group, values), np.bincount(group)  # (G,) each
    if len(count) < 2:
        raise ValueError("a bootstrap needs at least two rows, and two identities where these are given")
    even = np.full(len(count), 1 / len(count))
    draws = np.random.default_rng(seed).multinomial(len(count), even, size=BOOTSTRAP_DRAWS)  # (draws, G)
    low, high = np.quantile((draws @ total) / (draws @ count), [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))
