"""Train the embedders of Table 2 alike: the same trunk, data, steps and batches, another loss, several seeds.

    python experiments/train_embedders.py --out build/embedders --ship

Runs that were stopped go on where they stood and finished ones are not touched, so the same command is given
again until nothing is left. The first seed's weights are shipped as `data/checkpoints/LOSS.safetensors` by
--ship; the learning curves of all go to the file of --curves: a row every `log_every` steps, and every
`preview_every` steps what `vector_judge.py` asks, and `d_smooth` (r = .5) between the test split's free
images in a fixed gallery of two images of each train identity.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas
from command import exit_code, parser_of
from embedding import embed_rows
from results import write_table
from torch import nn
from vector_judge import VectorJudge

from smoothswap_lib import profiles, smoothness, training
from smoothswap_lib.datasets import TrueSwap
from smoothswap_lib.profiles import EMBEDDER_LOSSES
from smoothswap_lib.training import apply_settings, ship

GALLERY_PER_IDENTITY, PAIRS = 2, 1000  # of d_smooth along training: small, for it is measured often


class Judge:
    """The learning curve's numbers: what the vector holds and where its gradient points, and d_smooth."""

    def __init__(self, train: TrueSwap, test: TrueSwap, twins: TrueSwap, cache: Path) -> None:
        self.vector = VectorJudge(train, test, twins, cache)
        order = np.random.default_rng(0).permutation(len(train))
        rank = pandas.Series(train.identities[order]).groupby(train.identities[order]).cumcount()
        self.gallery = order[rank < GALLERY_PER_IDENTITY]

    def __call__(self, module: nn.Module) -> Mapping[str, float]:
        """All numbers, by name."""
        train, test, free = self.vector.train, self.vector.test, self.vector.free
        z, z_gallery = embed_rows(test, free, module), embed_rows(train, self.gallery, module)
        smooth = smoothness.smoothness_score(z, z_gallery, 0.5, PAIRS, identity=test.identities[free])
        return {**self.vector(module), "d_smooth": smooth.mean}


def curves(results: Mapping[tuple[str, int], training.TrainingResult]) -> pandas.DataFrame:
    """All runs' metrics, one under the other, with the loss' name and the seed."""
    rows = [
        {"embedder": loss, "seed": seed, **row}
        for (loss, seed), result in results.items()
        for row in result.metrics
    ]
    table = pandas.DataFrame(rows)
    # single precision: half the bytes
    return table.astype({name: "float32" for name in table if table[name].dtype == "float64"})


def work(options: argparse.Namespace) -> None:
    """What the command does."""
    results = {}
    profile = apply_settings(profiles.get(options.profile), "embedder", options.set)
    train = training.open_data(options.train, "embedder", profile.size)
    splits = (TrueSwap(folder, size=profile.size) for folder in (options.test, options.twins))
    judge = Judge(train, *splits, options.out / "cache")
    # Seed by seed, so that a comparison exists as soon as possible.
    for seed, loss in ((seed, loss) for seed in options.seeds for loss in options.losses):
        started = time.monotonic()
        folder = options.out / f"{loss}-{seed}"
        results[loss, seed] = result = training.train_embedder(
            profile.override("embedder", {"loss": loss}),
            folder,
            train,
            seed,
            resume=True,
            judge=judge,
        )
        print(f"{folder}: {result.steps} steps, {time.monotonic() - started:.0f} s now")
        if options.ship and seed == options.seeds[0]:
            print(f"shipped {ship(folder, loss, judge)}")
        if options.curves:
            write_table(curves(results), options.curves)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/embedders"), help="folder of the runs")
    parser.add_argument("--profile", default="laptop", choices=profiles.names())
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a number of the embedder, repeatable",
    )
    parser.add_argument("--losses", nargs="+", default=EMBEDDER_LOSSES, choices=EMBEDDER_LOSSES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--train", default="train", help="a TrueSwap split or a built folder")
    parser.add_argument("--test", default="test", help="the split of the learning curves")
    parser.add_argument("--twins", default="twins", help="the split of people who share all colors")
    parser.add_argument("--ship", action="store_true", help="ship the first seed's weights")
    parser.add_argument("--curves", type=Path, help="Parquet file of all learning curves")
    options = parser.parse_args(arguments)
    return exit_code(work, options)


if __name__ == "__main__":
    sys.exit(main())
