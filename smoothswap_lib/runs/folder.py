"""One training run's folder: what it keeps, how it continues after a kill, when it stops.

OUT/
    profile.json          the run's config, seed, data: what `--resume` compares
    state/                networks, optimizers, step: what `--resume` continues from
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
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import accelerate
import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from smoothswap_lib import checkpoints
from smoothswap_lib.files import atomic
from smoothswap_lib.processes.signals import first_signal
from smoothswap_lib.profiles import Profile

# A run may change these when it is resumed: they do not enter any step's arithmetic. ("embedder" and "data"
# are only names; the hash of the embedder's weights and the fingerprint of the data must agree.)
FREE_ON_RESUME = ("name", "log_every", "save_every", "save_every_seconds", "preview_every")
FREE_ON_RESUME += ("gradient_checkpointing", "swapper.steps", "embedder", "data", "versions", "machine")
SCALER_PATIENCE = 20  # steps in a row without a finite loss: fp16's scaler is not trusted to recover


class RunError(ValueError):
    """A run's folder and what was asked of it do not go together."""


class StoppedError(RuntimeError):
    """A run could not go on (a full disk, a broken image); the last state can be resumed."""


class NonFiniteError(FloatingPointError):
    """A loss is infinite or not a number."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or another signal that asks to end; the state was saved."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number


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
    task : "embedder" or "swapper"
    metadata : what else must agree on a resume (data, embedder), JSON types
    resume : continue what is in `out`; with nothing there, start

    Raises
    ------
    RunError
        The folder is in use and `resume` is false, or it holds another run than the one asked for.
    """

    def __init__(
        self,
        out: str | Path,
        task: str,
        profile: Profile,
        seed: int,
        metadata: Mapping,
        accelerator: Accelerator,
        resume: bool = False,
        progress: bool = True,
    ) -> None:
        if not isinstance(seed, int) or not 0 <= seed < 2**64:
            raise RunError(f"seed must be a whole number from 0 to 2^64 - 1, not {seed!r}.")
        self.folder, self.task, self.profile, self.seed = Path(out), task, profile, seed
        self.accelerator, self.progress = accelerator, progress and accelerator.is_main_process
        self.total, self.step, self.seconds = getattr(profile, task).steps, 0, 0.0
        self.rows: list[dict] = []
        # since the last row: {names of values: (2, names) sums and counts, on the device}, and notes
        self._window: dict[tuple[str, ...], Tensor] = {}
        self._notes: dict[str, float] = {}
        self._broken = torch.zeros((), device=accelerator.device)  # steps in a row without a finite loss
        self._signal = 0

        asked = {"task": task, "seed": seed, "profile": dataclasses.asdict(profile), **metadata}
        asked = json.loads(json.dumps(asked))  # tuples become lists, as they are in the file
        self._check_folder(asked, resume)
        accelerator.wait_for_everyone()  # each process has looked before the first one writes
        if accelerator.is_main_process:
            with atomic(self.folder / "profile.json") as path:
                path.write_text(json.dumps(asked | _where(accelerator), indent=2) + "\n")
            for stale in (self.folder / "state").glob(".*.tmp"):  # of a kill in mid-write
                stale.unlink()

    @property
    def state_path(self) -> Path:
        return self.folder / "state" / "state.safetensors"

    def _check_folder(self, asked: dict, resume: bool) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise RunError(f"{self.folder} is a file: --out names the folder of the run.")
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
        found = read_config(self.folder)
        if found["task"] != self.task:
            raise RunError(f"{self.folder} is the run of a {found['task']}, not of a {self.task}.")
        old, new = _comparable(found), _comparable(asked)
        differing = [
            f"{name} is {old[name]!r} in the run, {value!r} was asked for"
            for name, value in sorted(new.items())
            if old.get(name, value) != value  # a run of an older version lacks the fields that came later
        ]
        if differing:
            raise RunError(
                f"{self.folder} cannot be resumed with another config: {'; '.join(differing)}. "
                "Give the run's own (its profile.json), or choose another --out."
            )

    @contextlib.contextmanager
    def opened(self, modules: Mapping[str, nn.Module], optimizers: Mapping) -> Iterator[None]:
        """Restore the last state, if there is one; keep bar, signals and errors in hand meanwhile.

        Raises
        ------
        StoppedError, NonFiniteError, Interrupted
            A file could not be read or written; a loss is lost; a signal came, and the state was saved.
        """
        self._modules, self._optimizers = modules, optimizers
        if self.state_path.is_file():
            self._restore()
        elif self.progress:
            where = f"{self.total} steps, profile {self.profile.name}, {self.folder}"
            print(f"{self.task}: {where}", file=sys.stderr)
        # disable=None: no bar without a terminal; `_log` prints lines there instead
        hidden = None if self.progress else True
        bar = tqdm(total=self.total, initial=self.step, desc=self.task, file=sys.stderr, disable=hidden)
        self._tick = self._saved = time.perf_counter()
        with bar as self._bar, first_signal(self._interrupt):
            try:
                yield
            except RunError:
                raise
            except (OSError, ValueError) as error:
                raise StoppedError(f"after step {self.step}: {error}. {self._kept()}") from error

    def record(self, step: int, values: Mapping[str, Tensor], learning_rate: float) -> None:
        """Count step `step` as taken. Its values (scalars) stay on the device: nothing here waits for it."""
        self.step, self._learning_rate = step + 1, learning_rate
        losses = torch.stack([v.detach() for n, v in values.items() if not n.startswith("grad_norm")])
        self._broken = torch.where(losses.isfinite().all(), 0.0, self._broken + 1)
        stacked = torch.stack([value.detach().to(losses) for value in values.values()])  # (names,)
        finite = stacked.isfinite()
        sums = torch.stack([stacked.where(finite, 0.0), finite.to(stacked)])  # (2, names)
        names = tuple(values)
        self._last = names, stacked
        self._window[names] = self._window[names] + sums if names in self._window else sums
        self._bar.update()

    def note(self, values: Mapping[str, float]) -> None:
        """Numbers that are measured now and then: they enter the next row as they are."""
        self._notes |= values

    def logs_after(self, step: int) -> bool:
        """Whether a row is due after step `step`."""
        return (step + 1) % self.profile.log_every == 0 or step + 1 == self.total

    def due(self, every: int) -> bool:
        """Whether the step that just ended is one of `every`, or the last."""
        return self.step % every == 0 or self.step == self.total

    def log_and_save(self) -> None:
        """End a step: write a row if it is due; save if due by steps or by time, or if a signal came."""
        if self.due(self.profile.log_every):
            self._log()
        late = time.perf_counter() - self._saved >= self.profile.save_every_seconds
        number = self._signal
        if self.accelerator.num_processes > 1:  # all stop and save at the same step: they agree when they log
            flags = torch.tensor([[late, number]], device=self.accelerator.device)
            agree = self.due(self.profile.log_every)
            late, number = self.accelerator.gather(flags).amax(dim=0).tolist() if agree else (0, 0)
        if self.due(self.profile.save_every) or late or number:
            self.save()
        if number:
            text = f"Stopped after step {self.step}, which is saved: continue with --resume."
            raise Interrupted(text, number)

    def check_folder(self) -> None:
        """OSError if the folder has gone: writing on would begin another one where the drive was."""
        if self.accelerator.is_main_process and not (self.folder / "profile.json").is_file():
            raise OSError(f"{self.folder} is gone (was its drive unmounted?), and nothing more is written")

    def save(self) -> None:
        """Write metrics and state; the state last, as it says how many of the rows count."""
        self.check_folder()
        self._add_time()
        window = self._read_window()
        for name, module in self._modules.items():
            if not all(tensor.isfinite().all() for tensor in module.state_dict().values()):
                why = f"{name} has weights that are not finite"
                raise NonFiniteError(f"step {self.step}: {why}. {self._advice()}")
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            record = {
                "step": self.step,
                "seconds": self.seconds,
                "window": [[names, sums.tolist()] for names, sums in window.items()],
                "notes": self._notes,
                "scaler": scaler.state_dict() if scaler is not None else None,
            }
            self._write_metrics()
            checkpoints.save_state(self.state_path, self._modules, self._optimizers, record)
        self.accelerator.wait_for_everyone()
        self._saved = time.perf_counter()

    def finish(self, module: nn.Module, metadata: Mapping[str, str]) -> None:
        """Write the result's weights, with all that is needed to build the network again.

        They are in half precision, as they may be shipped; the run's state keeps every digit.
        """
        text = {"task": self.task, "profile": self.profile.name}
        text |= {"seed": str(self.seed), "steps": str(self.step)}
        self.check_folder()
        if self.accelerator.is_main_process:
            path = self.folder / "weights.safetensors"
            checkpoints.save_weights(path, module, {**metadata, **text}, half=True)
        self.accelerator.wait_for_everyone()

    def _restore(self) -> None:
        record = checkpoints.load_state(self.state_path, self._modules, self._optimizers)
        if "notes" not in record:
            raise RunError(f"{self.state_path} is of an older version: choose another --out.")
        self.step, self.seconds, self._notes = record["step"], record["seconds"], record["notes"]
        owner = self.accelerator.is_main_process  # the window is that of all processes together
        window = {tuple(names): torch.tensor(sums) * owner for names, sums in record["window"]}
        self._window = {names: sums.to(self.accelerator.device) for names, sums in window.items()}
        if record["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(record["scaler"])
        if self.step > self.total:
            raise RunError(
                f"{self.folder} has taken {self.step} steps already, more than the {self.total} asked for."
            )
        # rows of steps that a kill took back are dropped: they will come again
        self.rows = [row for row in self._read_metrics() if row["step"] <= self.step]
        if self.step < self.total:  # a run that was lengthened is not done yet
            self.accelerator.wait_for_everyone()
            (self.folder / "weights.safetensors").unlink(missing_ok=True)
        if self.progress:
            done = self.step == self.total
            where = "is complete" if done else f"continues after step {self.step} of {self.total}"
            print(f"{self.task}: {self.folder} {where}", file=sys.stderr)

    def _read_window(self) -> dict[tuple[str, ...], np.ndarray]:
        """Sums and counts since the last row, over all processes: the one wait for the device."""
        flat = torch.cat([*(sums.flatten() for sums in self._window.values()), self._broken[None]])
        flat = self.accelerator.reduce(flat, "sum").cpu().double().numpy()
        if flat[-1] >= (1 if self.accelerator.scaler is None else SCALER_PATIENCE):
            self._stop_at_non_finite(int(flat[-1]))
        ends = np.cumsum([2 * len(names) for names in self._window])
        parts = np.split(flat[:-1], ends[:-1])
        return {names: part.reshape(2, -1) for names, part in zip(self._window, parts)}

    def _log(self) -> None:
        self._add_time()
        sums: dict[str, np.ndarray] = {}
        for names, both in self._read_window().items():
            for name, sum_and_count in zip(names, both.T):
                sums[name] = sums.get(name, 0) + sum_and_count
        means = {name: float(s / n) if n else math.nan for name, (s, n) in sums.items()}
        start = {"step": self.step, "seconds": self.seconds, "learning_rate": self._learning_rate}
        self.rows.append({**start, **means, **self._notes})
        self._window, self._notes = {}, {}
        shown = {n: f"{v:.3g}" for n, v in means.items() if not n.startswith("grad_norm")}
        self._bar.set_postfix(shown, refresh=False)
        if self.progress and self._bar.disable:
            line = " ".join(f"{name} {text}" for name, text in shown.items())
            where = f"{self.task} {self.step}/{self.total} {self.seconds:.0f}s"
            print(where, line, file=sys.stderr, flush=True)

    def _stop_at_non_finite(self, steps: int) -> None:
        if self.accelerator.is_main_process:
            self._write_metrics()
        lost = [f"{n} is {v}" for n, v in zip(self._last[0], self._last[1].tolist()) if not math.isfinite(v)]
        which = ", ".join(text for text in lost if not text.startswith("grad_norm")) or "a loss is lost"
        raise NonFiniteError(f"step {self.step}: {which}, for {steps} step(s). {self._advice()}")

    def _kept(self) -> str:
        if not self.state_path.is_file():
            return "No state is there"
        return f"The last good state is in {self.state_path.parent}; --resume goes on from it"

    def _advice(self) -> str:
        more = ", a larger r1_gamma or a smaller max_grad_norm" if self.task == "swapper" else ""
        return (
            f"{self._kept()}. Try a lower learning rate{more}, or --set mixed_precision=no, in another --out."
        )

    def _read_metrics(self) -> list[dict]:
        path = self.folder / "metrics.parquet"
        try:
            return pyarrow.parquet.read_table(path).to_pylist() if path.is_file() else []
        except (pyarrow.ArrowException, OSError) as error:
            warnings.warn(f"{path} is damaged ({error}): its rows begin anew from here", stacklevel=2)
            return []

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

    def _interrupt(self, number: int) -> None:
        self._signal = int(number)  # no more than that: a signal may arrive in the middle of a write


def read_config(folder: Path) -> dict:
    """A run's profile.json; RunError if it is damaged."""
    try:
        found = json.loads((folder / "profile.json").read_text())
        return {"task": found.get("section"), **found, "profile": dict(found["profile"])}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        path = folder / "profile.json"
        raise RunError(f"{path} is damaged ({error!r}): put it back, or choose another --out.") from error


def _comparable(content: dict) -> dict[str, object]:
    """What must agree for a resume, flat: "seed", "size", "swapper.batch_size", ..."""
    profile = dict(content["profile"])
    config = profile.get(content["task"])
    flat = {name: value for name, value in profile.items() if not isinstance(value, dict)}
    others = {name: value for name, value in content.items() if name not in ("profile", "task", "section")}
    everything = others | flat | {f"{content['task']}.{name}": value for name, value in config.items()}
    return {name: value for name, value in everything.items() if name not in FREE_ON_RESUME}


def _where(accelerator: Accelerator) -> dict[str, object]:
    """The packages' versions and the machine, for the records."""
    packages = {"torch": torch, "accelerate": accelerate, "numpy": np}
    versions = {"python": platform.python_version()} | {n: p.__version__ for n, p in packages.items()}
    device = accelerator.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} CPU cores"
    machine = f"{platform.system()} {platform.machine()}, {device.type}, {name}"
    return {"versions": versions, "machine": f"{machine}, {accelerator.num_processes} process(es)"}
