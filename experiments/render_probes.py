"""Render the pictures with known ways between them, on which `measure_embedders.py` probes an embedding.

    python experiments/render_probes.py --out build/probes

People, states and attribute sets are those of the test split. Writes, and leaves alone what is there already:

walks.npz       images (people, walks, points, H, W, 3) uint8: one thing changes in equal steps and all else
                stays, in the passport picture; `names` of the walks
between.npz     rows (pairs, 2) of the test split and images (pairs, H, W, 3) of the true mean of the two, of
                everything (`all_rows`, `all_images`) or of two people in one picture (`rows`, `images`)
steps.npz       rows (pairs, 2) of two people in one picture; the first one rendered (`images`), and one
                small `step` toward the second (`stepped`), with many paths and the same noise
"""

import multiprocessing
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from command import parser_of
from tqdm import tqdm

from smoothswap_lib import world
from smoothswap_lib.datasets import TrueSwap
from smoothswap_lib.files import atomic
from smoothswap_lib.render import render, use_one_thread
from smoothswap_lib.world import traits

POINTS = 13
WALKS = ("age", "weight", "jaw width", "another person")
JAW = len(traits.PAIRED_SHAPES) + traits.SINGLE_SHAPES.index("chin-width-incr")  # in Identity.shape
STEP = 0.1  # share of the way to another person
WALK_SAMPLES, STEP_SAMPLES, SAMPLES = 48, 128, 24  # light paths a pixel
SIZE = 64


def walk(name: str, identity, state, other, t: float) -> tuple:
    """Identity, state and attributes at t of [0, 1] on the named walk; the last one ends at `other`."""
    picture, still = world.neutral_attributes(), replace(state, age=0.0, weight=0.0)
    if name == "age":
        return replace(identity, age=t), still, picture
    if name == "weight":
        return replace(identity, weight=t), still, picture
    if name == "jaw width":
        shape = (*identity.shape[:JAW], 2 * t - 1, *identity.shape[JAW + 1 :])
        return replace(identity, shape=shape), still, picture
    first, second = (world.to_columns(who, still, picture) for who in (identity, other))
    return world.from_columns(world.between(first, second, t))


def pairs_alike(test: TrueSwap, count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Pairs of people of one beard style, so that nothing jumps; each comes about as often."""
    style = [test.parameters(row)[0].beard_style for row in test.matrix_indices()[:, 0]]
    alike = [(a, b) for a in range(len(style)) for b in range(len(style)) if a != b and style[a] == style[b]]
    order = np.concatenate([rng.permutation(len(alike)) for _ in range(-(-count // len(alike)))])
    return [alike[k] for k in order[:count]]


def walks(test: TrueSwap, people: int, rng: np.random.Generator, draw) -> dict[str, np.ndarray]:
    """See the module's `walks.npz`."""
    matrix, ways = test.matrix_indices(), np.linspace(0, 1, POINTS)
    jobs, chosen = [], {}
    for a, b in pairs_alike(test, len(matrix) ** 2, rng):
        chosen.setdefault(a, b)
    starts = rng.permutation(sorted(chosen))[:people]
    for a in starts:
        identity, state, _ = test.parameters(matrix[a, 0])
        other = test.parameters(matrix[chosen[a], 0])[0]
        jobs += [
            (*walk(name, identity, state, other, float(t)), WALK_SAMPLES) for name in WALKS for t in ways
        ]
    images = draw(jobs, "walks").reshape(len(starts), len(WALKS), POINTS, SIZE, SIZE, 3)
    return {"images": images, "people": starts, "names": np.array(WALKS), "ways": ways}


def between(test: TrueSwap, pairs: int, rng: np.random.Generator, draw) -> dict[str, np.ndarray]:
    """See the module's `between.npz`."""
    matrix, result = test.matrix_indices(), {}
    for prefix, one_picture in (("", True), ("all_", False)):
        rows = []
        for a, b in pairs_alike(test, pairs, rng):
            first = rng.integers(matrix.shape[1])
            second = first if one_picture else (first + rng.integers(1, matrix.shape[1])) % matrix.shape[1]
            rows.append((matrix[a, first], matrix[b, second]))
        jobs = [(*_mean(test, first, second, 0.5), SAMPLES) for first, second in rows]
        result |= {prefix + "rows": np.array(rows), prefix + "images": draw(jobs, f"{prefix}between")}
    return result


def steps(test: TrueSwap, pairs: int, rng: np.random.Generator, draw) -> dict[str, np.ndarray]:
    """See the module's `steps.npz`."""
    matrix = test.matrix_indices()
    columns = rng.integers(matrix.shape[1], size=pairs)
    rows = np.array(
        [(matrix[a, c], matrix[b, c]) for (a, b), c in zip(pairs_alike(test, pairs, rng), columns)]
    )
    jobs = [(*_mean(test, first, second, r), STEP_SAMPLES) for r in (0.0, STEP) for first, second in rows]
    images = draw(jobs, "steps")
    return {"rows": rows, "images": images[:pairs], "stepped": images[pairs:], "step": np.array(STEP)}


def _mean(test, first, second, r):
    columns = (world.to_columns(*test.parameters(row)) for row in (first, second))
    return world.from_columns(world.between(*columns, r))


def _render(job):
    identity, state, attributes, samples = job
    return render(identity, state, attributes, SIZE, samples)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/probes"))
    parser.add_argument("--test", default="test", help="the split whose people are drawn")
    parser.add_argument("--people", type=int, default=24, help="of the walks")
    parser.add_argument("--pairs", type=int, default=400, help="of the means; the small steps have half")
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    options = parser.parse_args(arguments)
    try:
        test = TrueSwap(options.test)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    sets = {"walks": (walks, options.people), "between": (between, options.pairs)}
    sets["steps"] = steps, options.pairs // 2
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(options.processes, use_one_thread) as pool:

        def draw(jobs, what):
            return np.stack(list(tqdm(pool.imap(_render, jobs, 8), desc=what, total=len(jobs), unit="image")))

        for number, (name, (make, count)) in enumerate(sets.items()):
            target = options.out / f"{name}.npz"
            if target.exists():
                print(f"{target} is there already")
                continue
            arrays = make(test, count, np.random.default_rng([2022, number]), draw)
            with atomic(target) as path, path.open("wb") as file:
                np.savez_compressed(file, **arrays)
    return 0


if __name__ == "__main__":
    sys.exit(main())
