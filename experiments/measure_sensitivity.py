"""How d_smooth depends on temperature, width, steps and color jitter: SupCon runs, measured alike.

    for T in 0.03 0.07 0.2; do python experiments/train_embedders.py --losses supcon --seeds 0 \\
        --out build/sensitivity/t$T --set steps=1000 --set temperature=$T; done
    python experiments/measure_sensitivity.py --runs build/sensitivity/*/supcon-0 --out data/sensitivity.json

A row a run: its numbers, the columns of Table 2 (whole train split as gallery), and what a ridge probe finds;
kept in the run's folder, too.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from command import exit_code, parser_of
from embedding import embed_rows
from measure_embedders import Faces, kept, table_2
from results import kept_result, write_result
from tqdm import tqdm

from smoothswap_lib import checkpoints
from smoothswap_lib.datasets import TrueSwap

NUMBERS = ("loss", "temperature", "dim", "steps", "color_jitter", "gray_share")


def measure(run: Path, faces: Faces) -> dict:
    """One run's numbers, its columns of Table 2, and what a ridge probe finds."""
    numbers = json.loads((run / "profile.json").read_text(encoding="utf-8"))["profile"]["embedder"]
    network = checkpoints.load_embedder(run)
    z = [embed_rows(data, np.arange(len(data)), network) for data in (faces.test, faces.train)]
    row = {name: numbers.get(name, 0.0) for name in NUMBERS}
    return row | table_2(faces.test, *z, seed=0) | {"kept_r2": kept(faces, *z)}


def work(options: argparse.Namespace) -> None:
    """What the command does."""
    faces = Faces(TrueSwap("train"), TrueSwap("test"), options.probes)
    rows = [
        kept_result(run / "sensitivity.json", options.again, lambda run=run: measure(run, faces))
        for run in tqdm(options.runs, unit="run")
    ]
    write_result({"runs": rows}, options.out)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="folders of finished runs")
    parser.add_argument("--probes", type=Path, default=Path("build/probes"))
    parser.add_argument("--again", action="store_true", help="measure runs that were measured before, too")
    parser.add_argument("--out", type=Path, help="JSON to write (default: printed)")
    options = parser.parse_args(arguments)
    return exit_code(work, options)


if __name__ == "__main__":
    sys.exit(main())
