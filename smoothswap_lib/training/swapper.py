"""Training the swapper: generator and discriminator (Sec. 4.2), numbers from Sec. 5.1.

The batch of step k depends on (seed, k) only: a resumed run sees what an uninterrupted one sees.
`accelerator` is Hugging Face's: backward pass, gradient clipping and mixed precision go through it.
"""

import contextlib
import copy
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from smoothswap_lib import checkpoints, datasets, losses
from smoothswap_lib.discriminator import FORMS
from smoothswap_lib.embedder import Embedder
from smoothswap_lib.generator import Generator
from smoothswap_lib.profiles import Profile, SwapperProfile
from smoothswap_lib.training.accelerator import (
    adam,
    check_share,
    compile_in_place,
    dealt_share,
    image_batch,
    image_batches,
    in_parts,
    make_accelerator,
    mean_values,
    recompute_blocks,
    set_learning_rate,
    whole,
)
from smoothswap_lib.training.run_folder import Run, TrainingResult, write_preview
from smoothswap_lib.training.settings import data_name, open_data

NUM_PREVIEWS = 8  # pairs in a preview grid


def train_swapper(
    profile: Profile,
    out: str | Path,
    data="train",
    embedder: str | Path | Embedder = "supcon",
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
    numbers, accelerator = profile.swapper, make_accelerator(profile.mixed_precision)
    data = open_data(data, "swapper", profile.size)
    embedder, embedder_facts = frozen_embedder(embedder)
    check_share(numbers.batch_size, accelerator, profile.micro_batches)
    warn_of_small_groups(profile, accelerator)
    facts = {"data": data_name(data), "images": len(data), **embedder_facts}
    counts = (len(data), 0)
    if sources is not None:
        sources = open_data(sources, "swapper", profile.size)
        counts = (len(data), len(sources))
        facts |= {"data": f"{data_name(data)}, sources {data_name(sources)}", "sources": len(sources)}
        data = datasets.Joined(data, sources)
    run = Run(out, "swapper", profile, seed, facts, accelerator, resume, progress)

    torch.manual_seed(seed)
    generator, discriminator, arguments = build_swapper(profile, embedder.dim)
    ema = copy.deepcopy(generator).eval().requires_grad_(False).to(accelerator.device)
    betas = tuple(float(beta) for beta in numbers.adam_betas)  # Adam refuses (0, 0.99)
    rates = {
        "generator": numbers.generator_learning_rate,
        "discriminator": numbers.discriminator_learning_rate,
    }
    networks = {"generator": generator, "discriminator": discriminator}
    optimizers = {n: adam(networks[n].parameters(), rate, accelerator, betas) for n, rate in rates.items()}
    if profile.recompute:
        recompute_blocks(generator)
    parts = SwapperParts(
        accelerator.prepare(generator),
        accelerator.prepare(discriminator),
        accelerator.prepare_model(embedder, evaluation_mode=True),
        ema,
        accelerator.prepare(optimizers["generator"]),
        accelerator.prepare(optimizers["discriminator"]),
    )

    if profile.compile_networks:
        for network in (generator, embedder):  # R1 differentiates the discriminator twice: it stays eager
            compile_in_place(network, accelerator)

    with run.opened({**networks, "ema": ema}, optimizers):
        pairs = (
            swapper_batch(counts[0], numbers, seed, step, counts[1]) for step in range(run.step, run.total)
        )
        shares = (np.concatenate([dealt_share(part, accelerator) for part in both]) for both in pairs)
        images = image_batches(data, shares, accelerator, profile.loader_workers)
        for step, (_, x) in zip(run.steps_left(), images):
            x_target, x_source = x.chunk(2)  # (B, 3, H, W) each
            values, rate = swapper_step(
                parts, x_target, x_source, step, numbers, accelerator, profile.micro_batches
            )
            run.record(values, rate)
            if run.due(profile.preview_every) and accelerator.is_main_process:
                preview(run, ema, parts.embedder, data, counts, accelerator)
            run.save_if_due()
    text = {"embedder": embedder_facts["embedder"], "embedder_hash": embedder_facts["embedder_hash"]}
    run.finish(ema, {"network": "Generator", "arguments": json.dumps(arguments), **text})
    return TrainingResult(checkpoints.load_generator(run.folder), run.rows, run.folder, run.step, run.seconds)


def build_swapper(profile: Profile, identity_dim: int) -> tuple[Generator, nn.Module, dict]:
    """The profile's generator and discriminator, untrained, and the generator's arguments."""
    numbers = profile.swapper
    arguments = {
        "size": profile.size,
        "width": numbers.generator_width,
        "channel_multipliers": numbers.channel_multipliers,
        "blocks_per_level": numbers.blocks_per_level,
        "attention_resolutions": numbers.attention_resolutions,
        "identity_dim": identity_dim,
    }
    form = FORMS[numbers.discriminator]
    discriminator = form(profile.size, numbers.discriminator_base, numbers.discriminator_max)
    return Generator(**arguments), discriminator, arguments


def frozen_embedder(embedder: str | Path | Embedder) -> tuple[Embedder, dict[str, str]]:
    """An embedder that no step can change, and what identifies it: its name and its weights' hash."""
    name = "in memory" if isinstance(embedder, nn.Module) else str(embedder)
    module = (
        copy.deepcopy(embedder) if isinstance(embedder, nn.Module) else checkpoints.load_embedder(embedder)
    )
    facts = {"embedder": name, "embedder_hash": checkpoints.tensor_hash(module.state_dict())}
    return module.eval().requires_grad_(False), facts


@torch.no_grad()
def preview(
    run: Run, ema: nn.Module, embedder: nn.Module, data, counts: tuple[int, int], accelerator: Accelerator
) -> None:
    """Write previews/step_NNNNNN.png: the same pairs each time, swapped by the moving average."""
    pairs = draw_pairs(np.random.default_rng(run.seed), NUM_PREVIEWS, *counts)
    x_target, x_source = (image_batch(data, part, accelerator) for part in pairs)  # (8, 3, H, W) each
    x_swap = ema(x_target, embedder(x_source))  # (8, 3, H, W)
    text = {"Software": "smoothswap_lib.training", "Step": str(run.step), "Profile": run.profile.name}
    rows = {"source": x_source, "target": x_target, "swap": x_swap}
    write_preview(run.folder / "previews" / f"step_{run.step:06d}.png", rows, text)


def warn_of_small_groups(profile: Profile, accelerator: Accelerator) -> None:
    """Say it where StyleGAN2's discriminator compares fewer images with each other than its groups of 4."""
    parts = accelerator.num_processes * profile.micro_batches
    images = profile.swapper.batch_size // parts
    small = profile.swapper.discriminator == "stylegan2" and parts > 1 and images % 4
    if small and accelerator.is_main_process:
        warnings.warn(
            f"a process (or its part of a batch) holds {images} images: the discriminator's minibatch "
            "standard deviation wants a multiple of 4, and is not that of the whole batch. Fewer processes "
            "or micro_batches, or a larger batch_size, mend it.",
            stacklevel=3,
        )


def swapper_batch(
    num_images: int, numbers: SwapperProfile, seed: int, step: int, num_sources: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of step `step`, from (seed, step) alone; the first `self_pairs` sources are the targets."""
    rng = np.random.default_rng([seed, step])
    target, source = draw_pairs(rng, numbers.batch_size, num_images, num_sources)
    source[: numbers.self_pairs] = target[: numbers.self_pairs]
    return target, source


def draw_pairs(
    rng: np.random.Generator, count: int, num_images: int, num_sources: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of targets and sources, drawn uniformly: sources from `num_sources` images after the others."""
    if num_sources:
        return rng.integers(num_images, size=count), num_images + rng.integers(num_sources, size=count)
    target, source = rng.integers(num_images, size=(2, count))
    return target, source


@dataclass
class SwapperParts:
    """Networks and optimizers of the swapper's training, prepared by Accelerate; `ema` is the average."""

    generator: nn.Module
    discriminator: nn.Module
    embedder: nn.Module
    ema: nn.Module
    generator_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer


def swapper_step(
    parts: SwapperParts,
    x_target: Tensor,
    x_source: Tensor,
    step: int,
    numbers: SwapperProfile,
    accelerator: Accelerator,
    micro_batches: int = 1,
) -> tuple[dict[str, Tensor], float]:
    """One whole step of the swapper: generator, discriminator, average. Returns values and learning rate."""
    warm = warm_up(step, numbers)
    rate = set_learning_rate(parts.generator_optimizer, warm * numbers.generator_learning_rate)
    set_learning_rate(parts.discriminator_optimizer, warm * numbers.discriminator_learning_rate)
    generator, discriminator = (accelerator.unwrap_model(p) for p in (parts.generator, parts.discriminator))
    # the bare discriminator: several processes must not wait for gradients that it does not get in this step
    networks = (parts.generator, discriminator, parts.embedder)
    settings = (numbers, accelerator, micro_batches)
    x_swap, values = generator_step(*networks, parts.generator_optimizer, x_target, x_source, *settings)
    with_r1 = numbers.r1_gamma > 0 and step % numbers.r1_interval == 0
    values |= discriminator_step(
        parts.discriminator, parts.discriminator_optimizer, x_target, x_swap, with_r1, *settings
    )
    update_ema(parts.ema, generator, ema_decay_at(step, numbers.ema_decay))
    return values, rate


def generator_step(
    generator: nn.Module,
    discriminator: nn.Module,
    embedder: nn.Module,
    optimizer: torch.optim.Optimizer,
    x_target: Tensor,
    x_source: Tensor,
    numbers: SwapperProfile,
    accelerator: Accelerator,
    micro_batches: int = 1,
) -> tuple[Tensor, dict[str, Tensor]]:
    """One step of the generator: L = lambda_id L_id + lambda_chg L_chg + lambda_adv L_adv (Sec. 4.2).

    The embedder is frozen for good, the discriminator for this step: both only pass gradients on.

    Parameters
    ----------
    x_target, x_source : Tensor, (B, 3, H, W) in [-1, 1]

    Returns
    -------
    Tensor, (B, 3, H, W): the swaps, detached, for the discriminator's step
    dict of scalars: the three losses, the gradient's norm, cosines of the swaps to source and target
    """
    discriminator.requires_grad_(False)
    swaps, vectors, parts = [], [], []
    for target, source in in_parts(generator, accelerator, micro_batches, x_target, x_source):
        with torch.no_grad():
            z_source = embedder(source)  # (B, dim)
            z_target = embedder(target)  # (B, dim), only watched
        x_swap = generator(target, z_source)  # (B, 3, H, W)
        z_swap = embedder(x_swap)  # (B, dim)
        identity = losses.identity_loss(z_swap, z_source)
        change = losses.change_loss(x_swap, target)
        adversarial = losses.generator_adversarial_loss(discriminator(x_swap))
        loss = numbers.lambda_id * identity + numbers.lambda_chg * change + numbers.lambda_adv * adversarial
        accelerator.backward(loss / micro_batches)
        swaps.append(x_swap.detach())
        vectors.append(torch.stack([z_swap.detach(), z_source, z_target], dim=1))  # (B, 3, dim)
        parts.append({"identity": identity, "change": change, "adversarial": adversarial})
    norm = accelerator.clip_grad_norm_(generator.parameters(), numbers.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()
    discriminator.requires_grad_(True)
    values = {**mean_values(parts), "grad_norm_generator": norm}
    # gathered: the processes may hold different numbers of self pairs, which do not count
    values |= swap_cosines(*accelerator.gather(torch.cat(vectors)).unbind(dim=1))
    return whole(swaps), {name: value.detach() for name, value in values.items()}


@torch.no_grad()
def swap_cosines(z_swap: Tensor, z_source: Tensor, z_target: Tensor) -> dict[str, Tensor]:
    """Did the identity move? Mean cosine of swaps to source and to target, self pairs left out."""
    swapped = (z_source != z_target).any(dim=1).float()  # (B,)
    count = swapped.sum().clamp(min=1)
    to_source, to_target = (F.cosine_similarity(z_swap, z) for z in (z_source, z_target))  # (B,) each
    return {
        "cos_source": (to_source * swapped).sum() / count,
        "cos_target": (to_target * swapped).sum() / count,
    }


def discriminator_step(
    discriminator: nn.Module,
    optimizer: torch.optim.Optimizer,
    x_real: Tensor,
    x_swap: Tensor,
    with_r1: bool,
    numbers: SwapperProfile,
    accelerator: Accelerator,
    micro_batches: int = 1,
) -> dict[str, Tensor]:
    """One step of the discriminator: the original GAN loss, and R1 in the steps that have it (`with_r1`).

    Parameters
    ----------
    x_real : Tensor, (B, 3, H, W) in [-1, 1]
        The targets: swap and photograph then differ in little but what the generator did.
    x_swap : Tensor, (B, 3, H, W)
        The generator's images of this step, detached.
    """
    parts = []
    for real, fake in in_parts(discriminator, accelerator, micro_batches, x_real, x_swap):
        real = real.detach().requires_grad_(with_r1)
        # R1 differentiates twice, which half precision does not survive
        with full_precision(discriminator, accelerator) if with_r1 else contextlib.nullcontext():
            real_logits = discriminator(real)  # (B,)
            penalty = losses.r1_penalty(real_logits, real) if with_r1 else None
        fake_logits = discriminator(fake)  # (B,)
        loss = losses.discriminator_loss(real_logits, fake_logits)
        if with_r1:
            loss = loss + numbers.r1_interval * numbers.r1_gamma / 2 * penalty
        accelerator.backward(loss / micro_batches)
        parts.append({"r1": penalty} if with_r1 else {})
        parts[-1] |= {
            "discriminator_real": F.softplus(-real_logits).mean(),
            "discriminator_fake": F.softplus(fake_logits).mean(),
        }
    norm = accelerator.clip_grad_norm_(discriminator.parameters(), numbers.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()
    values = {**mean_values(parts), "grad_norm_discriminator": norm}
    return {name: value.detach() for name, value in values.items()}


@contextlib.contextmanager
def full_precision(network: nn.Module, accelerator: Accelerator) -> Iterator[None]:
    """Calls of the network run in fp32 meanwhile.

    Accelerate puts mixed precision into an instance's own `forward`; without it the class's shows through.
    """
    module = accelerator.unwrap_model(network)
    mixed = module.__dict__.pop("forward", None)
    try:
        yield
    finally:
        if mixed is not None:
            module.forward = mixed


def warm_up(step: int, numbers: SwapperProfile) -> float:
    """The swapper's rates rise linearly to their full value over `warmup_steps`, then stay."""
    return min(1.0, (step + 1) / max(numbers.warmup_steps, 1))


def ema_decay_at(step: int, ema_decay: float) -> float:
    """The average's decay after step `step`: short at the start, so that it forgets the untrained weights."""
    return min(ema_decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """ema <- decay * ema + (1 - decay) * network, parameter by parameter; buffers are copied."""
    for average, value in zip(ema.parameters(), network.parameters(), strict=True):
        average.lerp_(value, 1 - decay)
    for average, value in zip(ema.buffers(), network.buffers(), strict=True):
        average.copy_(value)
