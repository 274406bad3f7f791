"""The two training loops: the identity embedder (Sec. 4.1) and the swapper (Sec. 4.2), numbers from Sec. 5.1.

Devices, precision and processes come from Hugging Face Accelerate; an optimization step is a function of
`steps.py`. The batch of step k depends on (seed, k) only: a resumed run sees what an uninterrupted one sees.

    python -m smoothswap_lib.training embedder|swapper --profile P --out DIR [--resume] [--seed S]
        [--set NAME=VALUE ...]
"""

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState, is_initialized
from torch import Tensor, nn
from torch.optim import Adam

from smoothswap_lib import checkpoints, datasets
from smoothswap_lib.augmentation import color_factors, jitter_colors
from smoothswap_lib.discriminator import Discriminator
from smoothswap_lib.embedder import ArcFaceHead, Embedder, LinearHead
from smoothswap_lib.generator import Generator
from smoothswap_lib.profiles import EmbedderProfile, Profile
from smoothswap_lib.runs import Run, RunError, TrainingResult, write_preview
from smoothswap_lib.steps import (
    SwapperParts,
    decayed_learning_rate,
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
    check_share(numbers.identities_per_batch, accelerator)
    batches = datasets.IdentityBatchSampler(
        labels, numbers.identities_per_batch, numbers.images_per_identity, numbers.steps, seed
    )
    facts = {"data": data_name(data), "images": len(labels), "identities": len(names)}
    run = Run(out, "embedder", profile, seed, facts, accelerator, resume, progress)

    torch.manual_seed(seed)
    arguments = {"backbone": numbers.backbone, "dim": numbers.dim}
    modules = {"embedder": Embedder(**arguments), "head": classifier_head(len(names), numbers)}
    modules = {name: module for name, module in modules.items() if module is not None}
    parameters = [p for module in modules.values() for p in module.parameters()]
    optimizer = Adam(parameters, lr=numbers.learning_rate)
    prepared = {name: accelerator.prepare(module.train()) for name, module in modules.items()}
    stepper = accelerator.prepare(optimizer)

    with run.opened(modules, {"embedder": optimizer}):
        for step in run.steps_left():
            indices = share(batches.batch(step), accelerator)
            x = image_batch(data, indices, accelerator)  # (B, 3, H, W)
            if numbers.color_jitter or numbers.gray_share:
                jitter = color_factors(
                    numbers.batch_size, numbers.color_jitter, numbers.gray_share, seed, step
                )
                x = jitter_colors(x, torch.as_tensor(share(jitter, accelerator)))  # (B, 3, H, W)
            identity = torch.as_tensor(labels[indices], device=accelerator.device)  # (B,)
            rate = set_learning_rate(optimizer, decayed_learning_rate(step, numbers))
            values = embedder_step(
                prepared["embedder"], prepared.get("head"), stepper, x, identity, numbers, accelerator
            )
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
) -> TrainingResult:
    """Train generator and discriminator into the folder `out`; the result is the generator's moving average.

    Parameters
    ----------
    data : a data set, or the name or folder of one (`open_data`); identities are not used
    embedder : a trained embedder: a shipped name, a run's folder, a file, or the network itself
    resume, progress, errors : as for `train_embedder`
    """
    numbers, accelerator = profile.swapper, make_accelerator(profile.mixed_precision)
    data = open_data(data, "swapper", profile.size)
    embedder, embedder_facts = frozen_embedder(embedder)
    check_share(numbers.batch_size, accelerator)
    facts = {"data": data_name(data), "images": len(data), **embedder_facts}
    run = Run(out, "swapper", profile, seed, facts, accelerator, resume, progress)

    torch.manual_seed(seed)
    generator, discriminator, arguments = build_swapper(profile, embedder.dim)
    ema = copy.deepcopy(generator).eval().requires_grad_(False).to(accelerator.device)
    betas = tuple(float(beta) for beta in numbers.adam_betas)  # Adam refuses (0, 0.99)
    optimizers = {
        "generator": Adam(generator.parameters(), numbers.generator_learning_rate, betas),
        "discriminator": Adam(discriminator.parameters(), numbers.discriminator_learning_rate, betas),
    }
    parts = SwapperParts(
        accelerator.prepare(generator),
        accelerator.prepare(discriminator),
        accelerator.prepare_model(embedder, evaluation_mode=True),
        ema,
        accelerator.prepare(optimizers["generator"]),
        accelerator.prepare(optimizers["discriminator"]),
    )

    with run.opened({"generator": generator, "discriminator": discriminator, "ema": ema}, optimizers):
        for step in run.steps_left():
            pairs = swapper_batch(len(data), numbers, seed, step)
            x_target, x_source = (image_batch(data, share(part, accelerator), accelerator) for part in pairs)
            values, rate = swapper_step(parts, x_target, x_source, step, numbers, accelerator)
            run.record(values, rate)
            if run.due(profile.preview_every) and accelerator.is_main_process:
                preview(run, ema, parts.embedder, data, accelerator)
            run.save_if_due()
    text = {"embedder": embedder_facts["embedder"], "embedder_hash": embedder_facts["embedder_hash"]}
    run.finish(ema, {"network": "Generator", "arguments": json.dumps(arguments), **text})
    return TrainingResult(checkpoints.load_generator(run.folder), run.rows, run.folder, run.step, run.seconds)


def build_swapper(profile: Profile, identity_dim: int) -> tuple[Generator, Discriminator, dict]:
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
    discriminator = Discriminator(profile.size, numbers.discriminator_base, numbers.discriminator_max)
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
def preview(run: Run, ema: nn.Module, embedder: nn.Module, data, accelerator: Accelerator) -> None:
    """Write previews/step_NNNNNN.png: the same pairs each time, swapped by the moving average."""
    pairs = np.random.default_rng(run.seed).integers(len(data), size=(2, NUM_PREVIEWS))
    x_target, x_source = (image_batch(data, part, accelerator) for part in pairs)  # (8, 3, H, W) each
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


def image_batch(data, indices: np.ndarray, accelerator: Accelerator) -> Tensor:
    """Images of a data set on the run's device, (B, 3, H, W) in [-1, 1]."""
    return data.image_batch(indices).to(accelerator.device, non_blocking=True)


def share(batch: np.ndarray, accelerator: Accelerator) -> np.ndarray:
    """This process' part of a batch; the profile's batch sizes count over all processes."""
    return np.split(np.asarray(batch), accelerator.num_processes)[accelerator.process_index]


def check_share(count: int, accelerator: Accelerator) -> None:
    """RunError unless a batch of so many parts can be divided among the processes."""
    if count % accelerator.num_processes:
        raise RunError(
            f"{accelerator.num_processes} processes cannot share {count} evenly: "
            "change batch_size (swapper) or identities_per_batch (embedder), or their number."
        )


def make_accelerator(mixed_precision: str) -> Accelerator:
    """Accelerate's device and processes; on a CPU in fp32 (bf16 was 7-8 times slower there)."""
    cpu = (
        not torch.accelerator.is_available()
    )  # said outright: else several CPU processes would each train alone
    precision = "no" if PartialState(cpu=cpu).device.type == "cpu" else mixed_precision
    if is_initialized() and AcceleratorState().mixed_precision != precision:
        # a notebook may train two profiles, and Accelerate would keep the first one's precision
        AcceleratorState._reset_state()
    return Accelerator(cpu=cpu, mixed_precision=precision)


if __name__ == "__main__":
    from smoothswap_lib.training_cli import main

    main()
