"""Quality against seconds: how near to the true swap a variant of the swapper is after how much computing.

    python experiments/measure_quality.py --out build/quality --report data/quality.json

Each variant of `train_swappers.py` is trained in parts, and after each part its swaps are held against the
true ones, on the same pairs as in `measure_swappers.py`. Then the mean step of each is timed, all of them in
turn, on random images; seconds are steps times that, so a run may be stopped, and the machine be busy while
it trains. It must be quiet while steps are timed. Parts that were measured are kept and not trained again.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import torch
from command import exit_code, parser_of
from measure_swappers import Pairs, to_truth
from results import kept_result, write_result
from train_swappers import VARIANTS

from experiments import costs
from smoothswap_lib import checkpoints, profiles, training
from smoothswap_lib.datasets import TrueSwap

KEPT = ("error_over_copying", "error_over_copying_interval", "error_over_copying_face",
        "error_over_copying_hair", "error_over_copying_background")  # fmt: skip


def measure(variant: str, steps: int, options: argparse.Namespace, train: TrueSwap, pairs: Pairs) -> dict:
    """Train a variant's run up to so many steps and hold its swaps against the true ones."""
    embedder, changes = VARIANTS[variant]
    profile = profiles.get(options.profile).override("swapper", {"steps": steps, **changes})
    folder = options.out / f"{variant}-{options.seed}"
    result = training.train_swapper(profile, folder, train, embedder, options.seed, resume=True)
    x_swap = pairs.swaps(result.module, checkpoints.load_embedder(embedder))
    scores = to_truth(pairs, x_swap)
    return {"step": steps, **{name: scores[name] for name in KEPT}}


def seconds_a_step(variants: list[str], profile: profiles.Profile, repeats: int) -> dict[str, float]:
    """The mean step of each variant, best of `repeats`, taken in turn; R1 counts by its share."""
    best: dict[tuple[str, bool], float] = {}
    made = {}
    for variant in variants:
        changed = profile.override("swapper", VARIANTS[variant][1])
        made[variant] = costs.SwapperStep(changed, changed.swapper.batch_size, "cpu")
    for _ in range(repeats + 1):  # the first one warms up and cannot be the best
        for variant, step in made.items():
            for with_r1 in (False, True):
                started = time.perf_counter()
                step(with_r1)
                taken = time.perf_counter() - started
                best[variant, with_r1] = min(taken, best.get((variant, with_r1), taken))
    share = {v: 1 / step.profile.swapper.r1_interval for v, step in made.items()}
    return {v: share[v] * best[v, True] + (1 - share[v]) * best[v, False] for v in variants}


def work(options: argparse.Namespace) -> None:
    """What the command does."""
    profile = profiles.get(options.profile)
    train = training.open_data(options.train, "swapper", profile.size)
    test = TrueSwap(options.split, size=profile.size)
    pairs = Pairs(test)
    curves = {}
    for text in options.variants:
        variant, _, last = text.partition(":")
        if variant not in VARIANTS:
            raise ValueError(f"{variant!r} is no variant; there are {', '.join(VARIANTS)}")
        folder = options.out / f"{variant}-{options.seed}"
        curves[variant] = [
            kept_result(
                folder / f"truth_{steps:06d}.json",
                again=False,
                measure=lambda v=variant, s=steps: measure(v, s, options, train, pairs),
            )
            for steps in range(options.every, int(last or options.steps) + 1, options.every)
        ]
    seconds = seconds_a_step(list(curves), profile, options.repeats)
    result = {"pairs": len(pairs.x_true), "seed": options.seed, "threads": torch.get_num_threads()}
    result |= {"cores": os.cpu_count(), "batch": profile.swapper.batch_size}
    result["variants"] = {v: {"seconds_a_step": seconds[v], "curve": curves[v]} for v in curves}
    write_result(result, options.report)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/quality"), help="folder of the runs")
    parser.add_argument("--variants", nargs="+", default=["supcon_4", "stylegan2", "wide:500"],
                        metavar="NAME[:STEPS]", help="each up to its last step (or --steps)")  # fmt: skip
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--every", type=int, default=125, help="steps between two measurements")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=8, help="of a timed step")
    parser.add_argument("--profile", default="laptop", choices=profiles.names())
    parser.add_argument("--train", default="train", help="a TrueSwap split or a built folder")
    parser.add_argument("--split", default="test", help="a split or a built folder with a matrix")
    parser.add_argument("--report", type=Path, help="JSON to write (default: printed)")
    options = parser.parse_args(arguments)
    return exit_code(work, options)


if __name__ == "__main__":
    sys.exit(main())
