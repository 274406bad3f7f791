"""The claims about swappers (Table 1, Sec. 5.4): how fast, at what cost, how well, printed against CE-Arc.

Curves are averaged over `WINDOW` steps before anything is read off them. The level at which two runs are
compared is the lowest identity loss that both reach; intervals are the lowest and highest over seeds, so with
one seed there is none.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from smoothswap_lib.evaluation import overall_score
from smoothswap_lib.evaluation.claims import Claim, verdict_at_most, verdict_below_one

OURS, RIVAL, SYSTEM = "printed", "ce_arc", "smoothswap"
WINDOW = 100  # steps
QUARTER = 0.25
OVERALL = ("identity_r_judge", "shape_r", "expression_r", "pose_r")
FASTER = "With the printed loss the swapper reaches an identity loss in at most a quarter of ArcFace's steps"
CHEAPER = "At equal identity loss the swapper with the printed loss has a lower change loss than with ArcFace"
BEST = "Best Overall score of all systems"
NOT_TRIED = (
    Claim(FASTER, "Sec. 5.4, Fig. 7", "0.25", "", "", "", "not tried", ""),
    Claim(CHEAPER, "Sec. 5.4, Fig. 7", "lower", "", "", "", "not tried", ""),
    Claim(BEST, "Table 1", "best", "", "", "", "not tried", ""),
)


def smoothed(curves: pd.DataFrame, variant: str, seed: int) -> pd.DataFrame:
    """step, identity and change of one run, averaged over WINDOW steps; the first rows are dropped."""
    run = curves[(curves.variant == variant) & (curves.seed == seed)].sort_values("step")
    rows = round(WINDOW / run.step.diff().median())  # a run logs every 10, another every 25 steps
    rolled = run[["identity", "change"]].astype(float).rolling(rows).mean()
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


def overall_claim(rivals: Mapping, source: str) -> Claim:
    """Is Smooth-Swap the best of the systems that were run (`measure_rivals.py`) and passed their check?

    Reproduced if it stays the best whoever of the others is left out, in trend if it is best among all.
    """
    passed = {n: row for n, row in rivals["systems"].items() if row["check"]["passed"] and "overall" in row}
    table = pd.DataFrame(passed).T.reindex(columns=list(OVERALL)).astype(float)
    if SYSTEM not in table.index or len(table) < 3:
        return NOT_TRIED[2]
    score = overall_score(table).sort_values()
    rank = list(score.index).index(SYSTEM) + 1
    without = {
        name: list(overall_score(table.drop(index=name)).sort_values().index).index(SYSTEM) + 1
        for name in table.index.drop(SYSTEM)
    }
    worst = max(without, key=without.get)
    text = f"rank {rank} of {len(score)}: {score[SYSTEM]:.2f}; without {worst} rank {without[worst]}"
    best = "reproduced" if without[worst] == 1 else "reproduced in trend"
    verdict = best if rank == 1 else "not reproduced"
    steps = f"{rivals['steps']} steps"
    return Claim(BEST, "Table 1", "best", text, f"laptop, {steps}", "1 of each", verdict, source)
