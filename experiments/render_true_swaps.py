"""Render true swaps of the train split's people, which the oracle (`train_oracle.py`) is trained on.

    python experiments/render_true_swaps.py --count 4000 --out build/true_swaps

Source and target are random images of two people: the picture is the source's identity and state under the
target's attributes. Parts of some hundred go to OUT/part-NNN.npz as `source` and `target` (rows of the split)
and `images` (n, H, W, 3) uint8; those that are there already are left alone.
"""

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from command import exit_code, parser_of
from tqdm import tqdm

from smoothswap_lib.datasets import TrueSwap
from smoothswap_lib.files import atomic
from smoothswap_lib.render import render, use_one_thread

SAMPLES = 24  # light paths a pixel
PART = 250


def draw_pairs(data: TrueSwap, count: int, seed: int) -> np.ndarray:
    """(count, 2) rows of two people's images, the same first ones for any count."""
    rng = np.random.default_rng(seed)
    pairs = np.stack([rng.integers(len(data), size=2) for _ in range(2 * count)])
    two = data.identities[pairs[:, 0]] != data.identities[pairs[:, 1]]
    return pairs[two][:count]


def _render(job) -> np.ndarray:
    return render(*job)


def work(options: argparse.Namespace) -> None:
    """What the command does."""
    data = TrueSwap(options.data)
    options.out.mkdir(parents=True, exist_ok=True)
    pairs = draw_pairs(data, options.count, options.seed)
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(options.processes, use_one_thread) as pool, tqdm(total=len(pairs), unit="image") as bar:
        for start in range(0, len(pairs), PART):
            target, part = options.out / f"part-{start // PART:03d}.npz", pairs[start : start + PART]
            if not target.exists():
                people = [(data.parameters(int(s))[:2], data.parameters(int(t))[2]) for s, t in part]
                jobs = [(*who, attributes, data.size, SAMPLES) for who, attributes in people]
                images = []
                for image in pool.imap(_render, jobs, 8):
                    images.append(image)
                    bar.update()
                with atomic(target) as path, path.open("wb") as file:
                    arrays = {"source": part[:, 0], "target": part[:, 1], "images": np.stack(images)}
                    np.savez_compressed(file, **arrays)
            bar.n = start + len(part)
            bar.refresh()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/true_swaps"))
    parser.add_argument("--data", default="train", help="a TrueSwap split or a built folder")
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    options = parser.parse_args(arguments)
    return exit_code(work, options)


if __name__ == "__main__":
    sys.exit(main())
