"""What `test_processes.py` runs in one process and in two: `two_processes.py TASK OUT [SECTION]`.

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

NEVER = 1e9  # max_grad_norm: no clipping
EMBEDDER = {"identities_per_batch": 8, "images_per_identity": 4}
SWAPPER = {"batch_size": 16, "self_pairs": 3, "max_grad_norm": NEVER, "r1_gamma": 10.0}
# name: (section, its numbers, numbers of the profile)
CASES = {
    "supcon": ("embedder", EMBEDDER, {}),
    "khosla": ("embedder", EMBEDDER | {"loss": "khosla", "color_jitter": 0.4, "gray_share": 0.2}, {}),
    "ce_arc": ("embedder", EMBEDDER | {"loss": "ce_arc", "arc_scale": 8.0}, {}),
    "supcon_in_parts": ("embedder", EMBEDDER, {"micro_batches": 2}),
    "with_r1": ("swapper", SWAPPER, {}),
    "without_r1": ("swapper", SWAPPER | {"r1_gamma": 0.0}, {}),
    "with_r1_in_parts": ("swapper", SWAPPER, {"micro_batches": 2, "recompute": True}),
}
KILL_AFTER = 7


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
    for case, (section, numbers, changes) in CASES.items():
        kept: list[dict[str, torch.Tensor]] = []
        hook = register_optimizer_step_pre_hook(
            lambda optimizer, *_, kept=kept: kept.append(gradients_of(optimizer))
        )
        profile = replace(tiny_runs.TINY, log_every=1, **changes)
        profile = profile.override(section, numbers | {"steps": 1})
        data = Watched()
        result = tiny_runs.train(section, out / case, profile, data=data)
        hook.remove()
        save_file(
            {k: g for gradients in kept for k, g in gradients.items()}, out / f"{case}-{rank}.safetensors"
        )
        content = {"seen": data.seen[0], "rows": tiny_runs.without_seconds(result.metrics)}
        (out / f"{case}-{rank}.json").write_text(json.dumps(content))


def train(section: str, out: Path, *options: str) -> None:
    """The training command, with the tiny profile and the fake faces."""
    profiles.get = lambda name: tiny_runs.TINY
    training.open_data = lambda data, section, size: tiny_runs.FakeFaces()
    training.swapper.frozen_embedder = lambda _: FROZEN(tiny_runs.fixed_embedder())
    command = [section, "--profile", "tiny", "--out", str(out / section), *options]
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


def main(task: str, folder: str, section: str = "") -> None:
    out = Path(folder)
    tiny_runs.make_small()
    if task == "measure":
        measure(out)
        return
    refuse_to_write(out)
    if task == "kill":
        kill_the_last_process()
    train(section, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
