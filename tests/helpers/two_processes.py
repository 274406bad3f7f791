"""What `test_processes.py` runs in one process and in two: `two_processes.py WHAT OUT [TASK]`.

measure : one step of each case below, every gradient and every image that was seen, as files in OUT
train   : the tiny run of a loop, without interruption
kill    : the same, whose last process kills itself after step 7
resume  : the same, from what the kill left
"""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import tiny_runs
import torch
from accelerate import PartialState
from safetensors.torch import save_file
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from smoothswap_lib import profiles, training
from smoothswap_lib.training import __main__ as training_cli

EMBEDDER = {"identities_per_batch": 8, "images_per_identity": 4}
SWAPPER = {"batch_size": 16, "self_pairs": 3, "max_grad_norm": 0.0, "r1_gamma": 10.0}
# name: (task, its config, config of the profile)
CASES = {
    "printed": ("embedder", EMBEDDER, {}),
    "supcon": ("embedder", EMBEDDER | {"loss": "supcon", "color_jitter": 0.4, "gray_share": 0.2}, {}),
    "ce_arc": ("embedder", EMBEDDER | {"loss": "ce_arc", "arc_scale": 8.0}, {}),
    "with_r1": ("swapper", SWAPPER, {}),
    "without_r1": ("swapper", SWAPPER | {"r1_gamma": 0.0}, {}),
    "checkpointed": ("swapper", SWAPPER, {"gradient_checkpointing": True}),
}
KILL_AFTER = 7


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the images of all processes; torch's `SyncBatchNorm` refuses CPUs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        count = x.numel() // x.shape[1] * torch.distributed.get_world_size()
        mean = _SumOverProcesses.apply(x.sum(dim=(0, 2, 3))) / count  # (C,)
        centered = x - mean[:, None, None]  # (B, C, H, W)
        variance = _SumOverProcesses.apply(centered.square().sum(dim=(0, 2, 3))) / count  # (C,)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()  # (C,)
        return centered * scale[:, None, None] + self.bias[:, None, None]

    @classmethod
    def convert(cls, network: nn.Module) -> nn.Module:
        """In the place of `SyncBatchNorm.convert_sync_batchnorm`."""
        for module in network.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = cls
        return network


class _SumOverProcesses(torch.autograd.Function):
    """Each process gets the sum; each part gets the sum of all processes' gradients."""

    @staticmethod
    def forward(context, x: torch.Tensor) -> torch.Tensor:
        total = x.clone()
        torch.distributed.all_reduce(total)
        return total

    backward = forward


nn.SyncBatchNorm.convert_sync_batchnorm = SharedBatchNorm.convert


class Watched(tiny_runs.FakeFaces):
    """Fake faces that remember which of them were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[int]] = []

    def image_batch(self, indices) -> torch.Tensor:
        self.seen.append(np.asarray(indices).tolist())
        return super().image_batch(indices).double()


def shaken_swapper(profile, identity_dim):
    """The swapper's networks with ordinary weights where they start near zero: gradients to compare."""
    generator, discriminator, arguments = BUILD_SWAPPER(profile, identity_dim)
    for module in generator.modules():
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
    return generator, discriminator, arguments


BUILD_SWAPPER = training.swapper.build_swapper


def gradients_of(optimizer) -> dict[str, torch.Tensor]:
    """Copies of an optimizer's gradients, named by the number of parameters and their order."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {f"{len(parameters)}.{i}": p.grad.clone().contiguous() for i, p in enumerate(parameters)}


def measure(out: Path) -> None:
    """Files of OUT: CASE-RANK.safetensors (gradients), CASE-RANK.json (images seen, metrics)."""
    rank = PartialState(cpu=True).process_index
    training.swapper.build_swapper = shaken_swapper
    torch.set_default_dtype(torch.float64)  # else most of a difference is rounding, which tau enlarges
    for case, (task, config, changes) in CASES.items():
        kept: list[dict[str, torch.Tensor]] = []
        hook = register_optimizer_step_pre_hook(
            lambda optimizer, *_, kept=kept: kept.append(gradients_of(optimizer))
        )
        profile = replace(tiny_runs.TINY, log_every=1, **changes)
        profile = profile.override(task, config | {"steps": 1})
        data = Watched()
        result = tiny_runs.train(task, out / case, profile, data=data)
        hook.remove()
        save_file(
            {k: g for gradients in kept for k, g in gradients.items()}, out / f"{case}-{rank}.safetensors"
        )
        # a swapper reads the previews' two rows first, then targets and sources
        seen = data.seen[0] if task == "embedder" else data.seen[2] + data.seen[3]
        content = {"seen": seen, "rows": tiny_runs.without_seconds(result.metrics)}
        (out / f"{case}-{rank}.json").write_text(json.dumps(content))


def train(task: str, out: Path, *options: str) -> None:
    """The training command, with the tiny profile and the fake faces."""
    profiles.get = lambda name: tiny_runs.TINY
    training.open_data = lambda data, task, size: tiny_runs.FakeFaces()
    training.swapper.frozen_embedder = lambda _: FROZEN(tiny_runs.fixed_embedder())
    command = [task, "--profile", "tiny", "--out", str(out / task), *options]
    training_cli.main([*command, "--resume"])


FROZEN = training.swapper.frozen_embedder


def kill_the_last_process() -> None:
    """After a step that no state has yet been written of."""
    record = training.Run.record

    def record_and_die(self, *arguments):
        record(self, *arguments)
        if self.step == KILL_AFTER and int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1:
            os.kill(os.getpid(), signal.SIGKILL)

    training.Run.record = record_and_die


def refuse_to_write(out: Path) -> None:
    """Only the first process may write below OUT; another one's attempt is an error."""

    def watch(event, arguments):
        if event == "open" and str(arguments[0]).startswith(str(out)):
            mode = arguments[1] or ""
            assert not set(mode) & set("wax+"), f"process {os.environ['RANK']} writes {arguments[0]}"

    if os.environ.get("RANK", "0") != "0":
        sys.addaudithook(watch)


def main(what: str, folder: str, task: str = "") -> None:
    out = Path(folder)
    tiny_runs.make_small()
    if what == "measure":
        measure(out)
        return
    refuse_to_write(out)
    if what == "kill":
        kill_the_last_process()
    train(task, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
