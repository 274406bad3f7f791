"""One optimization step of each network, and what decides it: batch, rate, losses, average (Sec. 4 and 5.1).

Everything here is a function of its arguments; the loops that call it are in `training.py`. `accelerator` is
Hugging Face Accelerate's: backward pass, gradient clipping and mixed precision go through it.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from smoothswap_lib import losses
from smoothswap_lib.profiles import EmbedderProfile, SwapperProfile


def embedder_step(
    embedder: nn.Module,
    head: nn.Module | None,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    identity: Tensor,
    numbers: EmbedderProfile,
    accelerator: Accelerator,
) -> dict[str, Tensor]:
    """One step of the embedder (Sec. 4.1).

    Parameters
    ----------
    head : classifier of the baselines CE-Lin and CE-Arc; None for the contrastive losses
    x : Tensor, (B, 3, H, W) in [-1, 1]
    identity : Tensor, (B,) int, 0 to number of identities - 1

    Returns
    -------
    dict of scalars: loss and the mean cosines of positive and of negative pairs
    """
    z = embedder(x)  # (B, dim)
    if head is None and accelerator.num_processes > 1:
        z, identity = gather_batch(z, identity, accelerator)  # negatives come from all processes' images
    loss = embedder_loss(z, identity, head, numbers)
    accelerator.backward(loss)
    optimizer.step()
    optimizer.zero_grad()
    cos_positive, cos_negative = pair_cosines(z.detach(), identity)
    return {"loss": loss.detach(), "cos_positive": cos_positive, "cos_negative": cos_negative}


def embedder_loss(z: Tensor, identity: Tensor, head: nn.Module | None, numbers: EmbedderProfile) -> Tensor:
    """The loss that the profile names: the paper's, Khosla et al.'s, or a classifier's (Table 2)."""
    if numbers.loss == "supcon":
        return losses.contrastive_loss(z, identity, numbers.temperature)
    if numbers.loss == "khosla":
        return losses.supcon_loss(z, identity, numbers.temperature)
    return F.cross_entropy(head(z, identity), identity)


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


def warm_up(step: int, numbers: SwapperProfile) -> float:
    """The swapper's rates rise linearly to their full value over `warmup_steps`, then stay."""
    return min(1.0, (step + 1) / max(numbers.warmup_steps, 1))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> float:
    """Set the rate of all parameter groups: a function of the step alone, so there is nothing to restore."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


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
) -> tuple[dict[str, Tensor], float]:
    """One whole step of the swapper: generator, discriminator, average. Returns values and learning rate."""
    warm = warm_up(step, numbers)
    rate = set_learning_rate(parts.generator_optimizer, warm * numbers.generator_learning_rate)
    set_learning_rate(parts.discriminator_optimizer, warm * numbers.discriminator_learning_rate)
    generator, discriminator = (accelerator.unwrap_model(p) for p in (parts.generator, parts.discriminator))
    # the bare discriminator: several processes must not wait for gradients that it does not get in this step
    networks = (parts.generator, discriminator, parts.embedder)
    x_swap, values = generator_step(
        *networks, parts.generator_optimizer, x_target, x_source, numbers, accelerator
    )
    with_r1 = numbers.r1_gamma > 0 and step % numbers.r1_interval == 0
    values |= discriminator_step(
        parts.discriminator, parts.discriminator_optimizer, x_target, x_swap, with_r1, numbers, accelerator
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
    with torch.no_grad():
        z_source = embedder(x_source)  # (B, dim)
        z_target = embedder(x_target)  # (B, dim), only watched
    discriminator.requires_grad_(False)
    x_swap = generator(x_target, z_source)  # (B, 3, H, W)
    z_swap = embedder(x_swap)  # (B, dim)
    identity = losses.identity_loss(z_swap, z_source)
    change = losses.change_loss(x_swap, x_target)
    adversarial = losses.generator_adversarial_loss(discriminator(x_swap))
    loss = numbers.lambda_id * identity + numbers.lambda_chg * change + numbers.lambda_adv * adversarial
    accelerator.backward(loss)
    norm = accelerator.clip_grad_norm_(generator.parameters(), numbers.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()
    discriminator.requires_grad_(True)
    values = {"identity": identity, "change": change, "adversarial": adversarial, "grad_norm_generator": norm}
    values |= swap_cosines(z_swap, z_source, z_target)
    return x_swap.detach(), {name: value.detach() for name, value in values.items()}


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
) -> dict[str, Tensor]:
    """One step of the discriminator: the original GAN loss, and R1 in the steps that have it (`with_r1`).

    Parameters
    ----------
    x_real : Tensor, (B, 3, H, W) in [-1, 1]
        The targets: swap and photograph then differ in little but what the generator did.
    x_swap : Tensor, (B, 3, H, W)
        The generator's images of this step, detached.
    """
    values = {}
    x_real = x_real.detach().requires_grad_(with_r1)
    # R1 differentiates twice, which half precision does not survive
    with full_precision(discriminator, accelerator) if with_r1 else contextlib.nullcontext():
        real_logits = discriminator(x_real)  # (B,)
        penalty = losses.r1_penalty(real_logits, x_real) if with_r1 else None
    fake_logits = discriminator(x_swap)  # (B,)
    loss = losses.discriminator_loss(real_logits, fake_logits)
    if with_r1:
        values["r1"] = penalty
        loss = loss + numbers.r1_interval * numbers.r1_gamma / 2 * penalty
    accelerator.backward(loss)
    values["grad_norm_discriminator"] = accelerator.clip_grad_norm_(
        discriminator.parameters(), numbers.max_grad_norm
    )
    optimizer.step()
    optimizer.zero_grad()
    values |= {
        "discriminator_real": F.softplus(-real_logits).mean(),
        "discriminator_fake": F.softplus(fake_logits).mean(),
    }
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


def swapper_batch(
    num_images: int, numbers: SwapperProfile, seed: int, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of targets and sources, drawn uniformly; the first `self_pairs` sources are the targets."""
    target, source = np.random.default_rng([seed, step]).integers(num_images, size=(2, numbers.batch_size))
    source[: numbers.self_pairs] = target[: numbers.self_pairs]
    return target, source
