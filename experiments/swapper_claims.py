"""The claims about swappers (Table 1, Sec. 5.4): how fast, at what cost, how well, printed against CE-Arc.

Curves are averaged over `WINDOW` rows before anything is read off them. The level at which two runs are
compared is the lowest identity loss that both reach; intervals are the lowest and highest over seeds, so with
one seed there is none.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from smoothswap_lib.evaluation import over_seeds, overall_score
from smoothswap_lib.evaluation.claims import Claim, verdict_at_most, verdict_below_one

OURS, RIVAL = "printed", "ce_arc"
WINDOW = 4  # rows: 100 steps
QUARTER = 0.25
OVERALL = tuple(f"{name}{form}" for name in ("shape", "expression", "pose") for form in ("", "_r"))
OVERALL = ("identity_judge", "identity_r_judge", *OVERALL)
FASTER = "With the printed loss the swapper reaches an identity loss in at most a quarter of ArcFace's steps"
CHEAPER = "At equal identity loss the swapper with the printed loss has a lower change loss than with ArcFace"
BEST = "Best Overall score of all systems"
NOT_TRIED = (
    Claim(FASTER, "Sec. 5.4, Fig. 7", "0.25", "", "", "", "not tried", ""),
    Claim(CHEAPER, "Sec. 5.4, Fig. 7", "lower", "", "", "", "not tried", ""),
    Claim(BEST, "Table 1", "best", "", "", "", "not tried", ""),
)


def smoothed(curves: pd.DataFrame, variant: str, seed: int) -> pd.DataFrame:
    """step, identity and change of one run, averaged over WINDOW rows; the first ones are dropped."""
    run = curves[(curves.variant == variant) & (curves.seed == seed)].sort_values("step")
    rolled = run[["identity", "change"]].astype(float).rolling(WINDOW).mean()
    return rolled.assign(step=run.step).dropna().reset_index(drop=True)


def at_equal_identity(curves: pd.DataFrame, seed: int) -> dict[str, float]:
    """Where two runs first reach the lowest identity loss that both reach: steps and change loss of each."""
    runs = {name: smoothed(curves, name, seed) for name in (OURS, RIVAL)}
    level = max(run.identity.min() for run in runs.values())
    found = {"level": level}
    for name, run in runs.items():
        first = run[run.identity <= level].iloc[0]
        found |= {f"steps_{name}": float(first.step), f"change_{name}": float(first.change)}
    return found


def _ratio(found: list[dict], key: str) -> tuple[float, float, float, float, float]:
    """Ratio of the means of ours to the rival's, its extremes over seeds, and the two means."""
    ours, theirs = (np.array([row[f"{key}_{name}"] for row in found]) for name in (OURS, RIVAL))
    each = ours / theirs
    mean = ours.mean() / theirs.mean()
    return mean, min(mean, each.min()), max(mean, each.max()), ours.mean(), theirs.mean()


def curve_claims(curves: pd.DataFrame, source: str) -> list[Claim]:
    """The two claims of Fig. 7."""
    seeds = sorted(set.intersection(*(set(curves[curves.variant == name].seed) for name in (OURS, RIVAL))))
    if not seeds:
        return list(NOT_TRIED[:2])
    found = [at_equal_identity(curves, int(seed)) for seed in seeds]
    level = np.mean([row["level"] for row in found])
    rows = []
    for claim, paper, key, digits, verdict_on in (
        (FASTER, "0.25", "steps", 0, partial(verdict_at_most, limit=QUARTER)),
        (CHEAPER, "lower", "change", 4, verdict_below_one),
    ):
        mean, low, high, ours, theirs = _ratio(found, key)
        interval = f" [{low:.2f}, {high:.2f}]" if len(seeds) > 1 else ""
        text = f"{mean:.2f}{interval} = {ours:.{digits}f} / {theirs:.{digits}f}"
        text += f", at an identity loss of {level:.2f}"
        verdict = verdict_on(mean, low, high)
        count = f"{len(seeds)} against {len(seeds)}"
        rows.append(Claim(claim, "Sec. 5.4, Fig. 7", paper, text, "laptop", count, verdict, source))
    return rows


def overall_claim(swappers: Mapping[str, dict], source: str) -> Claim:
    """Is the printed loss's swapper the best of our variants of equal steps, each the mean of its seeds?

    The shipped swapper was trained longer and is not among them.
    """
    if f"{OURS}-0" not in swappers["systems"]:
        return NOT_TRIED[2]
    runs = pd.DataFrame(swappers["systems"]).T
    table, counts = over_seeds(runs.loc[runs.steps == runs.steps[f"{OURS}-0"], list(OVERALL)])
    if len(table) < 3:
        return NOT_TRIED[2]
    score = overall_score(table).sort_values()
    rank = list(score.index).index(OURS) + 1
    text = f"rank {rank} of {len(score)}: {score[OURS]:.2f}; best {score.index[0]}, {score.iloc[0]:.2f}"
    verdict = "reproduced" if rank == 1 else "not reproduced"
    others = sorted({str(count) for count in counts.drop(OURS)})
    seeds = f"{counts[OURS]} of ours, {' or '.join(others)} of others"
    return Claim(BEST, "Table 1", "best", text, "laptop", seeds, verdict, source)
