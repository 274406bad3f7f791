"""Time to quality: seconds of training until a swapper's faces are so near to the truth.

    make speedrun                                   # the recipe that holds the record, until --goal
    python experiments/speedrun.py --goal 0.55 --set lambda_id=2 --out build/mine

Trains in stretches of --stretch steps, judges the moving average after each on the same pairs of test people,
and stops at the goal: squared error to the true swap over the face, as a share of handing the target back.
Squared error alone rewards a blur, so a goal counts only with at least DETAIL of the true swaps' fine detail
(`high_frequencies` of measure_swappers.py). Seconds are the training's own, with compiling, without judging.
A run that was stopped goes on. To set a record, change what you like but the data, the pairs and this rule:
no true swap may be seen in training. Records stand in tests/benchmarks/README.md.
"""

import argparse
import sys
from pathlib import Path

import torch
from command import add_generator_options, exit_code, parser_of
from measure_swappers import Pairs, to_truth

from smoothswap_lib import evaluation, profiles, training
from smoothswap_lib.datasets import TrueSwap
from smoothswap_lib.training import apply_settings, ship

GOALS = (0.70, 0.65, 0.60, 0.55, 0.50, 0.45, 0.40, 0.35)
DETAIL = 0.7  # least share of the true swaps' fine detail
RECIPE = ("mixed_precision=bf16", "compile=true")  # the record's, beside the laptop profile


def passed(scores: dict, goals: tuple[float, ...] = GOALS) -> list[float]:
    """The goals that these scores of `to_truth` reach; none without the detail."""
    sharp = scores["high_frequencies"] >= DETAIL
    return [goal for goal in goals if sharp and scores["error_over_copying_face"] <= goal]


def race(profile, out: Path, data, pairs: Pairs, embedder: str, seed: int, goal: float, stretch: int) -> dict:
    """Train and judge by turns; goal -> (steps, seconds) of the first judged average that reached it."""
    z_source = evaluation.embed(pairs.x_source, training.frozen_embedder(embedder)[0])
    reached: dict[float, tuple[int, float]] = {}
    for steps in range(stretch, profile.swapper.steps + 1, stretch):
        torch.compiler.reset()  # each stretch has networks of its own; dynamo forgets those of the last
        part = profile.override("swapper", {"steps": steps})
        run = training.train_swapper(part, out, data, embedder, seed, resume=True)
        scores = to_truth(pairs, pairs.swaps(run.module, z_source))
        print(
            f"{run.steps:6d} steps {run.seconds:7.0f} s   face {scores['error_over_copying_face']:.3f}   "
            f"all {scores['error_over_copying']:.3f}   fine detail {scores['high_frequencies']:.2f}",
            flush=True,
        )
        for better in passed(scores):
            reached.setdefault(better, (run.steps, run.seconds))
        if passed(scores, (goal,)):
            break
    return reached


def work(options: argparse.Namespace) -> None:
    """What the command does."""
    profile = apply_settings(profiles.get(options.profile), "swapper", [*RECIPE, *options.set])
    pairs = Pairs(TrueSwap("test", size=profile.size), count=options.pairs)
    data = TrueSwap("train", size=profile.size)
    how = options.embedder, options.seed, options.goal, options.stretch
    reached = race(profile, options.out, data, pairs, *how)
    print(f"\n| face error | steps | seconds, {torch.get_num_threads()} threads |\n|---|---|---|")
    for goal, (steps, seconds) in reached.items():
        print(f"| {goal:.2f} | {steps:,} | {seconds:,.0f} |")
    if not reached:
        print("no goal was reached")
    if options.ship:
        print(f"shipped {ship(options.out, options.ship)}")


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/speedrun"), help="folder of the run")
    parser.add_argument("--goal", type=float, default=0.60, help="stop at this error over the face (0.60)")
    parser.add_argument("--stretch", type=int, default=250, help="steps between two judgements (250)")
    parser.add_argument("--pairs", type=int, default=384, help="of test people (384)")
    add_generator_options(parser)
    return exit_code(work, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
