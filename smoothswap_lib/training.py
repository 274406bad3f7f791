"""The two training loops: the identity embedder (Sec. 4.1) and the swapper (Sec. 4.2), numbers from Sec. 5.1.

An optimization step is a function of `steps.py`; what the machine decides is in `engine.py`. The batch of
step k depends on (seed, k) only: a resumed run sees what an uninterrupted one sees.

    python -m smoothswap_lib.training embedder|swapper --profile P --out DIR [--resume] [--seed S]
        [--set NAME=VALUE ...]
"""

import copy
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from smoothswap_lib import checkpoints, datasets, engine
from smoothswap_lib.augmentation import color_factors, jitter_colors
from smoothswap_lib.discriminator import FORMS
from smoothswap_lib.embedder import ArcFaceHead, Embedder, LinearHead
from smoothswap_lib.engine import make_accelerator
from smoothswap_lib.generator import Generator
from smoothswap_lib.profiles import EmbedderProfile, Profile
from smoothswap_lib.runs import Run, RunError, TrainingResult, write_preview
from smoothswap_lib.steps import (
    SwapperParts,
    decayed_learning_rate,
    draw_pairs,
    embedder_step,
    set_learning_rate,
    swapper_batch,
    swapper_step,
)

NUM_PREVIEWS = 8  # pairs in a preview grid


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
        See `runs.Run`.
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
    modules["embedder"] = engine.shared_batch_norm(modules["embedder"], accelerator)
    parameters = [p for module in modules.values() for p in module.parameters()]
    optimizer = engine.adam(parameters, numbers.learning_rate, accelerator)
    prepared = {name: accelerator.prepare(module.train()) for name, module in modules.items()}
    stepper = accelerator.prepare(optimizer)
    if profile.compile_networks:
        engine.compile_in_place(modules["embedder"], accelerator)

    with run.opened(modules, {"embedder": optimizer}):
        shares = (engine.share(batches.batch(step), accelerator) for step in range(run.step, run.total))
        images = engine.image_batches(data, shares, accelerator, profile.loader_workers)
        for step, (indices, x) in zip(run.steps_left(), images):  # x is (B, 3, H, W)
            if numbers.color_jitter or numbers.gray_share:
                jitter = color_factors(
                    numbers.batch_size, numbers.color_jitter, numbers.gray_share, seed, step
                )
                x = jitter_colors(x, torch.as_tensor(engine.share(jitter, accelerator)))  # (B, 3, H, W)
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
    optimizers = {
        n: engine.adam(networks[n].parameters(), rate, accelerator, betas) for n, rate in rates.items()
    }
    if profile.recompute:
        engine.recompute_blocks(generator)
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
            engine.compile_in_place(network, accelerator)

    with run.opened({**networks, "ema": ema}, optimizers):
        pairs = (
            swapper_batch(counts[0], numbers, seed, step, counts[1]) for step in range(run.step, run.total)
        )
        shares = (np.concatenate([engine.dealt_share(part, accelerator) for part in both]) for both in pairs)
        images = engine.image_batches(data, shares, accelerator, profile.loader_workers)
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
    x_target, x_source = (engine.image_batch(data, part, accelerator) for part in pairs)  # (8, 3, H, W) each
    x_swap = ema(x_target, embedder(x_source))  # (8, 3, H, W)
    text = {"Software": "smoothswap_lib.training", "Step": str(run.step), "Profile": run.profile.name}
    rows = {"source": x_source, "target": x_target, "swap": x_swap}
    write_preview(run.folder / "previews" / f"step_{run.step:06d}.png", rows, text)


def open_data(data, section: str, size: int):
    """A data set as it is, or the one of that name: a TrueSwap split or folder, else a folder of photographs.

    Raises
    ------
    RunError
        The images are not of the profile's size.
    FileNotFoundError, ValueError
        From the data set: what is missing or broken.
    """
    if isinstance(data, str | Path):
        of_photographs = Path(data).is_dir() and not (Path(data) / "build.json").exists()
        if str(data) in datasets.SPLITS or not of_photographs:
            data = datasets.TrueSwap(data)
        else:
            data = (datasets.IdentityFolder if section == "embedder" else datasets.FaceFolder)(data, size)
    if data.size != size:
        raise RunError(
            f"The images are {data.size} px, the profile trains at {size} px: "
            f"give --data of that size, or --set size={data.size}."
        )
    return data


def data_name(data) -> str:
    """For the run's records: kind and folder name, such as "TrueSwap train"."""
    folder = getattr(data, "folder", None) or getattr(data, "path", "")
    return f"{type(data).__name__} {Path(folder).name}".strip()


def check_share(count: int, accelerator: Accelerator, micro_batches: int, images_each: int = 1) -> None:
    """RunError unless a batch of `count` can be divided among processes, and a process' images into parts.

    Parameters
    ----------
    count : of what stays together, images or identities
    images_each : images of one of them
    """
    if count % accelerator.num_processes:
        raise RunError(
            f"{accelerator.num_processes} processes cannot share {count} evenly: "
            "change batch_size (swapper) or identities_per_batch (embedder), or their number."
        )
    images = count * images_each // accelerator.num_processes
    if images % micro_batches:
        raise RunError(
            f"the {images} images of a process cannot be taken in {micro_batches} parts of one size: "
            f"set micro_batches to a number that divides {images}."
        )


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


if __name__ == "__main__":
    from smoothswap_lib.training_cli import main

    main()
