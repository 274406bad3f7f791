"""Training the swapper: generator against discriminator, the embedder frozen (Sec. 4.2, 5.1).

The loop is the end of `train_swapper`; the step that it takes stands right below it. The batch of step k
depends on (seed, k) only, so a resumed run sees what an uninterrupted one sees.
"""

import copy
import json
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from smoothswap_lib import checkpoints, datasets, losses
from smoothswap_lib.discriminator import DISCRIMINATORS
from smoothswap_lib.embedder import Embedder
from smoothswap_lib.generator import Generator
from smoothswap_lib.profiles import Profile, SwapperProfile
from smoothswap_lib.runs.folder import Run, TrainingResult
from smoothswap_lib.runs.previews import NUM_PREVIEWS, preview
from smoothswap_lib.runs.settings import data_metadata, open_data
from smoothswap_lib.training.accelerator import (
    check_shards,
    checkpoint_gradients,
    full_precision,
    images,
    make_accelerator,
)


@dataclass
class Swapper:
    """What a step needs: networks and optimizers, prepared by Accelerate; `ema` averages the generator."""

    generator: nn.Module
    discriminator: nn.Module
    embedder: nn.Module
    ema: nn.Module
    generator_optimizer: Optimizer
    discriminator_optimizer: Optimizer
    config: SwapperProfile
    accelerator: Accelerator


@torch.random.fork_rng(devices=[])  # first weights depend on the seed; the caller's randomness stays
def train_swapper(
    profile: Profile,
    out: str | Path,
    data="train",
    embedder: str | Path | Embedder = "robust",
    seed: int = 0,
    resume: bool = False,
    progress: bool = True,
    sources=None,
) -> TrainingResult:
    """Train generator and discriminator into the folder `out`; the result is the generator's moving average.

    Parameters
    ----------
    data : a data set, or the name or folder of one (`open_data`); identities are not used
    embedder : a trained embedder: a shipped name, a run's folder, a file, or the network itself
    resume, progress, errors : as for `train_embedder`
    sources : another data set, for the source images; None takes targets and sources from `data`
    """
    config, accelerator = profile.swapper, make_accelerator(profile.mixed_precision)
    data = open_data(data, "swapper", profile.size)
    num_images, num_sources = len(data), 0
    metadata = data_metadata(data)
    if sources is not None:
        sources = open_data(sources, "swapper", profile.size)
        num_sources, more = len(sources), data_metadata(sources)
        metadata |= {"data": f"{metadata['data']}, sources {more['data']}", "sources": num_sources}
        metadata["fingerprint"] += more["fingerprint"]
        data = datasets.Joined(data, sources)
    embedder, embedder_metadata = frozen_embedder(embedder)
    check_shards(config.batch_size, "batch_size", accelerator)
    warn_of_small_groups(config, accelerator)
    run = Run(out, "swapper", profile, seed, metadata | embedder_metadata, accelerator, resume, progress)

    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs' as well
    generator, discriminator, arguments = build_swapper(profile, embedder.dim)
    swapper = prepare_swapper(profile, generator, discriminator, embedder, accelerator)
    ema, adam_g, adam_d = swapper.ema, swapper.generator_optimizer, swapper.discriminator_optimizer

    modules = {"generator": generator, "discriminator": discriminator, "ema": ema}
    with run.opened(modules, {"generator": adam_g.optimizer, "discriminator": adam_d.optimizer}):
        pairs = draw_pairs(seed, NUM_PREVIEWS, num_images, num_sources)  # the same in all previews
        shown = [images(data, part, accelerator) for part in pairs]  # 2 of (8, 3, H, W)
        for step in range(run.step, config.steps):
            target, source = swapper_batch(num_images, config, seed, step, num_sources)
            x_target, x_source = (
                images(data, shard(part, accelerator), accelerator) for part in (target, source)
            )
            values = swapper_step(swapper, x_target, x_source, step, watched=run.logs_after(step))
            run.record(step, values, config.generator_learning_rate)
            if run.due(profile.preview_every):
                preview(run, ema, embedder, *shown)
            run.log_and_save()
        run.finish(ema, {"network": "Generator", "arguments": json.dumps(arguments), **embedder_metadata})
    return TrainingResult(checkpoints.load_generator(run.folder), run.rows, run.folder, run.step, run.seconds)


