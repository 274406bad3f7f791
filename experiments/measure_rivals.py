"""Table 1 with systems that were run: the rivals beside Smooth-Swap, each judged against the true swap.

    python experiments/train_rivals.py --out build/rivals --set steps=750
    python experiments/measure_rivals.py --rivals build/rivals --ours build/ours --judges build/judges

All systems swap the pairs of `measure_swappers.py` (every test person into every column of the matrix) and
are scored by the same judges. --ours is a run of Smooth-Swap with as many steps. Deepfakes knows two people
only: it swaps these into each other, so that its scores stand beside the others' and do not compare.

Writes OUT/rivals.json: scores, size, seconds of training, milliseconds a swap, and the check's verdict of
each system, `overall` as the paper's Table 1 has it, and the floors; and OUT/rivals.avif, a picture of the
same eight pairs for all systems, whose rows rivals.json names.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from command import exit_code, parser_of
from measure_swappers import Jury, Pairs, about
from PIL import Image
from results import kept_result, write_result
from swapper_claims import OVERALL
from torch import Tensor
from tqdm import tqdm

from experiments import rivals
from experiments.rivals.loop import judged_rows
from smoothswap_lib import checkpoints, evaluation
from smoothswap_lib.datasets import TrueSwap, to_uint8
from smoothswap_lib.files import atomic

OURS, TWO_PEOPLE = "smoothswap", "deepfakes"
SHOWN, QUALITY = 8, 85  # pairs in the picture; AVIF's
TIMED = 32  # swaps, one after another
FLOORS = ("copy target", "true swap")


def seconds_of(run: Path, steps: int) -> float:
    """How long a run trained, 0 where nothing was to train; ValueError if not for `steps` steps."""
    path = run / "metrics.parquet"
    if not path.exists():
        return 0.0
    last = pd.read_parquet(path, columns=["step", "seconds"]).iloc[-1]
    if last.step != steps:
        raise ValueError(
            f"{run} was trained for {last.step:.0f} steps and --ours for {steps}: train both alike"
        )
    return float(last.seconds)


def milliseconds(swap: Callable[[np.ndarray, np.ndarray], Tensor], rows: np.ndarray) -> float:
    """The median time of one swap, reading and embedding its pictures included."""
    times = []
    for source, target in rows.T[:TIMED]:
        start = time.perf_counter()
        swap(np.array([source]), np.array([target]))
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times))


def measure(swap: Callable, seconds: float, pairs: Pairs, jury: Jury, own) -> dict:
    """Scores of one system and what it cost; `swap` takes rows of sources and of targets."""
    source, target, _ = pairs.rows
    scores = jury.scores(swap(source, target), own)
    return {
        "pairs": len(source),
        "seconds_of_training": seconds,
        "milliseconds": milliseconds(swap, np.stack([source, target])),
        **scores,
    }


def swapper(run: Path, data: TrueSwap, embedder) -> Callable:
    """Smooth-Swap's answers to rows of sources and targets."""
    generator = checkpoints.load_generator(run)

    def swap(source: np.ndarray, target: np.ndarray) -> Tensor:
        return checkpoints.swap(data.image_batch(source), data.image_batch(target), generator, embedder)

    return swap


def rival_of(name: str, folder: Path, data: TrueSwap, embedder) -> tuple[rivals.Rival, Callable]:
    """A trained rival, and its answers to rows of sources and targets."""
    kind = rivals.RIVALS[name]
    rival = rivals.load_rival(kind, folder) if kind.weights else kind(data.size, embedder.dim).eval()
    return rival, lambda source, target: rivals.swaps_of(rival, data, embedder, source, target)


