"""Seconds and memory of d_smooth by size of the gallery, and of the same with one whole table of distances.

    python tests/benchmarks/bench_smoothness.py [--threads 2] [--sizes 15000 1000000] [--width 128]

Random unit vectors: the time does not depend on what they mean. Each size is measured in its own process,
whose largest memory (resident set) is given beside what the gallery itself takes.
"""

import argparse
import multiprocessing
import resource
import time

import torch

from smoothswap_lib import smoothness

PAIRS, QUERIES = 4000, 3456
SIZES = (3750, 15_000, 60_000, 240_000, 1_000_000)
LARGEST_TABLE = 60_000  # 4,000 x 60,000 float32 are 1 GB


def unit(rows: int, width: int, seed: int) -> torch.Tensor:
    """Random unit vectors."""
    z = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(z, dim=1)


def one_table(z, gallery):
    """d_smooth as one would write it: all distances at once."""
    first, second = smoothness.draw_pairs(len(z), PAIRS, 0)
    between = smoothness.slerp(z[first], z[second], 0.5)
    gap = torch.cdist(between, gallery).min(dim=1).values
    return (gap / (z[first] - z[second]).norm(dim=1)).mean().item()


def blocks(z, gallery):
    """The library's."""
    return smoothness.smoothness_score(z, gallery, 0.5, PAIRS).mean


def megabytes() -> float:
    """The largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(task) -> tuple[float, float, float, float]:
    """Seconds, added memory, the gallery's memory (MB) and the score."""
    way, size, width, threads = task
    torch.set_num_threads(threads)
    z, gallery = unit(QUERIES, width, 0), unit(size, width, 1)
    before, start = megabytes(), time.perf_counter()
    score = {"blocks": blocks, "one table": one_table}[way](z, gallery)
    return time.perf_counter() - start, megabytes() - before, gallery.nbytes / 2**20, score


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2, help="of torch (default %(default)s)")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="of the gallery")
    parser.add_argument("--width", type=int, default=128, help="of the embeddings (default %(default)s)")
    options = parser.parse_args()
    print(f"{'gallery':>9} {'way':>10} {'seconds':>8} {'memory, MB':>11} {'gallery, MB':>12} {'d_smooth':>9}")
    for size in options.sizes:
        for way in ("blocks", "one table"):
            if way == "one table" and size > LARGEST_TABLE:
                continue
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                (row,) = pool.map(measure, [(way, size, options.width, options.threads)])
            print(
                f"{size:>9} {way:>10} {row[0]:>8.2f} {row[1]:>11.0f} {row[2]:>12.0f} {row[3]:>9.5f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
