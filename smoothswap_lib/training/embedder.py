"""Training the identity embedder (Sec. 4.1), numbers from Sec. 5.1.

The batch of step k depends on (seed, k) only: a resumed run sees what an uninterrupted one sees.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from smoothswap_lib import checkpoints, datasets, losses
from smoothswap_lib.embedder import ArcFaceHead, Embedder, LinearHead
from smoothswap_lib.profiles import EmbedderProfile, Profile
from smoothswap_lib.training.accelerator import (
    adam,
    check_share,
    compile_in_place,
    image_batches,
    in_parts,
    make_accelerator,
    set_learning_rate,
    share,
    shared_batch_norm,
    whole,
)
from smoothswap_lib.training.augmentation import color_factors, jitter_colors
from smoothswap_lib.training.run_folder import Run, TrainingResult
from smoothswap_lib.training.settings import data_name, open_data


def train_embedder(
    profile: Profile,
    out: str | Path,
    data="train",
    seed: int = 0,
    resume: bool = False,
    progress: bool = True,
    judge: Callable[[nn.Module], Mapping[str, float]] | None = None,
) -> TrainingResult:
    """Train the identity embedder into the folder `out`.

    Parameters
    ----------
    data : a data set with `.identities`, or the name or folder of one (`open_data`)
    resume : continue the run in `out`
    progress : bars and messages on stderr
    judge : measures the embedder (eval mode) every `preview_every` steps; its numbers enter the metrics

    Raises
    ------
    RunError, NonFiniteError
        See `run_folder.Run`.
    """
    numbers, accelerator = profile.embedder, make_accelerator(profile.mixed_precision)
    data = open_data(data, "embedder", profile.size)
    names, labels = np.unique(np.asarray(data.identities), return_inverse=True)
    check_share(numbers.identities_per_batch, accelerator, profile.micro_batches, numbers.images_per_identity)
    batches = datasets.IdentityBatchSampler(
        labels, numbers.identities_per_batch, numbers.images_per_identity, numbers.steps, seed
    )
    facts = {"data": data_name(data), "images": len(labels), "identities": len(names)}
    run = Run(out, "embedder", profile, seed, facts, accelerator, resume, progress)

    torch.manual_seed(seed)
    arguments = {"backbone": numbers.backbone, "dim": numbers.dim}
    modules = {"embedder": Embedder(**arguments), "head": classifier_head(len(names), numbers)}
    modules = {name: module for name, module in modules.items() if module is not None}
    modules["embedder"] = shared_batch_norm(modules["embedder"], accelerator)
    parameters = [p for module in modules.values() for p in module.parameters()]
    optimizer = adam(parameters, numbers.learning_rate, accelerator)
    prepared = {name: accelerator.prepare(module.train()) for name, module in modules.items()}
    stepper = accelerator.prepare(optimizer)
    if profile.compile_networks:
        compile_in_place(modules["embedder"], accelerator)

    with run.opened(modules, {"embedder": optimizer}):
        shares = (share(batches.batch(step), accelerator) for step in range(run.step, run.total))
        images = image_batches(data, shares, accelerator, profile.loader_workers)
        for step, (indices, x) in zip(run.steps_left(), images):  # x is (B, 3, H, W)
            if numbers.color_jitter or numbers.gray_share:
                jitter = color_factors(
                    numbers.batch_size, numbers.color_jitter, numbers.gray_share, seed, step
                )
                x = jitter_colors(x, torch.as_tensor(share(jitter, accelerator)))  # (B, 3, H, W)
            identity = torch.as_tensor(labels[indices], device=accelerator.device)  # (B,)
            rate = set_learning_rate(optimizer, decayed_learning_rate(step, numbers))
            networks = (prepared["embedder"], prepared.get("head"), stepper)
            values = embedder_step(*networks, x, identity, numbers, accelerator, profile.micro_batches)
            if judge is not None and run.due(profile.preview_every, step + 1):
                values |= judged(judge, modules["embedder"])
            run.record(values, rate)
            run.save_if_due()
    run.finish(modules["embedder"], {"network": "Embedder", "arguments": json.dumps(arguments)})
    return TrainingResult(checkpoints.load_embedder(run.folder), run.rows, run.folder, run.step, run.seconds)


@torch.no_grad()
def judged(judge: Callable[[nn.Module], Mapping[str, float]], module: nn.Module) -> dict[str, Tensor]:
    """What the judge says of a network in the middle of its training, which goes on as if not interrupted."""
    module.eval()
    try:
        return {name: torch.as_tensor(float(value)) for name, value in judge(module).items()}
    finally:
        module.train()


def classifier_head(num_identities: int, numbers: EmbedderProfile) -> nn.Module | None:
    """The classifier that the baselines of Table 2 are trained with, and that is thrown away afterwards."""
    if numbers.loss == "ce_lin":
        return LinearHead(numbers.dim, num_identities)
    if numbers.loss == "ce_arc":
        return ArcFaceHead(numbers.dim, num_identities, numbers.arc_scale, numbers.arc_margin)
    return None


def embedder_step(
    embedder: nn.Module,
    head: nn.Module | None,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    identity: Tensor,
    numbers: EmbedderProfile,
    accelerator: Accelerator,
    micro_batches: int = 1,
) -> dict[str, Tensor]:
    """One step of the embedder (Sec. 4.1).

    Parameters
    ----------
    head : classifier of the baselines CE-Lin and CE-Arc; None for the contrastive losses
    x : Tensor, (B, 3, H, W) in [-1, 1]
    identity : Tensor, (B,) int, 0 to number of identities - 1
    micro_batches : parts that go through the network one after the other; the loss sees all of them, but
        batch norm sees only one

    Returns
    -------
    dict of scalars: loss and the mean cosines of positive and of negative pairs
    """
    z = own = embedder(x) if micro_batches == 1 else embedded_in_parts(embedder, x, micro_batches)  # (B, dim)
    if head is None and accelerator.num_processes > 1:
        z, identity = gather_batch(z, identity, accelerator)  # negatives come from all processes' images
    loss = embedder_loss(z, identity, head, numbers)
    accelerator.backward(loss)
    if micro_batches > 1:
        # dL/dz is known now: the parts go through the network again, this time for their gradients
        for part, gradient in in_parts(embedder, accelerator, micro_batches, x, own.grad):
            embedder(part).backward(gradient)
    optimizer.step()
    optimizer.zero_grad()
    if head is not None:
        z, identity = accelerator.gather(z.detach()), accelerator.gather(identity)
    cos_positive, cos_negative = pair_cosines(z.detach(), identity)
    return {"loss": loss.detach(), "cos_positive": cos_positive, "cos_negative": cos_negative}


def embedder_loss(z: Tensor, identity: Tensor, head: nn.Module | None, numbers: EmbedderProfile) -> Tensor:
    """The loss that the profile names: the paper's, Khosla et al.'s, or a classifier's (Table 2)."""
    if numbers.loss == "supcon":
        return losses.contrastive_loss(z, identity, numbers.temperature)
    if numbers.loss == "khosla":
        return losses.supcon_loss(z, identity, numbers.temperature)
    return F.cross_entropy(head(z, identity), identity)


