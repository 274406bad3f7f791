"""One training run's folder: what it keeps, how it continues after a kill, when it stops.

OUT/
    profile.json          the run's numbers, seed, data: what `--resume` compares
    state/                networks, optimizers, random generators, step: what `--resume` continues from
    metrics.parquet       one row every `log_every` steps
    previews/             picture grids (swapper)
    weights.safetensors   the result, when the run is done
"""

import contextlib
import dataclasses
import json
import math
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import accelerate
import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from accelerate import Accelerator
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor, nn
from tqdm import tqdm

from smoothswap_lib import checkpoints
from smoothswap_lib.files import atomic
from smoothswap_lib.profiles import EmbedderProfile, Profile, SwapperProfile

# A run may change these when it is resumed: they do not enter any step's arithmetic. ("embedder" and
# "data" are only names; the hash of the embedder's weights and the number of images must agree.)
_FREE_ON_RESUME = ("name", "log_every", "save_every", "preview_every", "recompute", "loader_workers")
_FREE_ON_RESUME += ("swapper.steps", "embedder", "data")


class RunError(ValueError):
    """A run's folder and what was asked of it do not go together."""


class NonFiniteError(FloatingPointError):
    """A loss is infinite or not a number."""


@dataclass(frozen=True)
class TrainingResult:
    """What a training function returns: the network (eval mode, CPU), the rows of its metrics, its folder."""

    module: nn.Module
    metrics: list[dict]
    folder: Path
    steps: int
    seconds: float


