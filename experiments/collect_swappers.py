"""Bring the learning curves and previews of `train_swappers.py`'s runs into files for notebook 09.

    python experiments/collect_swappers.py --runs build/swappers --out data

Writes OUT/swappers.parquet (all runs' metrics: variant, seed, step, ...) and OUT/progress.avif with
progress.json: of the variants of --shown the first pairs of their previews, a row a pair: source, target, and
the swap after about 1/8, 1/4, 1/2 and all of the steps. Runs that OUT's files hold already and are not in the
folder stay there, in the picture if it shows the same steps.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from command import exit_code, parser_of
from PIL import Image
from results import write_result, write_table

from smoothswap_lib.files import atomic

PAIRS = 3
COLUMNS = (
    "step", "seconds", "identity", "change", "adversarial", "cos_source", "cos_target", "r1",
    "discriminator_real", "discriminator_fake", "grad_norm_generator", "grad_norm_discriminator",
)  # fmt: skip
SHOWN = ["robust", "printed", "ce_arc", "no_adversarial"]
QUALITY = 80  # AVIF's


def curves(runs: Sequence[Path]) -> pd.DataFrame:
    """All runs' metrics, one under the other, in single precision."""
    tables = []
    for run in runs:
        table = pd.read_parquet(run / "metrics.parquet").reindex(columns=list(COLUMNS))
        variant, _, seed = run.name.rpartition("-")
        table = table.astype({name: "float32" for name in COLUMNS if name != "step"})
        table.insert(0, "variant", variant)
        table.insert(1, "seed", np.int8(seed))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def with_earlier(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The table, and before it the runs of an earlier file that it does not hold."""
    if not path.exists():
        return table
    earlier, keys = pd.read_parquet(path), ["variant", "seed"]
    repeated = earlier.set_index(keys).index.isin(table.set_index(keys).index)
    return pd.concat([earlier[~repeated], table], ignore_index=True)


def preview(run: Path, step: int) -> np.ndarray:
    """(rows of the grid, pairs, size, size, 3): a preview of the run, as `write_preview` made it."""
    pixels = np.asarray(Image.open(run / "previews" / f"step_{step:06d}.png").convert("RGB"))
    size = pixels.shape[0] // 3
    return pixels.reshape(3, size, -1, size, 3).swapaxes(1, 2)


def shown_steps(run: Path, last: int) -> list[int]:
    """The previews nearest to an eighth, a quarter, half and all of the steps, each once."""
    there = np.array([int(path.stem.split("_")[1]) for path in (run / "previews").glob("step_*.png")])
    wanted = [last / 8, last / 4, last / 2, last]
    return sorted({int(there[np.abs(there - step).argmin()]) for step in wanted})


def progress(previews: Sequence[tuple[Path, int]], pairs: int = PAIRS) -> np.ndarray:
    """(pairs * size, (2 + previews) * size, 3): a row a pair; previews are runs and steps of them."""
    source, target, _ = preview(*previews[0])
    columns = [source, target, *(preview(run, step)[2] for run, step in previews)]
    return np.concatenate([np.concatenate(list(column[:pairs]), axis=0) for column in columns], axis=1)


def write_progress(
    folder: Path, picture: np.ndarray, variants: Sequence[str], pairs: int, steps: Sequence[int]
) -> dict:
    """Write progress.avif and progress.json, as `datasets.read_progress` wants them; returns the plan."""
    with atomic(folder / "progress.avif") as path:
        Image.fromarray(picture).save(path, format="AVIF", quality=QUALITY)
    size = len(picture) // len(variants) // pairs
    plan = {"variants": list(variants), "pairs": pairs, "steps": list(steps), "size": size}
    write_result(plan, folder / "progress.json")
    return plan


def earlier_blocks(folder: Path, steps: Sequence[int]) -> dict[str, np.ndarray]:
    """The variants of an earlier picture, if it shows the same steps: {variant: what `progress` returned}."""
    if not (folder / "progress.json").exists():
        return {}
    plan = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
    if (plan["steps"], plan["pairs"]) != (list(steps), PAIRS):
        return {}
    pixels = np.asarray(Image.open(folder / "progress.avif").convert("RGB"))
    return dict(zip(plan["variants"], np.split(pixels, len(plan["variants"]))))


def work(options: argparse.Namespace) -> None:
    """What the command does."""
    runs = sorted(p.parent for p in options.runs.glob("*-*/weights.safetensors"))
    if not runs:
        raise FileNotFoundError(f"{options.runs} holds no finished run; train_swappers.py makes them")
    table = with_earlier(curves(runs), options.out / "swappers.parquet")
    here = {name: options.runs / f"{name}-0" for name in options.shown}
    first = next((run for run in here.values() if run in runs), runs[0])
    steps = shown_steps(first, int(pd.read_parquet(first / "metrics.parquet").step.max()))
    blocks = earlier_blocks(options.out, steps)
    blocks |= {name: progress([(run, s) for s in steps]) for name, run in here.items() if run in runs}
    shown = [name for name in options.shown if name in blocks]
    if not shown:
        raise ValueError(f"{options.runs} holds none of the runs to show: {', '.join(options.shown)}")
    picture = np.concatenate([blocks[name] for name in shown])
    write_table(table, options.out / "swappers.parquet")
    plan = write_progress(options.out, picture, shown, PAIRS, steps)
    print(json.dumps({"runs": [run.name for run in runs]} | plan))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument(
        "--runs", type=Path, default=Path("build/swappers"), help="folder of VARIANT-SEED runs"
    )
    parser.add_argument("--out", type=Path, default=Path("data"))
    parser.add_argument("--shown", nargs="+", default=SHOWN, metavar="NAME", help="variants in the picture")
    options = parser.parse_args(arguments)
    return exit_code(work, options)


if __name__ == "__main__":
    sys.exit(main())