@torch.no_grad()
def embedded_in_parts(embedder: nn.Module, x: Tensor, micro_batches: int) -> Tensor:
    """The batch's embeddings without their history; batch norm's averages do not count this pass."""
    norms = [module for module in embedder.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        parts = [embedder(x[first::micro_batches]) for first in range(micro_batches)]
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return whole(parts).requires_grad_()  # (B, dim)


def gather_batch(z: Tensor, identity: Tensor, accelerator: Accelerator) -> tuple[Tensor, Tensor]:
    """The embeddings and identities of all processes; only this process' embeddings carry a gradient."""
    parts = list(accelerator.gather(z.detach()).chunk(accelerator.num_processes))
    # Accelerate averages gradients over the processes, but each holds its own images' share of one loss
    z.register_hook(lambda gradient: gradient * accelerator.num_processes)
    parts[accelerator.process_index] = z
    return torch.cat(parts), accelerator.gather(identity)


@torch.no_grad()
def pair_cosines(z: Tensor, identity: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cosine over pairs of one identity and over pairs of two: near 1 and 0 if the embedder is good."""
    cosines = z @ z.T  # (B, B)
    same = identity[:, None] == identity[None, :]  # (B, B)
    others = ~torch.eye(len(z), dtype=torch.bool, device=z.device)  # (B, B)
    return cosines[same & others].mean(), cosines[~same].mean()


def decayed_learning_rate(step: int, numbers: EmbedderProfile) -> float:
    """The embedder's rate: divided by 10 at 60, 75 and 90 % of the steps (Sec. 5.1)."""
    passed = sum(step >= fraction * numbers.steps for fraction in numbers.decay_at)
    return numbers.learning_rate * numbers.decay_factor**passed
