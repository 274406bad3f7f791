"""CPU seconds of a TrueSwap image by size and light paths, and the noise that they leave.

python tests/benchmarks/bench_render.py [--images 6]
"""

import argparse
import time

import numpy as np

from smoothswap_lib import world
from smoothswap_lib.render import render, render_with_truth, use_one_thread

CASES = ((64, 1), (64, 16), (64, 32), (64, 64), (128, 32))  # (pixels a side, light paths a pixel)


def draw(count):
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield world.sample_identity(rng), world.sample_state(rng), world.sample_attributes(rng)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=6, help="pictures a case (default %(default)s)")
    pictures = list(draw(parser.parse_args().images))
    use_one_thread()
    start = time.process_time()
    render_with_truth(*pictures[0], 64, 1)
    print(f"first picture of a process (imports, head model): {time.process_time() - start:.1f} CPU s")
    print(f"{'size':>5} {'paths':>6} {'CPU s an image':>15} {'noise, gray levels RMS':>23}")
    for size, samples in CASES:
        start = time.process_time()
        first = [render_with_truth(*picture, size, samples, seed=1).image for picture in pictures]
        seconds = (time.process_time() - start) / len(pictures)
        second = [render(*picture, size, samples, seed=2) for picture in pictures]
        noise = [np.sqrt(((a.astype(float) - b) ** 2).mean()) for a, b in zip(first, second)]
        print(f"{size:>5} {samples:>6} {seconds:>15.2f} {np.mean(noise):>23.2f}", flush=True)


if __name__ == "__main__":
    main()
