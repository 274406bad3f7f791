"""Do the shipped embedder and swapper do as well on people that no run has seen as on the test split?

    python -m smoothswap_lib.render build --split fresh --seed 7 --identities 48 --attributes 24 --images 4 \\
        --out build/fresh
    python experiments/measure_shipped.py --splits test build/fresh --out data/shipped.json

The test split took no part in any training, but choices were made with its scores in sight; a fresh split is
drawn after the last choice. Verification is over the listed pairs. Swaps are random: two people and two
columns of the matrix. They are measured against the true swap, with intervals from redrawing whole people.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from command import exit_code, parser_of
from embedding import BATCH, embed_rows
from results import write_result

from smoothswap_lib import evaluation, load_embedder, load_generator
from smoothswap_lib.checkpoints import read_metadata, weights_path
from smoothswap_lib.datasets import TrueSwap

DRAWS = 1000  # of the bootstrap


def verification(data: TrueSwap, embedder) -> float:
    """AUC over the split's listed pairs."""
    z = embed_rows(data, np.arange(len(data)), embedder)
    return evaluation.verification_auc_pairs(z, *data.pairs())


def draw_swaps(data: TrueSwap, pairs: int, rng: np.random.Generator):
    """Source, target and true image's rows, (pairs,) each, and the people of source and target."""
    matrix = data.matrix_indices()
    people, columns = matrix.shape
    source = rng.integers(people, size=pairs)
    target = (source + rng.integers(1, people, size=pairs)) % people
    from_column = rng.integers(columns, size=pairs)
    to_column = (from_column + rng.integers(1, columns, size=pairs)) % columns
    rows = matrix[source, from_column], matrix[target, to_column], matrix[source, to_column]
    return rows, (source, target)


def swaps(data: TrueSwap, generator, embedder, pairs: int, seed: int) -> dict:
    """The swapper against the truth on random pairs."""
    rng = np.random.default_rng(seed)
    rows, people = draw_swaps(data, pairs, rng)
    x_source, x_target, x_true = (data.image_batch(part) for part in rows)
    with torch.inference_mode():
        x_swap = torch.cat(
            [
                generator(target, embedder(source))
                for source, target in zip(x_source.split(BATCH), x_target.split(BATCH))
            ]
        ).clone()
    report = evaluation.swap_report(
        {"swap": x_swap}, x_source, x_target, x_true, data.masks[rows[2]], {"own": embedder}
    )
    error, copying = ((x - x_true).square().mean((1, 2, 3)).double().numpy() for x in (x_swap, x_target))
    z_source, z_target, z_swap = (evaluation.embed(x, embedder) for x in (x_source, x_target, x_swap))
    toward = (z_swap * z_source).sum(1) > (z_target * z_source).sum(1)
    closer = (z_swap * z_source).sum(1) > (z_swap * z_target).sum(1)
    swap, copy = report.loc["swap"], report.loc["copy target"]
    low, high = evaluation.ratio_interval(error, copying, people, DRAWS, rng)
    return {
        "pairs": pairs,
        "error_over_copying": float(swap.error_over_copying),
        "interval_95": [low, high],
        "error_over_copying_by_region": {
            region: float(swap[f"mse_true_{region}"] / copy[f"mse_true_{region}"])
            for region in evaluation.REGIONS
        },
        "mse_by_region": {region: float(swap[f"mse_true_{region}"]) for region in evaluation.REGIONS},
        "nearer_to_truth_than_target": float((error < copying).mean()),
        "moved_toward_source": float(toward.float().mean()),
        "closer_to_source_than_to_target": float(closer.float().mean()),
        "psnr": float(swap.psnr),
        "ssim": float(swap.ssim),
        "cos_source_own": float(swap.cos_source_own),
        "cos_source_of_true_swap": float(report.loc["true swap"].cos_source_own),
    }


def work(options: argparse.Namespace) -> None:
    """What the command does."""
    embedder = load_embedder(options.embedder)
    generator = load_generator(options.swapper)
    guide = load_embedder(read_metadata(weights_path(options.swapper))["embedder"])
    result = {"embedder": options.embedder, "swapper": options.swapper, "splits": {}}
    for name in options.splits:
        data = TrueSwap(name)
        result["splits"][Path(name).name] = {
            "people": len(np.unique(data.identities)),
            "verification_auc": verification(data, embedder),
            "swaps": swaps(data, generator, guide, options.pairs, options.seed),
        }
    write_result(result, options.out)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--splits", nargs="+", default=["test"], help="splits or built folders with a matrix")
    parser.add_argument("--embedder", default="supcon", help="of the verification")
    parser.add_argument("--swapper", default="swapper")
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON to write (default: printed)")
    options = parser.parse_args(arguments)
    return exit_code(work, options)


if __name__ == "__main__":
    sys.exit(main())
