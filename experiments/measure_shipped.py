"""The shipped swapper between its floors and the truth: `data/shipped.json`, which the README shows.

    python experiments/measure_shipped.py --photographs --oracle oracle --out data/shipped.json

Pairs of test people whose true swap is known. Rows: the target handed back, the paint bucket (the target with
the true swap's mean colors of face and hair), the swapper, the true swap. Columns: squared error to the true
swap over that of handing back the target, over all and by region; the mean squared change of what is
background in target and true swap; and who is in the picture, as cosines to source and target, by an embedder
that took no part in the training, and with --photographs by SFace, which knows photographs only.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from command import exit_code, parser_of
from measure_swappers import Pairs, Photographs, by_identity, to_truth
from results import write_result

from smoothswap_lib import checkpoints, evaluation
from smoothswap_lib.datasets import TrueSwap

ERRORS = ("error_over_copying", "error_over_copying_interval", "error_over_copying_face",
          "error_over_copying_hair", "background_change", "nearer_to_truth_than_target")  # fmt: skip


def work(options: argparse.Namespace) -> None:
    """What the command does."""
    pairs = Pairs(TrueSwap(options.split, size=options.size), options.seed, options.pairs)
    weights = checkpoints.weights_path(options.swapper)
    metadata = checkpoints.read_metadata(weights)
    generator, embedder = checkpoints.load_generator(weights), checkpoints.load_embedder(metadata["embedder"])
    z_source = evaluation.embed(pairs.x_source, embedder)
    systems = {
        "the target, handed back": pairs.x_target,
        "paint bucket": evaluation.recolour(pairs.x_target, pairs.mask_target, pairs.x_true, pairs.mask),
        "swapper": pairs.swaps(generator, z_source),
        "true swap": pairs.x_true,
    }
    if options.oracle:
        systems["oracle"] = pairs.swaps(checkpoints.load_generator(options.oracle), z_source)
    judges = {"own": embedder, "judge": checkpoints.load_embedder(options.judge)}
    judges = {name: lambda x, _, net=net: evaluation.embed(x, net) for name, net in judges.items()}
    if options.photographs:
        judges["sface"] = Photographs().embed
    ends = {"source": (pairs.x_source, pairs.rows[0]), "target": (pairs.x_target, pairs.rows[1])}
    points = {end: [pairs.data.landmarks(int(row)) for row in rows] for end, (_, rows) in ends.items()}
    known = {
        judge: {end: embed(x, points[end]) for end, (x, _) in ends.items()} for judge, embed in judges.items()
    }
    scores = {}
    for name, x in systems.items():
        scores[name] = {key: value for key, value in to_truth(pairs, x).items() if key in ERRORS}
        for judge, embed in judges.items():
            z = known[judge] | {"swap": embed(x, pairs.landmarks)}
            scores[name] |= by_identity(pairs, z, judge)
    about = {"swapper": options.swapper, "steps": int(metadata["steps"]), "embedder": metadata["embedder"]}
    about |= {"judge": options.judge, "pairs": len(pairs.x_true), "weights": metadata["tensor_hash"][:16]}
    write_result(about | {"systems": scores}, options.out)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--split", default="test", help="a split or a built folder with a matrix")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--swapper", default="swapper", help="a shipped name, a run's folder or a file")
    parser.add_argument("--oracle", help="a generator that was trained on true swaps, to measure beside it")
    parser.add_argument("--judge", default="printed", help="an embedder that took no part in the training")
    parser.add_argument("--pairs", type=int, default=576)
    parser.add_argument("--photographs", action="store_true", help='SFace, too (needs the extra "judges")')
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON to write (default: printed)")
    options = parser.parse_args(arguments)
    return exit_code(work, options)


if __name__ == "__main__":
    sys.exit(main())
