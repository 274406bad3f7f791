"""Train the rivals of Table 1 alike: the swapper's data, embedder, discriminator, number of pictures shown.

    python experiments/train_rivals.py --out build/rivals
    python experiments/train_rivals.py --rivals simswap faceshifter --seeds 0 1 --weight identity=5

Each run has its folder OUT/RIVAL-SEED. Runs that were stopped go on where they stood, finished ones are only
checked again. At the end of each, `check.json` says whether the rival may be compared: it gives a self pair
back better than another person's picture would, and it moves the identity. `swaps.png` shows swaps that
nobody chose, with the true ones. OUT/sizes.json has parameters, multiply-adds, loss terms and lines of code
of each rival and of Smooth-Swap. FaceSwap is not trained, only checked.
"""

import argparse
import dataclasses
import sys
import time
from pathlib import Path

import numpy as np
from command import exit_code, parser_of
from results import write_result

from experiments import rivals
from experiments.rivals.loop import judged_rows
from smoothswap_lib import profiles, training
from smoothswap_lib.datasets import TrueSwap
from smoothswap_lib.training import apply_settings

SHOWN = 8  # pairs of a sheet


def weights_of(kind: type[rivals.Rival], settings: list[str]) -> dict[str, float]:
    """The settings NAME=VALUE that this rival's loss has a term for."""
    pairs = (setting.partition("=") for setting in settings)
    return {name: float(value) for name, _, value in pairs if name in kind.weights}


def check_settings(settings: list[str], kinds: list[type[rivals.Rival]]) -> None:
    """ValueError for a weight that none of the rivals has, or that is no number."""
    known = sorted({name for kind in kinds for name in kind.weights})
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or name not in known or not value.replace(".", "", 1).isdigit():
            raise ValueError(f"--weight takes NAME=VALUE with one of {', '.join(known)}, not {setting!r}")


def one(name: str, profile: profiles.Profile, folder: Path, options: argparse.Namespace, seed: int) -> dict:
    """Train and check one rival; its size."""
    kind, started = rivals.RIVALS[name], time.monotonic()
    splits = {"train": options.train, "test": options.test}
    test = TrueSwap(options.test, size=profile.size)
    data = test if kind.split == "test" else TrueSwap(splits[kind.split], size=profile.size)
    if kind.weights:
        weights = weights_of(kind, options.weight)
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
    return rivals.size_of(rival, embedder.dim, profile.size, test)


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
    check_settings(options.weight, [rivals.RIVALS[name] for name in options.rivals])
    sizes = {}
    for seed in options.seeds:
        for name in options.rivals:
            sizes[name] = one(name, profile, options.out / f"{name}-{seed}", options, seed)
    dim = training.frozen_embedder(options.embedder)[0].dim
    sizes["smoothswap"] = rivals.size_of_ours(profile, dim)
    write_result({"profile": dataclasses.asdict(profile), "systems": sizes}, options.out / "sizes.json")


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/rivals"), help="folder of the runs")
    names = list(rivals.RIVALS)
    parser.add_argument(
        "--rivals", nargs="+", default=names, choices=names, metavar="NAME", help=f"of {', '.join(names)}"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--embedder", default="supcon", help="a shipped name, a run's folder or a file")
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
