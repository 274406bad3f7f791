"""Train the oracle: the swapper's generator on true swaps, the best that this network could do.

    python experiments/train_oracle.py --truth build/true_swaps --out build/oracle --ship oracle

No embedder's loss and no discriminator: the mean squared error to the picture that the renderer made
(`render_true_swaps.py`), half of the pairs mirrored. The generator sees what the swapper's sees: the target
image and the embedder's vector of the source image. With `--embedder parameters` it is told the numbers that
the source was rendered from instead (`true_parameters.py`): what is left then is the network's own. A run
that was stopped goes on where it stood.
"""

import argparse
import copy
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from command import add_generator_options, exit_code, parser_of
from torch.optim import Adam
from true_parameters import vectors_of

from smoothswap_lib import profiles, training
from smoothswap_lib.datasets import TrueSwap, to_float
from smoothswap_lib.training import Run, apply_settings, ship


class Truth:
    """The rendered true swaps: rows of source and target in the train split, and images."""

    def __init__(self, folder: Path) -> None:
        parts = [np.load(path) for path in sorted(folder.glob("part-*.npz"))]
        if not parts:
            raise FileNotFoundError(f"{folder} holds no part-*.npz; render_true_swaps.py writes them")
        self.source, self.target, images = (
            np.concatenate([part[name] for part in parts]) for name in ("source", "target", "images")
        )
        self.images = torch.from_numpy(images).permute(0, 3, 1, 2)

    def __len__(self) -> int:
        return len(self.images)


def train_oracle(profile, out: Path, data, truth: Truth, embedder: str, seed: int) -> Run:
    """The loop: one generator, one loss; a batch depends on (seed, step) only."""
    config, accelerator = profile.swapper, training.make_accelerator(profile.mixed_precision)
    vectors, names = vectors_of(data, embedder)  # (images, dim)
    metadata = {**training.data_metadata(data), "true_swaps": len(truth), **names}
    run = Run(out, "swapper", profile, seed, metadata, accelerator, resume=True)
    torch.manual_seed(seed)
    generator, _, arguments = training.build_swapper(profile, vectors.shape[1])
    ema = copy.deepcopy(generator).eval().requires_grad_(False)
    optimizer = Adam(generator.parameters(), config.generator_learning_rate, (0.9, 0.99))
    network = accelerator.prepare(generator)
    if profile.compile:
        network = torch.compile(network)
    with run.opened({"generator": generator, "ema": ema}, {"generator": optimizer}):
        target, source = np.random.default_rng(seed).integers(len(data), size=(2, training.NUM_PREVIEWS))
        shown = [data.image_batch(part) for part in (target, source)]
        for step in range(run.step, config.steps):
            rng = np.random.default_rng([seed, step])
            rows, mirrored = rng.integers(len(truth), size=config.batch_size), rng.random() < 0.5
            x = torch.stack([data.image_batch(truth.target[rows]), to_float(truth.images[rows])])
            x_target, x_true = x.flip(4) if mirrored else x  # (B, 3, H, W) each
            error = F.mse_loss(network(x_target, vectors[truth.source[rows]]), x_true)
            accelerator.backward(error)
            norm = accelerator.clip_grad_norm_(generator.parameters(), config.max_grad_norm or math.inf)
            rate = config.generator_learning_rate * min(1.0, 4 * (1 - step / config.steps))
            optimizer.param_groups[0]["lr"] = rate  # falls over the last quarter
            optimizer.step()
            optimizer.zero_grad()
            training.update_ema(ema, generator, training.ema_decay_at(step, config.ema_decay))
            run.record(step, {"error": error, "grad_norm_generator": norm}, rate)
            if run.due(profile.preview_every):
                training.preview(run, ema, lambda _: vectors[source], *shown)
            run.log_and_save()
        run.finish(ema, {"network": "Generator", "arguments": json.dumps(arguments), **names})
    return run


def work(options: argparse.Namespace) -> None:
    """What the command does."""
    profile = apply_settings(profiles.get(options.profile), "swapper", options.set)
    data, truth = TrueSwap(options.train, size=profile.size), Truth(options.truth)
    train_oracle(profile, options.out, data, truth, options.embedder, options.seed)
    if options.ship:
        print(f"shipped {ship(options.out, options.ship)}")


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/oracle"), help="folder of the run")
    parser.add_argument("--truth", type=Path, default=Path("build/true_swaps"))
    parser.add_argument("--train", default="train", help="the split that the truth was rendered from")
    add_generator_options(parser)
    options = parser.parse_args(arguments)
    return exit_code(work, options)


if __name__ == "__main__":
    sys.exit(main())
