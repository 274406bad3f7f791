"""The cost model beside real steps of the swapper at four sizes: seconds, peak memory, and the error of each.

    python tests/benchmarks/bench_costs.py [--threads 2] [--repeats 5] [--out data/costs.json]

The machine's three constants are measured first, by `costs.measure_machine`; no constant is fitted to a step.
Each size runs in a process of its own, whose largest memory (resident set) is compared with the counted peak.
"""

import dataclasses
import json
import multiprocessing
from functools import partial

import torch
from measuring import best, megabytes, parser_of

from experiments import costs
from smoothswap_lib import profiles

# pixels, generator's width, channel multipliers, images a step
SIZES = (
    (32, 16, (1, 2, 2), 8),
    (64, 16, (1, 2, 2, 2), 8),
    (64, 32, (1, 2, 2, 2), 8),
    (128, 32, (1, 1, 2, 2, 2), 4),
)


def profile_of(size, width, multipliers):
    """The laptop's profile with a generator and a discriminator of another size, StyleGAN2's."""
    laptop = profiles.get("laptop").override("profile", {"size": size})
    numbers = {"generator_width": width, "channel_multipliers": multipliers, "discriminator": "stylegan2"}
    return laptop.override("swapper", {**numbers, "discriminator_base": 16 * size})


def measure(task):
    """Seconds of a mean step and added memory in MB."""
    (size, width, multipliers, batch), threads, repeats = task
    torch.set_num_threads(threads)
    profile = profile_of(size, width, multipliers)
    before = megabytes()
    step = costs.SwapperStep(profile, batch, "cpu")
    seconds = {with_r1: best(partial(step, with_r1), repeats) for with_r1 in (False, True)}
    share = 1 / profile.swapper.r1_interval
    return share * seconds[True] + (1 - share) * seconds[False], megabytes() - before


def main():
    options = parser_of(__doc__).parse_args()
    torch.set_num_threads(options.threads)
    machine = costs.measure_machine()
    print(f"{machine.name}: {machine.flops / 1e9:.1f} GFLOP/s, {machine.bandwidth / 1e9:.2f} GB/s, "
          f"{machine.overhead * 1e6:.1f} us an operation")  # fmt: skip
    print(f"{'size':>5} {'width':>6} {'batch':>6} {'s':>7} {'predicted':>10} {'error':>7} "
          f"{'MB':>6} {'predicted':>10} {'error':>7}")  # fmt: skip
    rows = []
    for case in SIZES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, memory = pool.apply(measure, ((case, options.threads, options.repeats),))
        size, width, multipliers, batch = case
        work = costs.mean_swapper_work(profile_of(size, width, multipliers), batch)
        expected, peak = costs.predicted_seconds(work, machine), work.peak / 2**20
        errors = (expected / seconds - 1, peak / memory - 1)
        print(
            f"{size:>5} {width:>6} {batch:>6} {seconds:>7.3f} {expected:>10.3f} {errors[0]:>+7.0%} "
            f"{memory:>6.0f} {peak:>10.0f} {errors[1]:>+7.0%}",
            flush=True,
        )
        names = ("size", "width", "batch", "seconds", "predicted_seconds", "megabytes", "predicted_megabytes")
        rows.append(dict(zip(names, (size, width, batch, seconds, expected, memory, peak))))
    if options.out:
        constants = {k: v for k, v in dataclasses.asdict(machine).items() if k != "link"}
        options.out.write_text(json.dumps({"machine": constants, "steps": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
