"""The mean of a generator's weights over a stretch of its training, in the place of a run's last average.

    python experiments/train_told.py --start build/begun --steps 21000 --keep 700 --out build/swapper
    python experiments/average_weights.py --weights build/swapper/averages/*.safetensors --run build/swapper

A GAN's generator circles about a good place (notebook 05); the moving average forgets after some hundred
steps and circles along. The mean of its states over thousands of steps stands nearer to the middle (Izmailov
et al. 2018; chosen after the training as by Karras et al. 2024). The rates need not fall for it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from command import exit_code, parser_of
from torch import Tensor

from smoothswap_lib import checkpoints
from smoothswap_lib.generator import Generator
from smoothswap_lib.training import ship


def mean_weights(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Tensors, averaged over all files; ValueError if they are of different networks."""
    metadata = [checkpoints.metadata_of(path, Generator) for path in paths]
    for name in ("arguments", "embedder_hash"):
        if len({said[name] for said in metadata}) > 1:
            raise ValueError(f"{paths[0]} and the others are not of one training: their {name} differ")
    parts = [checkpoints.read_tensors(path)[0] for path in paths]
    mean = {name: torch.stack([part[name].double() for part in parts]).mean(0) for name in parts[0]}
    return {name: tensor.to(parts[0][name].dtype) for name, tensor in mean.items()}


def work(options: argparse.Namespace) -> None:
    """What the command does."""
    last = checkpoints.weights_path(options.run)
    tensors = mean_weights(options.weights)
    made = f"mean of {', '.join(path.stem for path in options.weights)}"
    checkpoints.write_tensors(last, tensors, checkpoints.read_metadata(last))
    print(f"{last}: {made}")
    if options.ship:
        print(f"shipped {ship(options.run, options.ship, {'weights': made})}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--weights", type=Path, nargs="+", required=True, help="files to average")
    parser.add_argument("--run", type=Path, required=True, help="finished run, whose result becomes the mean")
    parser.add_argument("--ship", metavar="NAME", help="then write data/checkpoints/NAME.safetensors")
    options = parser.parse_args(arguments)
    return exit_code(work, options)


if __name__ == "__main__":
    sys.exit(main())
