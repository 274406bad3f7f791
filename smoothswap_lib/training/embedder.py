"""Training the identity embedder (Sec. 4.1), numbers from Sec. 5.1. The loop is the end of `train_embedder`.

The batch of step k depends on (seed, k) only: a resumed run sees what an uninterrupted one sees.
"""

import json
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Adam

from smoothswap_lib import checkpoints, datasets, losses
from smoothswap_lib.embedder import ArcFaceHead, Embedder, LinearHead
from smoothswap_lib.profiles import EmbedderProfile, Profile
from smoothswap_lib.runs.folder import Run, TrainingResult
from smoothswap_lib.runs.settings import data_metadata, open_data
from smoothswap_lib.training.accelerator import check_shards, images, make_accelerator
from smoothswap_lib.training.augmentation import color_factors, jitter_colors, step_generator


@torch.random.fork_rng(devices=[])  # first weights depend on the seed; the caller's randomness stays
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
    RunError, StoppedError, NonFiniteError
        See `runs.folder.Run`.
    """
    config, accelerator = profile.embedder, make_accelerator(profile.mixed_precision)
    data = open_data(data, "embedder", profile.size)
    names, labels = np.unique(np.asarray(data.identities), return_inverse=True)
    metadata = data_metadata(data) | {"identities": len(names)}
    batches = datasets.IdentityBatchSampler(
        labels, config.identities_per_batch, config.images_per_identity, config.steps, seed
    )
    check_shards(config.identities_per_batch, "identities_per_batch", accelerator)
    run = Run(out, "embedder", profile, seed, metadata, accelerator, resume, progress)

    arguments = {"backbone": config.backbone, "dim": config.dim}
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs' as well
    network, head = Embedder(**arguments), classifier_head(len(names), config)
    if accelerator.num_processes > 1:  # batch norm sees the images of all; torch's layer needs GPUs
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    modules = {"embedder": network} | ({} if head is None else {"head": head})
    parameters = [p for module in modules.values() for p in module.parameters()]
    fused = accelerator.device.type == "cuda" or None  # one kernel for all parameters
    adam = Adam(parameters, config.learning_rate, fused=fused)
    prepared = accelerator.prepare(network.train())
    if profile.compile:
        prepared = torch.compile(prepared)
    prepared_head = None if head is None else accelerator.prepare(head.train())
    optimizer = accelerator.prepare(adam)

    with run.opened(modules, {"embedder": adam}):
        for step in range(run.step, config.steps):
            # batch: several images of each of several people, an identity's next to each other
            indices = shard(batches.batch(step), accelerator)
            x = images(data, indices, accelerator)  # (B, 3, H, W)
            identity = torch.as_tensor(labels[indices], device=accelerator.device)  # (B,)
            if config.color_jitter or config.gray_share:
                factors = color_factors(config.batch_size, config.color_jitter, config.gray_share, seed, step)
                x = jitter_colors(x, shard(factors, accelerator))  # (B, 3, H, W)

            if epsilon := epsilon_at(step, config):  # beyond the paper: pictures moved by what nobody sees

                def loss_of(x: Tensor, identity: Tensor = identity) -> Tensor:
                    return batch_loss(prepared(x), identity, prepared_head, config, accelerator)[0]

                x = adversarial(x, loss_of, epsilon, seed, step)  # (B, 3, H, W)

            # step
            rate = adam.param_groups[0]["lr"] = decayed_learning_rate(step, config)
            loss, z, identity = batch_loss(prepared(x), identity, prepared_head, config, accelerator)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()

            # log, judge, save
            run.record(step, {"loss": loss, **pair_cosines(z, identity, head, accelerator)}, rate)
            if judge is not None and run.due(profile.preview_every):
                run.note(judged(network, judge))
            run.log_and_save()
        run.finish(network, {"network": "Embedder", "arguments": json.dumps(arguments)})
    return TrainingResult(checkpoints.load_embedder(run.folder), run.rows, run.folder, run.step, run.seconds)


def adversarial(
    x: Tensor, loss_of: Callable[[Tensor], Tensor], epsilon: float, seed: int, step: int
) -> Tensor:
    """Pictures at most `epsilon` gray levels from x, a pixel, that the loss likes least: FGSM, random start.

    One step of the sign of the gradient from a random place in the box (Goodfellow et al. 2015; Wong et al.
    2020). An embedder that is trained on them cannot tell people apart by what nobody sees, so its gradient
    has to ask for what everybody sees.

    Parameters
    ----------
    x : (B, 3, H, W) in [-1, 1]
    loss_of : images -> scalar
    """
    reach = epsilon * 2 / 255
    start = (torch.rand(x.shape, generator=step_generator(seed, step)).to(x) * 2 - 1) * reach  # (B, 3, H, W)
    moved = (x + start).requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss_of(moved), moved)  # (B, 3, H, W)
    change = (start + 1.25 * reach * gradient.sign()).clamp(-reach, reach)  # 1.25: Wong et al.
    return (x + change).clamp(-1, 1).detach()


def epsilon_at(step: int, config: EmbedderProfile) -> float:
    """Gray levels at a step: 0 at first, then a ramp; at the full value from the start nothing is learned."""
    clean = config.clean_share * config.steps
    return config.epsilon * min(max((step - clean) / max(clean, 1), 0.0), 1.0)


def batch_loss(
    z: Tensor, identity: Tensor, head: nn.Module | None, config: EmbedderProfile, accelerator: Accelerator
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of a batch, and the embeddings (B, dim) and identities (B,) that it is the loss of."""
    if head is None:
        z, identity = gather_batch(z, identity, accelerator)  # negatives are all processes' images
    return embedder_loss(z, identity, head, config), z, identity