class Run:
    """Where a run stands, and its folder.

    Parameters
    ----------
    out : folder; must be empty or missing unless `resume`
    section : "embedder" or "swapper"
    facts : what else must agree on a resume (data, embedder), JSON types
    resume : continue what is in `out`; with nothing there, start

    Raises
    ------
    RunError
        The folder is in use and `resume` is false, or it holds another run than the one asked for.
    """

    def __init__(
        self,
        out: str | Path,
        section: str,
        profile: Profile,
        seed: int,
        facts: Mapping,
        accelerator: Accelerator,
        resume: bool = False,
        progress: bool = True,
    ) -> None:
        if not isinstance(seed, int) or seed < 0:
            raise RunError(f"seed must be a whole number from 0 on, not {seed!r}.")
        self.folder, self.section, self.profile, self.seed = Path(out), section, profile, seed
        self.accelerator, self.progress = accelerator, progress and accelerator.is_main_process
        self.total = getattr(profile, section).steps
        self.step, self.seconds = 0, 0.0
        self.rows: list[dict] = []
        self._window: list[dict] = []  # values of the steps since the last row
        self._interrupted = False

        asked = {"section": section, "seed": seed, "profile": dataclasses.asdict(profile), **facts}
        asked = json.loads(json.dumps(asked))  # tuples become lists, as they are in the file
        self._check_folder(asked, resume)
        accelerator.wait_for_everyone()  # each process has looked before the first one writes
        if accelerator.is_main_process:
            text = (
                json.dumps({**asked, "versions": _versions(), "machine": _machine(accelerator)}, indent=2)
                + "\n"
            )
            with atomic(self.folder / "profile.json") as path:
                path.write_text(text)
            for stale in (self.folder / "state").glob(".*.tmp"):  # of a kill in mid-write
                stale.unlink()

    @property
    def state_path(self) -> Path:
        return self.folder / "state" / "state.safetensors"

    def _check_folder(self, asked: dict, resume: bool) -> None:
        inside = [path.name for path in self.folder.glob("*") if not path.name.startswith(".")]
        if not inside:
            return
        if not resume:
            raise RunError(
                f"{self.folder} is not empty ({', '.join(sorted(inside)[:4])}): continue its run with "
                "--resume (resume=True), or choose another --out."
            )
        if "profile.json" not in inside:
            raise RunError(f"{self.folder} holds files but no run (no profile.json): choose another --out.")
        found = json.loads((self.folder / "profile.json").read_text())
        if found["section"] != self.section:
            raise RunError(f"{self.folder} is the run of a {found['section']}, not of a {self.section}.")
        old, new = _comparable(found, self.section), _comparable(asked, self.section)
        differing = [
            f"{name} is {old.get(name)!r} in the run, {new.get(name)!r} was asked for"
            for name in sorted(old | new)
            if old.get(name) != new.get(name)
        ]
        if differing:
            raise RunError(
                f"{self.folder} cannot be resumed with other numbers: {'; '.join(differing)}. "
                "Give the run's own numbers (its profile.json), or choose another --out."
            )

    @contextlib.contextmanager
    def opened(self, modules: Mapping[str, nn.Module], optimizers: Mapping) -> Iterator[None]:
        """Restore the last state, if there is one; keep the bar and Ctrl-C in hand while steps are taken."""
        self._modules, self._optimizers = modules, optimizers
        if self.state_path.is_file():
            self._restore()
        elif self.progress:
            print(
                f"{self.section}: {self.total} steps, profile {self.profile.name}, {self.folder}",
                file=sys.stderr,
            )
        # disable=None: no bar without a terminal; `_log` prints lines there instead
        self._bar = tqdm(
            total=self.total,
            initial=self.step,
            desc=self.section,
            file=sys.stderr,
            disable=None if self.progress else True,
        )
        self._tick = time.perf_counter()
        with self._bar, _on_ctrl_c(self._interrupt):
            yield

    def steps_left(self) -> Iterator[int]:
        """The indices of the steps that remain; each ends with `record` and `save_if_due`."""
        while self.step < self.total:
            yield self.step

    def record(self, values: Mapping[str, Tensor], learning_rate: float) -> None:
        """Count a step that was taken; write a row when one is due: means of the values since the last row.

        Raises
        ------
        NonFiniteError
            A value is infinite or not a number; the last good state stays.
        """
        numbers = self._as_numbers(values)
        self._stop_if_not_finite(numbers)
        self.step += 1
        self._window.append(numbers)
        self._bar.update()
        if self.due(self.profile.log_every):
            self._log(learning_rate)

    def save_if_due(self) -> None:
        """End a step: save the state if it is due; after Ctrl-C save it and stop (KeyboardInterrupt)."""
        if self._interrupted:
            self.accelerator.set_trigger()
        interrupted = self.accelerator.check_trigger()  # one process' Ctrl-C stops all at the same step
        if self.due(self.profile.save_every) or interrupted:
            self.save()
        if interrupted:
            raise KeyboardInterrupt(
                f"Stopped after step {self.step}, which is saved: continue with --resume."
            )

    def due(self, every: int, taken: int | None = None) -> bool:
        """Whether the step that just ended is one of `every`, or the last; `taken` asks for another one."""
        taken = self.step if taken is None else taken
        return taken % every == 0 or taken == self.total

    def save(self) -> None:
        """Write metrics and state; the state last, as it says how many of the rows count."""
        self._add_time()
        for name, module in self._modules.items():
            if not all(tensor.isfinite().all() for tensor in module.state_dict().values()):
                raise NonFiniteError(
                    f"step {self.step}: {name} has weights that are not finite. {self._advice()}"
                )
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            record = {
                "step": self.step,
                "seconds": self.seconds,
                "window": self._window,
                "scaler": scaler.state_dict() if scaler is not None else None,
            }
            self._write_metrics()
            checkpoints.save_state(self.state_path, self._modules, self._optimizers, record)
        self.accelerator.wait_for_everyone()

    def finish(self, module: nn.Module, metadata: Mapping[str, str]) -> None:
        """Write the result's weights, with all that is needed to build the network again.

        They are in half precision, as they may be shipped; the run's state keeps every digit.
        """
        text = {
            **metadata,
            "section": self.section,
            "profile": self.profile.name,
            "seed": str(self.seed),
            "steps": str(self.step),
        }
        if self.accelerator.is_main_process:
            checkpoints.save_weights(self.folder / "weights.safetensors", module, text, half=True)
        self.accelerator.wait_for_everyone()

    def _restore(self) -> None:
        record = checkpoints.load_state(self.state_path, self._modules, self._optimizers)
        self.step, self.seconds, self._window = record["step"], record["seconds"], record["window"]
        if record["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(record["scaler"])
        if self.step > self.total:
            raise RunError(
                f"{self.folder} has taken {self.step} steps already, more than the {self.total} asked for."
            )
        path = self.folder / "metrics.parquet"
        if path.is_file():  # rows of steps that a kill took back are dropped: they will come again
            rows = pyarrow.parquet.read_table(path).to_pylist()
            self.rows = [row for row in rows if row["step"] <= self.step]
        if self.step < self.total:  # a run that was lengthened is not done yet
            self.accelerator.wait_for_everyone()
            (self.folder / "weights.safetensors").unlink(missing_ok=True)
        if self.progress:
            where = (
                "is complete"
                if self.step == self.total
                else f"continues after step {self.step} of {self.total}"
            )
            print(f"{self.section}: {self.folder} {where}", file=sys.stderr)

    def _as_numbers(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Values as floats, averaged over the processes, with one wait for the device."""
        stacked = torch.stack([value.float().to(self.accelerator.device) for value in values.values()])
        return dict(zip(values, self.accelerator.reduce(stacked, "mean").tolist(), strict=True))

    def _stop_if_not_finite(self, numbers: Mapping[str, float]) -> None:
        # under fp16 a gradient may overflow: the scaler then skips the step and lowers its scale
        checked = {
            n: v
            for n, v in numbers.items()
            if self.accelerator.scaler is None or not n.startswith("grad_norm")
        }
        bad = [f"{name} is {value}" for name, value in checked.items() if not math.isfinite(value)]
        if bad:
            if self.accelerator.is_main_process:
                self._write_metrics()
            raise NonFiniteError(f"step {self.step + 1}: {', '.join(bad)}. {self._advice()}")

    def _advice(self) -> str:
        kept = (
            f"The last good state is in {self.state_path.parent}"
            if self.state_path.is_file()
            else "No state was saved yet"
        )
        more = ", a larger r1_gamma or a smaller max_grad_norm" if self.section == "swapper" else ""
        return f"{kept}. Try a lower learning rate{more}, or --set mixed_precision=no, in another --out."

    def _log(self, learning_rate: float) -> None:
        self._add_time()
        names = dict.fromkeys(name for values in self._window for name in values)
        means = {n: float(np.mean([v[n] for v in self._window if n in v])) for n in names}
        self.rows.append(
            {"step": self.step, "seconds": self.seconds, "learning_rate": learning_rate, **means}
        )
        self._window = []
        shown = {n: f"{v:.3g}" for n, v in means.items() if not n.startswith("grad_norm")}
        self._bar.set_postfix(shown, refresh=False)
        if self.progress and self._bar.disable:
            line = " ".join(f"{name} {text}" for name, text in shown.items())
            print(
                f"{self.section} {self.step}/{self.total} {self.seconds:.0f}s {line}",
                file=sys.stderr,
                flush=True,
            )

    def _write_metrics(self) -> None:
        """All rows at once: Parquet cannot be appended to, and a run has some thousands of them at most."""
        if not self.rows:
            return
        names = dict.fromkeys(name for row in self.rows for name in row)
        table = pyarrow.table({name: [row.get(name) for row in self.rows] for name in names})
        with atomic(self.folder / "metrics.parquet") as path:
            pyarrow.parquet.write_table(table, path)

    def _add_time(self) -> None:
        now = time.perf_counter()
        self.seconds, self._tick = self.seconds + now - self._tick, now

    def _interrupt(self) -> None:
        self._interrupted = True  # no more than that: a signal may arrive in the middle of a write


def write_preview(path: Path, rows: Mapping[str, Tensor], text: Mapping[str, str]) -> None:
    """Write a grid of images as PNG: one row of the grid for each entry, (B, 3, H, W) in [-1, 1].

    The file's text says which row is which and that the picture is synthetic.
    """
    strips = [torch.cat(list(images.float().cpu()), dim=2) for images in rows.values()]  # (3, H, B W) each
    grid = torch.cat(strips, dim=1)  # (3, rows H, B W)
    pixels = ((grid.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    pixels = pixels.permute(1, 2, 0).numpy()  # (rows H, B W, 3)
    marks = PngInfo()
    for key, value in {
        "Synthetic": "true",
        "DigitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
        "Description": f"Rows: {', '.join(rows)}. The swaps were made by a neural network.",
        **text,
    }.items():
        marks.add_text(key, value)
    with atomic(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG", pnginfo=marks)


def _comparable(content: dict, section: str) -> dict[str, object]:
    """The numbers that must agree for a resume, flat: "seed", "size", "swapper.batch_size", ..."""
    # a run of an older version lacks the numbers that came later, which then were what is now the default
    profile = _defaults(Profile) | content["profile"]
    numbers = {name: value for name, value in profile.items() if not isinstance(value, dict)}
    kind = {"embedder": EmbedderProfile, "swapper": SwapperProfile}[section]
    section_numbers = json.loads(json.dumps(_defaults(kind))) | profile[section]
    numbers |= {f"{section}.{name}": value for name, value in section_numbers.items()}
    others = {n: v for n, v in content.items() if n not in ("profile", "versions", "machine", "section")}
    return {name: value for name, value in (others | numbers).items() if name not in _FREE_ON_RESUME}


def _defaults(kind: type) -> dict[str, object]:
    """The numbers of a profile, or of a section of it, that have a default."""
    fields = dataclasses.fields(kind)
    return {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "accelerate": accelerate.__version__,
        "numpy": np.__version__,
    }


def _machine(accelerator: Accelerator) -> str:
    device = accelerator.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} CPU cores"
    processes = f"{accelerator.num_processes} process(es)"
    return f"{platform.system()} {platform.machine()}, {device.type}, {name}, {processes}"


@contextlib.contextmanager
def _on_ctrl_c(action) -> Iterator[None]:
    """The first Ctrl-C calls `action`, the second interrupts as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signal handlers
        return
    previous = signal.getsignal(signal.SIGINT)

    def first(_number, _frame) -> None:
        signal.signal(signal.SIGINT, previous)
        action()

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
