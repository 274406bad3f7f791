"""Train the rivals of Table 1 alike: the swapper's data, embedder, discriminator, number of pictures shown.

    python experiments/train_rivals.py --out build/rivals
    python experiments/train_rivals.py --rivals simswap faceshifter --seeds 0 1 --weight identity=5

Each run has its folder OUT/RIVAL-SEED. Runs that were stopped go on where they stood, finished ones are only
checked again. At the end of each, `check.json` says whether the rival may be compared: it gives a self pair
back, with a face, and it moves the identity (`rivals.self_check`). `swaps.png` shows swaps that
nobody chose, with the true ones. OUT/sizes.json has parameters, multiply-adds, loss terms and lines of code
of each rival and of Smooth-Swap. FaceSwap is not trained, only checked.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from command import exit_code, parser_of
from results import write_result

from experiments import rivals
from experiments.rivals.loop import judged_rows
from smoothswap_lib import load_embedder, profiles, training
from smoothswap_lib.datasets import TrueSwap
from smoothswap_lib.training import apply_settings

SHOWN = 8  # pairs of a sheet


def read_weights(settings: list[str], names: list[str]) -> dict[str, float]:
    """The numbers of settings NAME=VALUE; ValueError for a term that none of the named rivals has."""
    known, weights = sorted({term for name in names for term in rivals.RIVALS[name].weights}), {}
    for setting in settings:
        name, _, value = setting.partition("=")
        try:
            weights[name] = float(value)
        except ValueError:
            raise ValueError(f"--weight takes NAME=VALUE, not {setting!r}") from None
        if name not in known:
            raise ValueError(f"--weight {setting}: the terms of these rivals are {', '.join(known)}")
    return weights


def one(
    name: str, profile: profiles.Profile, splits: dict[str, TrueSwap], options: argparse.Namespace, seed: int
) -> None:
    """Train and check one rival."""
    kind, started, folder = rivals.RIVALS[name], time.monotonic(), options.out / f"{name}-{seed}"
    data, test = splits[kind.split], splits["test"]
    if kind.weights:
        weights = read_weights(options.weight, options.rivals)
        weights = {term: value for term, value in weights.items() if term in kind.weights}
        rival, embedder = rivals.train_rival(
            kind, profile, folder, data, test, options.embedder, seed, weights, options.pictures
        )
    else:
        embedder, _ = training.frozen_embedder(options.embedder)
        rival = kind(profile.size, embedder.dim)
    rival.eval()
    check = rivals.self_check(rival, test, embedder, options.pairs)
    check |= {"rival": name, "seed": seed, "steps": profile.swapper.steps if kind.weights else 0}
    write_result(check, folder / "check.json")
    sheet(rival, test, embedder, folder / "swaps.png", seed)
    verdict = "passed" if check["passed"] else "NOT passed"
    print(f"{folder}: check {verdict}, {time.monotonic() - started:.0f} s now", flush=True)


def sheet(rival: rivals.Rival, data: TrueSwap, embedder, path: Path, seed: int) -> None:
    """Write source, target, swap and true swap of the first pairs of a seed."""
    source, target, true = judged_rows(rival, data, SHOWN, np.random.default_rng(seed))
    x_source, x_target, x_true = (data.image_batch(part) for part in (source, target, true))
    x_swap = rivals.swaps_of(rival, data, embedder, source, target)
    rows = {"source": x_source, "target": x_target, "swap": x_swap, "true swap": x_true}
    training.write_preview(path, rows, {"Software": "experiments/train_rivals.py"})


def work(options: argparse.Namespace) -> None:
    """What the command does."""
    profile = apply_settings(profiles.get(options.profile), "swapper", options.set)
    read_weights(options.weight, options.rivals)  # a wrong one is said before the first step
    splits = {name: TrueSwap(getattr(options, name), size=profile.size) for name in ("train", "test")}
    dim = load_embedder(options.embedder).dim
    sizes = {n: rivals.size_of(kind(profile.size, dim), splits["test"]) for n, kind in rivals.RIVALS.items()}
    sizes["smoothswap"] = rivals.size_of_ours(profile, dim)
    write_result(sizes, options.out / "sizes.json")
    for seed in options.seeds:
        for name in options.rivals:
            one(name, profile, splits, options, seed)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/rivals"), help="folder of the runs")
    names = list(rivals.RIVALS)
    parser.add_argument(
        "--rivals", nargs="+", default=names, choices=names, metavar="NAME", help=f"of {', '.join(names)}"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--embedder", default="robust", help="a shipped name, a run's folder or a file")
    parser.add_argument("--profile", default="laptop", choices=profiles.names())
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="of the profile, for all"
    )
    parser.add_argument("--weight", action="append", default=[], metavar="NAME=VALUE",
                        help="of a loss term, for the rivals that have it")  # fmt: skip
    parser.add_argument("--train", default="train", help="a TrueSwap split or a built folder")
    parser.add_argument("--test", default="test", help="a split with a matrix: previews, check")
    parser.add_argument("--pictures", type=int, default=200, help="to render of each person, for deepfakes")
    parser.add_argument("--pairs", type=int, default=96, help="of the check")
    options = parser.parse_args(arguments)
    return exit_code(work, options)


if __name__ == "__main__":
    sys.exit(main())
