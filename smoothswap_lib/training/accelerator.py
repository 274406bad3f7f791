"""What the machine decides about a training, not the paper: processes, compiler, memory, reading images.

Devices, precision and processes come from Hugging Face Accelerate. However many processes share a batch, the
gradient is that of one process with the whole batch.
"""

import contextlib
import functools
import sys
import warnings
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState, is_initialized
from torch import Tensor, nn
from torch.optim import Adam
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset

from smoothswap_lib.layers import ResidualBlock, at_least_float32
from smoothswap_lib.training.run_folder import RunError


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


def share(batch: np.ndarray, accelerator: Accelerator) -> np.ndarray:
    """This process' part of a batch that lies in one piece; the profile's sizes count over all processes."""
    return np.split(np.asarray(batch), accelerator.num_processes)[accelerator.process_index]


def dealt_share(batch: np.ndarray, accelerator: Accelerator) -> np.ndarray:
    """This process' part of a batch that is dealt out like cards.

    The discriminator deals a batch into groups of 4 in the same way, so that groups, and with them the
    minibatch standard deviation, are those of the whole batch as long as 4 divides the images of a process.
    """
    return np.asarray(batch)[accelerator.process_index :: accelerator.num_processes]


def shared_batch_norm(network: nn.Module, accelerator: Accelerator) -> nn.Module:
    """With several processes, let batch norm see the images of all: torch's layer on GPUs, ours on CPUs."""
    if accelerator.num_processes == 1:
        return network
    if accelerator.device.type != "cpu":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, SharedBatchNorm(child))
    return network


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the images of all processes; torch's `SyncBatchNorm` refuses CPUs.

    Takes over the parameters and buffers of the layer that it replaces.
    """

    def __init__(self, replaced: nn.BatchNorm2d) -> None:
        super().__init__(replaced.num_features, replaced.eps, replaced.momentum)
        self.weight, self.bias = replaced.weight, replaced.bias
        for name, buffer in replaced.named_buffers():
            setattr(self, name, buffer)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        if not self.training:
            return super().forward(x)
        x = at_least_float32(x)
        count = x.numel() // x.shape[1] * torch.distributed.get_world_size()
        mean = _SumOverProcesses.apply(x.sum(dim=(0, 2, 3), keepdim=True)) / count  # (1, C, 1, 1)
        centered = x - mean  # (B, C, H, W)
        squares = centered.square().sum(dim=(0, 2, 3), keepdim=True)  # (1, C, 1, 1)
        variance = _SumOverProcesses.apply(squares) / count  # (1, C, 1, 1)
        with torch.no_grad():
            self.running_mean.lerp_(mean.flatten(), self.momentum)
            self.running_var.lerp_(variance.flatten() * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * (variance.flatten() + self.eps).rsqrt()  # (C,)
        return centered * scale[:, None, None] + self.bias[:, None, None]


class _SumOverProcesses(torch.autograd.Function):
    """Each process gets the sum; each share gets the sum of all processes' gradients."""

    @staticmethod
    def forward(context, x: Tensor) -> Tensor:
        total = x.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        torch.distributed.all_reduce(total)
        return total


def adam(
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    accelerator: Accelerator,
    betas: tuple[float, float] = (0.9, 0.999),
) -> Adam:
    """Adam; on a GPU in its fused form, one kernel for all parameters."""
    fused = {"fused": True} if accelerator.device.type == "cuda" else {}
    return Adam(parameters, learning_rate, betas, **fused)


def recompute_blocks(network: nn.Module) -> None:
    """Gradient checkpointing, in place: a block keeps only its input and runs again in the backward pass.

    Non-reentrant, as torch advises; the results do not change by a bit.
    """
    for block in network.modules():
        if isinstance(block, ResidualBlock):
            # nothing in a block is random, so there is no random state to put back
            block.forward = functools.partial(
                checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False
            )


def compile_in_place(network: nn.Module, accelerator: Accelerator) -> bool:
    """torch.compile, in place, so that names of weights stay; without a compiler a warning, and False."""
    reason = why_not_compiled(accelerator.device.type)
    if reason:
        if accelerator.is_main_process:
            warnings.warn(f"training goes on without torch.compile: {reason}", stacklevel=2)
        return False
    network.compile()
    return True


@functools.cache
def why_not_compiled(device_type: str) -> str:
    """What hinders torch.compile on a kind of device; empty if it works. Tried on one small sum."""
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(64, device=device_type))
    except Exception as error:  # torch has many kinds of errors for a compiler that is missing or broken
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    return ""


def image_batch(data, indices: np.ndarray, accelerator: Accelerator) -> Tensor:
    """Images of a data set on the run's device, (B, 3, H, W) in [-1, 1]."""
    return data.image_batch(indices).to(accelerator.device, non_blocking=True)


def image_batches(
    data, batches: Iterable[np.ndarray], accelerator: Accelerator, workers: int = 0
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Batches of indices, each with its images on the run's device, (B, 3, H, W) in [-1, 1].

    Parameters
    ----------
    batches : indices of each batch of this process
    workers : processes that read ahead, into pinned memory; on a CPU, which they would only slow down, none
    """
    if accelerator.device.type == "cpu" or not workers:
        for indices in batches:
            yield indices, image_batch(data, indices, accelerator)
        return
    for indices, images in read_ahead(data, batches, workers, pin_memory=True):
        yield indices, images.to(accelerator.device, non_blocking=True)


def read_ahead(data, batches: Iterable[np.ndarray], workers: int, pin_memory: bool) -> DataLoader:
    """The same batches, in the same order, read by other processes: (indices, images on the CPU)."""
    # a forked worker shares the decoded images that are there already; elsewhere fork is unsafe or missing
    start = "fork" if sys.platform == "linux" else None
    return DataLoader(
        _Batches(data),
        batch_size=None,
        sampler=batches,
        num_workers=workers,
        pin_memory=pin_memory,
        multiprocessing_context=start,
        collate_fn=_as_it_is,
    )


class _Batches(Dataset):
    """A data set whose items are batches."""

    def __init__(self, data) -> None:
        self.data = data

    def __getitem__(self, indices: np.ndarray) -> tuple[np.ndarray, Tensor]:
        return indices, self.data.image_batch(indices)


def _as_it_is(batch):
    return batch


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


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> float:
    """Set the rate of all parameter groups: a function of the step alone, so there is nothing to restore."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate
