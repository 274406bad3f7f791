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


def in_parts(
    network: nn.Module, accelerator: Accelerator, micro_batches: int, *tensors: Tensor
) -> Iterator[tuple[Tensor, ...]]:
    """Parts of a batch one after the other, adding up gradients; the last one joins the processes'.

    A batch is dealt out like cards, as the discriminator deals it into its groups of 4 (`minibatch_stddev`).
    """
    for first in range(micro_batches):
        is_last = first == micro_batches - 1
        with contextlib.nullcontext() if is_last else accelerator.no_sync(network):
            yield tuple(tensor[first::micro_batches] for tensor in tensors)


def whole(parts: list[Tensor]) -> Tensor:
    """A batch from the parts that `in_parts` made of it."""
    return parts[0] if len(parts) == 1 else torch.stack(parts, dim=1).flatten(0, 1)


def mean_values(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Means over the parts of a batch; all have as many images."""
    if len(parts) == 1:
        return parts[0]
    return {name: torch.stack([values[name] for values in parts]).mean() for name in parts[0]}


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


def draw_pairs(
    rng: np.random.Generator, count: int, num_images: int, num_sources: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of targets and sources, drawn uniformly: sources from `num_sources` images after the others."""
    if num_sources:
        return rng.integers(num_images, size=count), num_images + rng.integers(num_sources, size=count)
    target, source = rng.integers(num_images, size=(2, count))
    return target, source


def swapper_batch(
    num_images: int, numbers: SwapperProfile, seed: int, step: int, num_sources: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of step `step`, from (seed, step) alone; the first `self_pairs` sources are the targets."""
    rng = np.random.default_rng([seed, step])
    target, source = draw_pairs(rng, numbers.batch_size, num_images, num_sources)
    source[: numbers.self_pairs] = target[: numbers.self_pairs]
    return target, source
