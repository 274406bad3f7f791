"""Count what a profile's networks and training steps ask of a machine: nothing is computed.

    python experiments/count_work.py --out data/work.json

Writes, for each profile, the rows of `costs.networks_table`, and the work of a mean swapper step (R1 in one
of 16) with the whole batch, with a quarter and an eighth of it where that is a whole number of images, with
the whole batch and recomputed blocks, and of an embedder step. Takes minutes: torch counts shapes in Python.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from command import exit_code, parser_of
from results import write_result
from tqdm import tqdm

from experiments import costs
from smoothswap_lib import profiles

SHARES = (1, 4, 8)  # processes that share a batch


def count(profile: profiles.Profile) -> dict:
    """One profile's networks and steps."""
    batch = profile.swapper.batch_size
    recomputed = dataclasses.replace(profile, gradient_checkpointing=True)
    steps = {str(n): costs.mean_swapper_work(profile, batch // n) for n in SHARES if batch % n == 0}
    steps |= {
        "recompute": costs.mean_swapper_work(recomputed, batch),
        "embedder": costs.embedder_work(profile, profile.embedder.batch_size),
    }
    return {
        "batch": batch,
        "networks": costs.networks_table(profile),
        "steps": {name: dataclasses.asdict(work) for name, work in steps.items()},
    }


def work(options: argparse.Namespace) -> None:
    """What the command does."""
    bar = tqdm(options.profiles, desc="profiles", unit="profile")
    write_result({name: count(profiles.get(name)) for name in bar}, options.out)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--profiles", nargs="+", default=["laptop", "paper"], choices=profiles.names())
    parser.add_argument("--out", type=Path, help="JSON to write (default: printed)")
    return exit_code(work, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
