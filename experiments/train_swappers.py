"""Train the swapper's variants under one modest budget each: another embedder, weight, or a part left out.

    python experiments/train_swappers.py --out build/swappers
    python experiments/train_swappers.py --out build/swappers --variants robust printed --seeds 0 1

The same data, batches and first weights for all of a seed. `robust` is the profile's recipe; `printed`,
`supcon`, `ce_lin` and `ce_arc` have that embedder instead, and the others change one thing of the recipe.
Runs that were stopped go on where they stood, finished ones are not touched.
"""

import argparse
import sys
import time
from pathlib import Path

from command import exit_code, parser_of

from smoothswap_lib import profiles, training
from smoothswap_lib.training import apply_settings

# name: embedder, what is changed
VARIANTS = {
    "robust": ("robust", {}),
    "printed": ("printed", {}),
    "supcon": ("supcon", {}),
    "ce_arc": ("ce_arc", {}),
    "ce_lin": ("ce_lin", {}),
    "identity_1": ("robust", {"lambda_id": 1.0}),
    "change_5": ("robust", {"lambda_chg": 5.0}),
    "no_change": ("robust", {"lambda_chg": 0.0}),
    "no_adversarial": ("robust", {"lambda_adv": 0.0}),
    "no_r1": ("robust", {"r1_gamma": 0.0}),
    "no_self_pair": ("robust", {"self_pairs": 0}),
    "stylegan2": ("robust", {"discriminator": "stylegan2", "discriminator_learning_rate": 2e-3}),
}


def work(options: argparse.Namespace) -> None:
    """What the command does."""
    profile = apply_settings(profiles.get(options.profile), "swapper", options.set)
    train = training.open_data(options.train, "swapper", profile.size)
    for seed, variant in ((seed, variant) for seed in options.seeds for variant in options.variants):
        embedder, changes = VARIANTS[variant]
        folder, started = options.out / f"{variant}-{seed}", time.monotonic()
        result = training.train_swapper(
            profile.override("swapper", {"steps": options.steps, **changes}),
            folder,
            train,
            options.embedders / f"{embedder}-0" if options.embedders else embedder,
            seed,
            resume=True,
        )
        print(f"{folder}: {result.steps} steps, {time.monotonic() - started:.0f} s now", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/swappers"), help="folder of the runs")
    parser.add_argument("--embedders", type=Path, help="folder of LOSS-SEED runs (default: what ships)")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS, metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--profile", default="laptop", choices=profiles.names())
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="for all variants")
    parser.add_argument("--train", default="train", help="a TrueSwap split or a built folder")
    options = parser.parse_args(arguments)
    return exit_code(work, options)


if __name__ == "__main__":
    sys.exit(main())
