"""The shipped swapper's own training, in pictures and curves, for notebook 06.

    python experiments/collect_long_run.py --runs build/begun build/swapper --out data/long_run

The runs follow each other: the second one began with the networks of the first. Writes OUT/progress.avif with
progress.json (`datasets.read_progress`), a row a pair of the previews: source, target, the swap after
about 1/16, 1/8, 1/4, 1/2 and all of the steps; and OUT/curves.parquet, all metrics with steps counted on.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from collect_swappers import COLUMNS, progress, write_progress
from command import exit_code, parser_of
from results import write_table

PAIRS = 6
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)  # of all steps: one picture each


def joined(runs: Sequence[Path]) -> tuple[pd.DataFrame, list[tuple[int, Path, int]]]:
    """All metrics with steps counted on, and each preview's step in all, its run and its step there."""
    tables, previews, before = [], [], 0
    for number, run in enumerate(runs):
        table = pd.read_parquet(run / "metrics.parquet").reindex(columns=list(COLUMNS)).astype("float32")
        table["step"] = table.step.astype(int) + before
        table.insert(0, "run", np.int8(number))
        tables.append(table)
        there = sorted(int(path.stem.split("_")[1]) for path in (run / "previews").glob("step_*.png"))
        previews += [(before + step, run, step) for step in there]
        before = int(table.step.max())
    return pd.concat(tables, ignore_index=True), previews


def chosen(previews: list[tuple[int, Path, int]]) -> list[tuple[int, Path, int]]:
    """The previews nearest to SHARES of all steps, each once."""
    last = previews[-1][0]
    return sorted({min(previews, key=lambda p, share=share: abs(p[0] - share * last)) for share in SHARES})


def work(options: argparse.Namespace) -> None:
    """What the command does."""
    table, previews = joined(options.runs)
    if not previews:
        raise FileNotFoundError(f"{options.runs[0]} has no previews: train it with another preview_every")
    shown = chosen(previews)
    options.out.mkdir(parents=True, exist_ok=True)
    write_table(table, options.out / "curves.parquet")
    picture = progress([(run, step) for _, run, step in shown], PAIRS)
    write_progress(options.out, picture, ["swapper"], PAIRS, [step for step, _, _ in shown])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="runs, in their order")
    parser.add_argument("--out", type=Path, default=Path("data/long_run"))
    return exit_code(work, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
