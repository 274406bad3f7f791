"""What the rivals share: pairs of faces, the form of a rival, one training step, the loop.

As for the shipped swapper: the data, the frozen embedder, the discriminator with R1, both optimizers, the
moving average, the number of images shown. What differs stands in the rival's own file.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smoothswap_lib import checkpoints, losses, training
from smoothswap_lib.discriminator import DISCRIMINATORS
from smoothswap_lib.profiles import Profile
from smoothswap_lib.training.accelerator import full_precision, make_accelerator


@dataclass(frozen=True)
class Pairs:
    """B pairs of faces and what is known of them.

    Attributes
    ----------
    x_source, x_target : (B, 3, H, W) in [-1, 1]
    z_source : (B, dim), the embedder's vectors of the sources
    same : (B,) bool, source and target are one person (or one picture): the target is the right answer
    known : what a rival needs beside the pictures, by name
    """

    x_source: Tensor
    x_target: Tensor
    z_source: Tensor
    same: Tensor
    known: dict[str, Tensor] = field(default_factory=dict)


class Rival(nn.Module):
    """A face swapper with its losses; each file of this folder has one.

    `weights` names the terms of its loss and their weights. `split` is where its training pictures come from.
    """

    weights: ClassVar[dict[str, float]] = {}
    split: ClassVar[str] = "train"

    def __init__(self, size: int = 64, identity_dim: int = 128) -> None:
        super().__init__()
        self.size, self.identity_dim = size, identity_dim

    def training_data(self, data, folder: Path, pictures: int):
        """The pictures it learns from: its split's, or some that it renders of each person into `folder`."""
        return data

    def draw(self, data, batch_size: int, step: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Rows of sources and of targets, and whether the two are the same, (batch_size,) each."""
        raise NotImplementedError

    def known(self, data, source: np.ndarray, target: np.ndarray, rng=None) -> dict[str, Tensor]:
        """What it has to know of rows of sources and targets; `rng` is given while training only."""
        return {}

    def swap(self, pairs: Pairs) -> Tensor:
        """(B, 3, H, W) in [-1, 1]."""
        return self(pairs.x_target, pairs.z_source, **pairs.known)

    def losses(
        self, pairs: Pairs, embedder: nn.Module, discriminator: nn.Module
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Swaps (B, 3, H, W), and each term of `weights` as a scalar, not weighted."""
        raise NotImplementedError


def draw_pairs(data, count: int, num_same: int, rng: np.random.Generator, alike: str) -> tuple:
    """Uniform pairs whose first `num_same` have a source like the target: its "picture" or its "person"."""
    target, source = rng.integers(len(data), size=(2, count))
    same = np.arange(count) < num_same
    if alike == "person":
        order = np.argsort(data.identities, kind="stable")
        first, last = (
            np.searchsorted(data.identities[order], data.identities[target], side)
            for side in ("left", "right")
        )
        source[same] = order[rng.integers(first, last)][same]  # any of the person's pictures
    else:
        source[same] = target[same]
    return source, target, same


def make_pairs(rival, data, embedder, source, target, same, rng=None, device="cpu") -> Pairs:
    """Pictures, identity vectors and the rival's own knowledge of rows of a data set."""
    x_source, x_target = (data.image_batch(rows).to(device) for rows in (source, target))
    with torch.no_grad():
        z_source = embedder(x_source)  # (B, dim)
    known = {name: value.to(device) for name, value in rival.known(data, source, target, rng).items()}
    return Pairs(x_source, x_target, z_source, torch.from_numpy(same).to(device), known)


def reconstruction_loss(x_swap: Tensor, x_target: Tensor, same: Tensor, power: int = 1) -> Tensor:
    """Mean |x_swap - x_target| ^ power over the pairs that are the same; 0 without one."""
    error = (x_swap - x_target).abs().pow(power).flatten(1).mean(1)  # (B,)
    return (error * same).sum() / same.sum().clamp(min=1)


def rival_step(s: training.Swapper, pairs: Pairs, step: int) -> dict[str, Tensor]:
    """One step: rival, discriminator (if its loss has one), moving average; scalars to plot.

    The second half is `training.swapper_step`'s.
    """
    rival, config, accelerator = s.generator, s.config, s.accelerator
    s.discriminator.requires_grad_(False)
    with accelerator.autocast():
        x_swap, terms = rival.losses(pairs, s.embedder, s.discriminator)
    accelerator.backward(sum(rival.weights[name] * term for name, term in terms.items()))
    norm_r = accelerator.clip_grad_norm_(rival.parameters(), config.max_grad_norm or math.inf)
    s.generator_optimizer.step()
    s.generator_optimizer.zero_grad()
    s.discriminator.requires_grad_(True)
    values = dict(terms)

    if "adversarial" in terms:
        x_swap, x_real = x_swap.detach().float(), pairs.x_target.detach().clone()
        r1 = 0.0
        if config.r1_gamma > 0 and step % config.r1_interval == 0:
            x_real.requires_grad_(True)
            with full_precision(s.discriminator, accelerator):
                real = s.discriminator(x_real)  # (B,) logits
                penalty = losses.r1_penalty(real, x_real)
            r1 = config.r1_interval * config.r1_gamma / 2 * penalty
            values["r1"] = penalty
        else:
            real = s.discriminator(x_real)  # (B,) logits
        fake = s.discriminator(x_swap)  # (B,) logits
        accelerator.backward(losses.discriminator_loss(real, fake) + r1)
        norm_d = accelerator.clip_grad_norm_(s.discriminator.parameters(), config.max_grad_norm or math.inf)
        s.discriminator_optimizer.step()
        s.discriminator_optimizer.zero_grad()
        values["discriminator_real"] = F.softplus(-real).mean()
        values["discriminator_fake"] = F.softplus(fake).mean()
        values["grad_norm_discriminator"] = norm_d

    training.update_ema(s.ema, rival, training.ema_decay_at(step, config.ema_decay))
    return {name: value.detach() for name, value in values.items()} | {"grad_norm_generator": norm_r}


def train_rival(
    kind: type[Rival],
    profile: Profile,
    out: Path,
    data,
    test,
    embedder: str | Path | nn.Module,
    seed: int = 0,
    weights: dict[str, float] | None = None,
    pictures: int = 200,
    progress: bool = True,
) -> tuple[Rival, nn.Module]:
    """Train one rival into the folder `out`, or go on there; its moving average and the embedder.

    Parameters
    ----------
    data, test : TrueSwap splits: to learn from; to show in previews
    embedder : a shipped name, a run's folder, a file, or the network itself
    weights : changes of the rival's `weights`
    pictures : of each person, for a rival that renders its own beside `out`

    Raises
    ------
    RunError, Interrupted, ...
        As `training.train_swapper`.
    """
    config, accelerator = profile.swapper, make_accelerator(profile.mixed_precision)
    if accelerator.num_processes > 1:
        raise training.RunError("a rival is trained by one process: start it without a launcher.")
    embedder, names = training.frozen_embedder(embedder)
    arguments = {"size": profile.size, "identity_dim": embedder.dim}
    torch.default_generator.manual_seed(seed)  # first weights
    rival = kind(**arguments)
    rival.weights = kind.weights | (weights or {})
    data = rival.training_data(data, out.parent, pictures)
    metadata = training.data_metadata(data) | names | {"rival": kind.__name__, "weights": rival.weights}
    run = training.Run(out, "swapper", profile, seed, metadata, accelerator, resume=True, progress=progress)
    sizes = profile.size, config.discriminator_base, config.discriminator_max
    discriminator = DISCRIMINATORS[config.discriminator](*sizes)
    s = training.prepare_swapper(profile, rival, discriminator, embedder, accelerator)

    modules = {"generator": rival, "discriminator": discriminator, "ema": s.ema}
    optimizers = {"generator": s.generator_optimizer, "discriminator": s.discriminator_optimizer}
    device = accelerator.device
    with run.opened(modules, {name: adam.optimizer for name, adam in optimizers.items()}):
        rows = judged_rows(rival, test, training.NUM_PREVIEWS, np.random.default_rng(seed))
        shown = make_pairs(rival, test, s.embedder, rows[0], rows[1], rows[0] == rows[1], device=device)
        for step in range(run.step, config.steps):
            rng = np.random.default_rng([seed, step])
            drawn = rival.draw(data, config.batch_size, step, rng)
            pairs = make_pairs(rival, data, s.embedder, *drawn, rng, device)
            run.record(step, rival_step(s, pairs, step), config.generator_learning_rate)
            if run.due(profile.preview_every):
                show(run, s.ema, shown, test.image_batch(rows[2]))
            run.log_and_save()
        run.finish(s.ema, {"network": kind.__name__, "arguments": json.dumps(arguments), **names})
    return s.ema.cpu(), embedder.cpu()


def judged_rows(rival: Rival, data, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of sources, targets and true swaps in a split's matrix: two people, two columns each; (3, count).

    A rival that knows a few `people` only (their numbers in the matrix) is shown these.
    """
    matrix = data.matrix_indices()
    people = np.asarray(getattr(rival, "people", np.arange(len(matrix))))
    source = rng.integers(len(people), size=count)
    target = people[(source + rng.integers(1, len(people), size=count)) % len(people)]
    column, turn = rng.integers(matrix.shape[1], size=count), rng.integers(1, matrix.shape[1], size=count)
    other = (column + turn) % matrix.shape[1]
    return np.stack([matrix[people[source], other], matrix[target, column], matrix[people[source], column]])


@torch.no_grad()
def show(run: training.Run, rival: Rival, pairs: Pairs, x_true: Tensor) -> None:
    """Write previews/step_NNNNNN.png: source, target, swap and true swap."""
    rows = {
        "source": pairs.x_source,
        "target": pairs.x_target,
        "swap": rival.swap(pairs),
        "true swap": x_true,
    }
    text = {"Software": "experiments/rivals", "Rival": type(rival).__name__, "Step": str(run.step)}
    training.write_preview(run.folder / "previews" / f"step_{run.step:06d}.png", rows, text)


def load_rival(kind: type[Rival], folder: Path) -> Rival:
    """A trained rival of a run's folder, in eval mode on the CPU."""
    path = checkpoints.weights_path(folder)
    metadata = checkpoints.read_metadata(path)
    if metadata.get("network") != kind.__name__:
        raise ValueError(f"{path} holds weights of {metadata.get('network')}, {kind.__name__} was asked for.")
    rival = kind(**json.loads(metadata["arguments"]))
    checkpoints.load_weights(path, rival)
    return rival.eval()
