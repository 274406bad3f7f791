"""Write the claims ledger, data/claims.csv, from what was measured: the paper's claim, our value, a verdict.

    python experiments/write_claims.py

Needs data/embedders.json (of measure_embedders.py); takes rivals.json (measure_rivals.py) and
swappers.parquet (collect_swappers.py) if there are any. What is not measured is "not tried".

A value is a ratio (of R2, a difference) of two means over seeds. Its interval is wide on purpose: the
lowest bound of one over the highest of the other and the other way round, whatever the seed, each bound being
that of a run's own 95 % interval (people redrawn). "At most" claims take the paper's own ratio as the limit;
where the paper only says that one is lower, the whole interval has to say so.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from command import parser_of
from swapper_claims import NOT_TRIED, curve_claims, overall_claim

from smoothswap_lib.evaluation.claims import Claim, verdict_at_most, verdict_below_one, write_claims
from smoothswap_lib.files import data_folder

RIVALS = {"ce_arc": "CE-Arc", "ce_lin": "CE-Lin"}
# Table 2: d_smooth with samples at r = .25 and .5, with StyleGAN2 at .5; AUC on VGGFace2
PAPER = {
    "printed": (0.116, 0.135, 0.671, 0.994),
    "ce_arc": (0.404, 0.430, 0.914, 0.997),
    "ce_lin": (0.333, 0.354, 0.797, 0.994),
}
PAPER_UNIQUE = {"printed": 5.13, "arcface": 4.25}  # end of Sec. 5.5
AUC_COST = 0.005
UNIQUE_PAIRS = 64


class Score:
    """One number of an embedder with its interval, over seeds."""

    def __init__(self, runs: Mapping[str, dict], read: Callable[[dict], Mapping[str, float]]) -> None:
        if not runs:
            raise ValueError("an embedder without any run: measure_embedders.py measures them")
        values = [read(run) for run in runs.values()]
        self.mean = sum(value["mean"] for value in values) / len(values)
        self.low, self.high = (f(v[k] for v in values) for f, k in ((min, "low"), (max, "high")))

    def over(self, other: "Score") -> tuple[float, float, float]:
        """Ratio of the means, and its widest interval."""
        return self.mean / other.mean, self.low / other.high, self.high / other.low


def text(ratio: Sequence[float], ours: Score, theirs: Score) -> str:
    """The ratio with its interval, and what it is the ratio of."""
    value, low, high = ratio
    return f"{value:.2f} [{low:.2f}, {high:.2f}] = {ours.mean:.3f} / {theirs.mean:.3f}"


def smoothness_claims(runs: Mapping[str, dict], row: Callable[..., Claim]) -> list[Claim]:
    """Table 2."""
    columns = (
        ("samples, r = .25", lambda run: run["table_2"]["d_smooth_r0.25"]),
        ("samples, r = .5", lambda run: run["table_2"]["d_smooth_r0.5"]),
        ("a generator (here: the renderer), r = .5", lambda run: run["renderer"]["identity"]),
    )
    result = []
    for rival, name in RIVALS.items():
        for k, (column, read) in enumerate(columns):
            ours, theirs = Score(runs["printed"], read), Score(runs[rival], read)
            ratio, limit = ours.over(theirs), PAPER["printed"][k] / PAPER[rival][k]
            paper = f"{limit:.2f} = {PAPER['printed'][k]} / {PAPER[rival][k]}"
            verdict = verdict_at_most(*ratio, limit=limit)
            result.append(
                row(f"The paper's d_smooth over {name}'s, with {column}", "Table 2", paper,
                    text(ratio, ours, theirs), (rival,), verdict)
            )  # fmt: skip
    return result


def verification_claims(runs: Mapping[str, dict], row: Callable[..., Claim]) -> list[Claim]:
    """Smoothness "at no cost": AUC at least that of the rival, but for AUC_COST."""
    aucs = {
        loss: [run["table_2"]["auc_pairs"] for run in runs[loss].values()] for loss in ("printed", *RIVALS)
    }
    result = []
    for rival, name in RIVALS.items():
        ours, theirs = aucs["printed"], aucs[rival]
        mean = sum(theirs) / len(theirs) - sum(ours) / len(ours)
        low, high = min(theirs) - max(ours), max(theirs) - min(ours)
        verdict = verdict_at_most(mean, low, high, limit=AUC_COST, neutral=0)
        both = f"{sum(theirs) / len(theirs):.4f} - {sum(ours) / len(ours):.4f}"
        cost = f"{mean:+.4f} [{low:+.4f}, {high:+.4f}] = {both}"
        paper = f"{PAPER[rival][3] - PAPER['printed'][3]:+.3f} = {PAPER[rival][3]} - {PAPER['printed'][3]}"
        result.append(
            row(f"Verification AUC that the paper's gives away to {name}: at most {AUC_COST}",
                "Table 2, VGG2", paper, cost, (rival,), verdict)
        )  # fmt: skip
    return result


def unique_claim(runs: Mapping[str, dict], row: Callable[..., Claim]) -> Claim:
    """The count at the end of Sec. 5.5."""

    def read(run: dict) -> dict:
        mean, deviation = (run["table_2"]["unique_of_9"][key] for key in ("mean", "deviation"))
        half = 1.96 * deviation / UNIQUE_PAIRS**0.5
        return {"mean": mean, "low": mean - half, "high": mean + half}

    ours, theirs = Score(runs["printed"], read), Score(runs["ce_arc"], read)
    ratio, limit = theirs.over(ours), PAPER_UNIQUE["arcface"] / PAPER_UNIQUE["printed"]
    paper = f"{limit:.2f} = {PAPER_UNIQUE['arcface']} / {PAPER_UNIQUE['printed']}"
    verdict = verdict_at_most(*ratio, limit=limit)
    claim = "Different images met on an interpolation: ArcFace's over the paper's"
    return row(claim, "Sec. 5.5, Fig. 9", paper, text(ratio, theirs, ours), ("ce_arc",), verdict)


def control_claims(runs: Mapping[str, dict], row: Callable[..., Claim]) -> list[Claim]:
    """What the paper argues and could not measure: the whole interval has to say so."""
    controls = (
        ("A classifier moves less when one person ages from 25 to 90 (angle of the walk): {}'s over "
         "the paper's",
         "Sec. 4.1", lambda run: run["walks"]["age"]["span"], True),
        ("The paper's largest step on a walk from one person to another is smaller: over {}'s",
         "Sec. 3.3, Fig. 3", lambda run: run["walks"]["another person"]["largest_step"], False),
        ("A classifier's gradient points less to the true swap (cosine, 8 x 8 means): {}'s over the paper's",
         "Sec. 3.3", lambda run: run["gradients"]["whole_swap_pool8"], True),
    )  # fmt: skip
    result = []
    for key, what in (("face shape 1", "of the main difference of face shapes"),
                      ("state.age within a person", "of one person's changes of age")):  # fmt: skip
        for rival, name in RIVALS.items():
            ours, theirs = (Score(runs[loss], lambda run, key=key: run["kept_r2"][key])
                            for loss in ("printed", rival))  # fmt: skip
            difference = (theirs.mean - ours.mean, theirs.low - ours.high, theirs.high - ours.low)
            shown = "{:+.3f} [{:+.3f}, {:+.3f}] = ".format(*difference)
            shown += f"{theirs.mean:.3f} - {ours.mean:.3f}"
            result.append(
                row(f"A classifier keeps less {what} (R2 of a ridge probe): {name}'s minus the paper's",
                    "Sec. 4.1", "below 0 (argued)", shown, (rival,),
                    "reproduced" if difference[2] < 0 else "not reproduced")
            )  # fmt: skip
    for claim, where, read, rival_first in controls:
        for rival, name in RIVALS.items():
            ours, theirs = Score(runs["printed"], read), Score(runs[rival], read)
            first, second = (theirs, ours) if rival_first else (ours, theirs)
            ratio = first.over(second)
            result.append(
                row(claim.format(name), where, "below 1 (argued)", text(ratio, first, second), (rival,),
                    verdict_below_one(*ratio))
            )  # fmt: skip
    return result


def embedder_claims(runs: Mapping[str, dict], source: str) -> list[Claim]:
    """All claims about embedders, from the content of embedders.json."""

    def row(claim: str, where: str, paper: str, ours: str, rivals: Sequence[str], verdict: str) -> Claim:
        seeds = f"{len(runs['printed'])} against {len(runs[rivals[0]])}"
        return Claim(claim, where, paper, ours, "laptop", seeds, verdict, source)

    rows = smoothness_claims(runs, row) + verification_claims(runs, row) + [unique_claim(runs, row)]
    return rows + control_claims(runs, row)


def swapper_claims(rivals: Path, curves: Path) -> list[Claim]:
    """The claims about swappers, from the files that are there."""
    rows = list(NOT_TRIED)
    if curves.exists():
        rows[:2] = curve_claims(pd.read_parquet(curves), f"data/{curves.name}")
    if rivals.exists():
        rows[2] = overall_claim(json.loads(rivals.read_text(encoding="utf-8")), f"data/{rivals.name}")
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--embedders", type=Path, default=data_folder() / "embedders.json")
    parser.add_argument("--rivals", type=Path, default=data_folder() / "rivals.json")
    parser.add_argument("--curves", type=Path, default=data_folder() / "swappers.parquet")
    parser.add_argument("--out", type=Path, default=data_folder() / "claims.csv")
    options = parser.parse_args(arguments)
    try:
        runs = json.loads(options.embedders.read_text(encoding="utf-8"))
        rows = embedder_claims(runs, f"data/{options.embedders.name}")
        rows += swapper_claims(options.rivals, options.curves)
        tried = sum(row.verdict != "not tried" for row in rows)
        print(f"{write_claims(rows, options.out)}: {tried} claims tried, {len(rows) - tried} not yet")
    except (OSError, KeyError, ValueError) as error:
        print(f"error: {options.embedders}: {error!r}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