def swapper_step(
    s: Swapper, x_target: Tensor, x_source: Tensor, step: int, watched: bool = True
) -> dict[str, Tensor]:
    """One step: generator, discriminator, moving average. Images are (B, 3, H, W) in [-1, 1].

    Returns scalars to plot, on the device; `watched` adds cos_target, which asks the embedder once more.
    """
    config, accelerator = s.config, s.accelerator

    # Generator: the embedder is frozen for good, the discriminator for this half. Both pass gradients on.
    discriminator = accelerator.unwrap_model(s.discriminator)  # bare: no process waits for gradients of it
    discriminator.requires_grad_(False)
    with torch.no_grad():
        z_source = s.embedder(x_source)  # (B, dim)
    x_swap = s.generator(x_target, z_source)  # (B, 3, H, W)
    z_swap = s.embedder(x_swap)  # (B, dim)
    loss_id = losses.identity_loss(z_swap, z_source)
    loss_chg = losses.change_loss(x_swap, x_target)
    loss_adv = losses.generator_adversarial_loss(discriminator(x_swap))
    loss = config.lambda_id * loss_id + config.lambda_chg * loss_chg + config.lambda_adv * loss_adv
    accelerator.backward(loss)
    norm_g = accelerator.clip_grad_norm_(s.generator.parameters(), config.max_grad_norm or math.inf)
    s.generator_optimizer.step()
    s.generator_optimizer.zero_grad()
    discriminator.requires_grad_(True)

    # Discriminator: the real images are the targets; they and the swaps differ in little but the swap.
    x_swap, x_real = x_swap.detach(), x_target.detach()
    with_r1 = config.r1_gamma > 0 and step % config.r1_interval == 0
    if with_r1:  # differentiates twice, which half precision does not survive
        x_real.requires_grad_(True)
        with full_precision(s.discriminator, accelerator):
            real = s.discriminator(x_real)  # (B,) logits
            penalty = losses.r1_penalty(real, x_real)
            r1 = config.r1_interval * config.r1_gamma / 2 * penalty
    else:
        real, r1 = s.discriminator(x_real), 0.0  # (B,) logits
    fake = s.discriminator(x_swap)  # (B,) logits
    loss_dis = losses.discriminator_loss(real, fake)
    accelerator.backward(loss_dis + r1)
    norm_d = accelerator.clip_grad_norm_(s.discriminator.parameters(), config.max_grad_norm or math.inf)
    s.discriminator_optimizer.step()
    s.discriminator_optimizer.zero_grad()

    # Moving average.
    update_ema(s.ema, accelerator.unwrap_model(s.generator), ema_decay_at(step, config.ema_decay))

    with torch.no_grad():
        values = {"identity": loss_id, "change": loss_chg, "adversarial": loss_adv}
        values |= {
            "discriminator_real": F.softplus(-real).mean(),
            "discriminator_fake": F.softplus(fake).mean(),
        }
        if with_r1:
            values |= {"r1": penalty, "r1_loss": r1}  # as it enters the loss: its share is in view
        swapped = (x_source != x_target).flatten(1).any(dim=1)  # (B,) False for self pairs
        values["cos_source"] = mean_cosine(z_swap, z_source, swapped, accelerator)
        if watched:
            values["cos_target"] = mean_cosine(z_swap, s.embedder(x_target), swapped, accelerator)
        values |= {"grad_norm_generator": norm_g, "grad_norm_discriminator": norm_d}
    return {name: value.detach() for name, value in values.items()}


def mean_cosine(z_swap: Tensor, z: Tensor, swapped: Tensor, accelerator: Accelerator) -> Tensor:
    """Did the identity move? Mean cosine over the pairs that are swaps, of all processes; (B, dim), (B,)."""
    cosines = torch.stack([F.cosine_similarity(z_swap, z), swapped.to(z.dtype)], dim=1)  # (B, 2)
    cosine, weight = accelerator.gather(cosines).unbind(dim=1)
    return (cosine * weight).sum() / weight.sum().clamp(min=1)


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """ema <- decay * ema + (1 - decay) * network, parameter by parameter; buffers are copied."""
    for average, value in zip(ema.parameters(), network.parameters(), strict=True):
        average.lerp_(value, 1 - decay)
    for average, value in zip(ema.buffers(), network.buffers(), strict=True):
        average.copy_(value)