def picture(data: TrueSwap, systems: dict[str, Callable], seed: int) -> tuple[np.ndarray, list[str]]:
    """(rows * size, SHOWN * size, 3) uint8 and the rows' names: source, target, each system, true swap."""
    rival = rivals.RIVALS["simswap"]()  # swaps anybody
    source, target, true = judged_rows(rival, data, SHOWN, np.random.default_rng(seed))
    rows = {"source": data.image_batch(source), "target": data.image_batch(target)}
    rows |= {name: swap(source, target) for name, swap in systems.items()}
    rows["true swap"] = data.image_batch(true)
    strips = [torch.cat(list(to_uint8(x)), dim=2) for x in rows.values()]  # (3, size, SHOWN * size) each
    return torch.cat(strips, dim=1).permute(1, 2, 0).numpy(), list(rows)


def work(options: argparse.Namespace) -> None:
    """What the command does."""
    data = TrueSwap(options.split, size=64)
    named = checkpoints.read_metadata(checkpoints.weights_path(options.ours))
    embedder = checkpoints.load_embedder(named["embedder"]).eval()
    pairs = Pairs(data)
    jury = Jury(pairs, data, options.judges, photographs=options.photographs)
    sizes = json.loads((options.rivals / "sizes.json").read_text(encoding="utf-8"))
    result = about(pairs, jury) | {"steps": int(named["steps"])}
    ends = dict(zip(FLOORS, (pairs.x_target, pairs.x_true)))
    result["floors"] = {name: jury.scores(x, embedder) for name, x in ends.items()}
    found = [name for name in rivals.RIVALS if (options.rivals / f"{name}-0" / "check.json").exists()]
    runs = {name: options.rivals / f"{name}-0" for name in found} | {OURS: options.ours}
    seconds = {name: seconds_of(run, result["steps"]) for name, run in runs.items()}
    swaps, systems = {}, {}
    for name, run in tqdm(runs.items(), desc="systems", unit="system"):
        its_pairs, its_jury, kept = pairs, jury, run / "scores.json"
        if name == OURS:
            swap = swapper(run, data, embedder)
            check = {"passed": True}
        else:
            rival, swap = rival_of(name, run, data, embedder)
            check = json.loads((run / "check.json").read_text(encoding="utf-8"))
            if name == TWO_PEOPLE:
                its_pairs = Pairs(data, among=rival.people)
                its_jury = Jury(its_pairs, data, options.judges, photographs=options.photographs)
        if name != TWO_PEOPLE:
            swaps[name] = swap
        systems[name] = {"check": check, **sizes[name]} | kept_result(
            kept,
            options.again,
            lambda s=swap, t=seconds[name], p=its_pairs, j=its_jury: measure(s, t, p, j, embedder),
        )
    comparable = {name: row for name, row in systems.items() if name != TWO_PEOPLE}
    table = pd.DataFrame({n: [row[c] for c in OVERALL] for n, row in comparable.items()}, OVERALL).T
    for name, value in evaluation.overall_score(table).items():
        systems[name]["overall"] = float(value)
    result["systems"] = systems
    pixels, result["rows"] = picture(data, swaps, options.seed)
    with atomic(options.out / "rivals.avif") as path:
        Image.fromarray(pixels).save(path, format="AVIF", quality=QUALITY)
    write_result(result, options.out / "rivals.json")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--rivals", type=Path, default=Path("build/rivals"), help="of train_rivals.py")
    parser.add_argument("--ours", type=Path, required=True, help="a run of Smooth-Swap with as many steps")
    parser.add_argument("--judges", type=Path, default=Path("build/judges"), help="of train_judges.py")
    parser.add_argument("--split", default="test", help="a split or a built folder with a matrix")
    parser.add_argument(
        "--photographs", action="store_true", help="SFace and mediapipe, too (needs the extra judges)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the pairs in the picture")
    parser.add_argument("--again", action="store_true", help="measure what was measured before, too")
    parser.add_argument("--out", type=Path, default=Path("data"))
    options = parser.parse_args(arguments)
    return exit_code(work, options)


if __name__ == "__main__":
    sys.exit(main())