def embedder_loss(z: Tensor, identity: Tensor, head: nn.Module | None, config: EmbedderProfile) -> Tensor:
    """The loss that the profile names: the paper's, Khosla et al.'s, or a classifier's (Table 2)."""
    if config.loss == "printed":
        return losses.contrastive_loss(z, identity, config.temperature)
    if config.loss == "supcon":
        return losses.supcon_loss(z, identity, config.temperature)
    return F.cross_entropy(head(z, identity), identity)


def classifier_head(num_identities: int, config: EmbedderProfile) -> nn.Module | None:
    """The baselines' classifier, which is not shipped; None for the contrastive losses."""
    if config.loss == "ce_lin":
        return LinearHead(config.dim, num_identities)
    if config.loss == "ce_arc":
        return ArcFaceHead(config.dim, num_identities, config.arc_scale, config.arc_margin)
    return None


def decayed_learning_rate(step: int, config: EmbedderProfile) -> float:
    """The embedder's rate: divided by 10 at 60, 75 and 90 % of the steps (Sec. 5.1)."""
    passed = sum(step >= fraction * config.steps for fraction in config.decay_at)
    return config.learning_rate * config.decay_factor**passed


def shard(batch, accelerator: Accelerator):
    """This process' part of a batch, in one piece: an identity's images stay together."""
    size = len(batch) // accelerator.num_processes
    return batch[accelerator.process_index * size :][:size]


def gather_batch(z: Tensor, identity: Tensor, accelerator: Accelerator) -> tuple[Tensor, Tensor]:
    """The embeddings and identities of all processes; only this process' embeddings carry a gradient."""
    if accelerator.num_processes == 1:
        return z, identity
    parts = list(accelerator.gather(z.detach()).chunk(accelerator.num_processes))
    # Accelerate averages gradients over the processes, but each holds its own images' part of one loss
    z.register_hook(lambda gradient: gradient * accelerator.num_processes)
    parts[accelerator.process_index] = z
    return torch.cat(parts), accelerator.gather(identity)


@torch.no_grad()
def pair_cosines(z: Tensor, identity: Tensor, head, accelerator: Accelerator) -> dict[str, Tensor]:
    """Mean cosine over pairs of one identity and over pairs of two: near 1 and 0 if the embedder is good."""
    if head is not None:
        z, identity = accelerator.gather(z.detach()), accelerator.gather(identity)
    cosines = z @ z.T  # (B, B)
    same = identity[:, None] == identity[None, :]  # (B, B)
    positive = same ^ torch.eye(len(z), dtype=torch.bool, device=z.device)  # (B, B) without each with itself

    def mean(chosen: Tensor) -> Tensor:  # no indexing by a mask, which would wait for the device
        return (cosines * chosen).sum() / chosen.sum()

    return {"cos_positive": mean(positive), "cos_negative": mean(~same)}


@torch.no_grad()
def judged(network: nn.Module, judge: Callable[[nn.Module], Mapping[str, float]]) -> dict[str, float]:
    """The judge's numbers of the network in eval mode; NaN is recorded, and said once."""
    network.eval()
    values = {name: float(value) for name, value in judge(network).items()}
    network.train()
    lost = [name for name, value in values.items() if not math.isfinite(value)]
    if lost:
        warnings.warn(f"the judge gives no number for {', '.join(lost)}; the training goes on", stacklevel=2)
    return values