def ema_decay_at(step: int, ema_decay: float) -> float:
    """The average's decay after step `step`: short at the start, so that it forgets the untrained weights."""
    return min(ema_decay, (1 + step) / (10 + step))


def swapper_batch(
    num_images: int, config: SwapperProfile, seed: int, step: int, num_sources: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Targets and sources of step `step`, from (seed, step) alone; the first sources are the targets."""
    target, source = draw_pairs([seed, step], config.batch_size, num_images, num_sources)
    source[: config.self_pairs] = target[: config.self_pairs]
    return target, source


def draw_pairs(seed, count: int, num_images: int, num_sources: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Indices of targets and sources, drawn uniformly: sources from `num_sources` images after the others."""
    rng = np.random.default_rng(seed)
    if num_sources:
        return rng.integers(num_images, size=count), num_images + rng.integers(num_sources, size=count)
    target, source = rng.integers(num_images, size=(2, count))
    return target, source


def shard(batch: np.ndarray, accelerator: Accelerator) -> np.ndarray:
    """This process' part of a batch that is dealt out like cards.

    The discriminator deals a batch into groups of 4 in the same way, so that groups, and with them the
    minibatch standard deviation, are those of the whole batch as long as 4 divides the images of a process.
    """
    return batch[accelerator.process_index :: accelerator.num_processes]


def warn_of_small_groups(config: SwapperProfile, accelerator: Accelerator) -> None:
    """Say it where StyleGAN2's discriminator compares fewer images with each other than its groups of 4."""
    count = config.batch_size // accelerator.num_processes
    small = config.discriminator == "stylegan2" and accelerator.num_processes > 1 and count % 4
    if small and accelerator.is_main_process:
        warnings.warn(
            f"a process holds {count} images: the discriminator's minibatch standard deviation wants a "
            "multiple of 4, and is not that of the whole batch. Use fewer processes or a larger batch_size.",
            stacklevel=3,
        )


def build_swapper(profile: Profile, identity_dim: int) -> tuple[Generator, nn.Module, dict]:
    """The profile's generator and discriminator, untrained, and the generator's arguments."""
    config = profile.swapper
    arguments = {
        "size": profile.size,
        "width": config.generator_width,
        "channel_multipliers": config.channel_multipliers,
        "blocks_per_level": config.blocks_per_level,
        "attention_resolutions": config.attention_resolutions,
        "identity_dim": identity_dim,
    }
    sizes = profile.size, config.discriminator_base, config.discriminator_max
    discriminator = DISCRIMINATORS[config.discriminator](*sizes)
    return Generator(**arguments), discriminator, arguments


def prepare_swapper(
    profile: Profile,
    generator: Generator,
    discriminator: nn.Module,
    embedder: Embedder,
    accelerator: Accelerator,
) -> Swapper:
    """Networks with their optimizers and the moving average, on the device, as the profile asks for them."""
    config = profile.swapper
    ema = copy.deepcopy(generator).eval().requires_grad_(False).to(accelerator.device)
    if profile.gradient_checkpointing:
        checkpoint_gradients(generator)
    fused = accelerator.device.type == "cuda" or None  # one kernel for all parameters
    adam_g = Adam(generator.parameters(), config.generator_learning_rate, config.adam_betas, fused=fused)
    adam_d = Adam(
        discriminator.parameters(), config.discriminator_learning_rate, config.adam_betas, fused=fused
    )
    frozen = accelerator.prepare_model(embedder, evaluation_mode=True)
    networks, optimizers = accelerator.prepare(generator, discriminator), accelerator.prepare(adam_g, adam_d)
    swapper = Swapper(*networks, frozen, ema, *optimizers, config, accelerator)
    if profile.compile:  # not the discriminator: compiled code cannot be differentiated twice, as R1 asks
        swapper.generator, swapper.embedder = torch.compile(swapper.generator), torch.compile(frozen)
    return swapper


def frozen_embedder(embedder: str | Path | Embedder) -> tuple[Embedder, dict[str, str]]:
    """An embedder that no step can change, and what identifies it: its name and its weights' hash."""
    given = isinstance(embedder, nn.Module)
    module = copy.deepcopy(embedder) if given else checkpoints.load_embedder(embedder)
    name = "in memory" if given else str(embedder)
    metadata = {"embedder": name, "embedder_hash": checkpoints.tensor_hash(module.state_dict())}
    return module.eval().requires_grad_(False), metadata
