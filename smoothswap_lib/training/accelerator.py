"""What the machine decides about a training, not the paper: device, precision, processes, memory.

All of it comes from Hugging Face Accelerate. However many processes share a batch, the gradient is that of
one process with the whole batch.
"""

import contextlib
import functools
from collections.abc import Iterator

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState, is_initialized
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from smoothswap_lib.layers import ResidualBlock
from smoothswap_lib.runs.folder import RunError


def make_accelerator(mixed_precision: str) -> Accelerator:
    """Accelerate's device and processes, in the precision that the profile names and the device has."""
    cpu = not torch.accelerator.is_available()  # said outright: else CPU processes would each train alone
    precision = precision_for(mixed_precision, PartialState(cpu=cpu).device)
    if is_initialized() and AcceleratorState().mixed_precision != precision:
        # a notebook may train two profiles, and Accelerate would keep the first one's precision
        AcceleratorState._reset_state()
    return Accelerator(cpu=cpu, mixed_precision=precision)


def precision_for(mixed_precision: str, device: torch.device) -> str:
    """ "auto" is bf16 where the GPU has units for it (Ampere and later), else fp16, and fp32 on a CPU.

    A CPU computes in bf16 only where it is asked to outright. One with matrix units for it (Intel's AMX) is
    1.8 times faster then, an older one 7 to 8 times slower. (On maps of one pixel torch's gradients are at
    times not finite there; a run that meets them says so and stops.)
    """
    if device.type == "cpu":
        return "bf16" if mixed_precision == "bf16" else "no"
    if mixed_precision != "auto":
        return mixed_precision
    if device.type != "cuda":
        return "no"
    return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp16"


def images(data, indices: np.ndarray, accelerator: Accelerator) -> Tensor:
    """Images of a data set on the run's device, (B, 3, H, W) in [-1, 1]."""
    return data.image_batch(indices).to(accelerator.device, non_blocking=True)


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


def checkpoint_gradients(network: nn.Module) -> None:
    """Gradient checkpointing, in place: a block keeps only its input and runs again in the backward pass.

    Non-reentrant, as torch advises, and without random state, as nothing in a block is random: the results do
    not change by a bit.
    """
    for block in network.modules():
        if isinstance(block, ResidualBlock):
            options = {"use_reentrant": False, "preserve_rng_state": False}
            block.forward = functools.partial(checkpoint, block.forward, **options)


def check_shards(count: int, name: str, accelerator: Accelerator) -> None:
    """RunError unless the processes can share the profile's number evenly; it counts over all of them."""
    if count % accelerator.num_processes:
        raise RunError(
            f"{accelerator.num_processes} processes cannot share {name} {count} evenly: change one of them."
        )
