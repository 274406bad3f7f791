"""Does the course train on this machine's GPU, how fast, and does it compute there what a CPU computes?

    OUT=DIR sh experiments/gpu_check.sh [--seconds 540] [--wheels DIR] [--set PART.NAME=VALUE ...]

In this order, within the seconds given; report.json is written after each part, so that a check that is cut
off leaves what it had:

    reading    pictures decoded, once
    speeds     steps a second, memory and share of a matrix product's speed of the swapper's step, in fp32,
               bf16 and fp16, channels first, and compiled; and of the embedder's
    embedder   trained for as long as there is time
    swapper    trained with it in two parts, the second resumed; resumed once more, nothing may have changed
    equality   the same swaps on the GPU and on the CPU, in gray levels
    judged     error to the true swap beside the paint bucket's; the embedder's AUC
    files      weights with their cards, rows, curves, previews; a file over 16 MiB comes in parts, to be
               joined with `cat NAME.0* > NAME`

Exit code: 0; 1 if a part failed (the report says how); 2 if packages are missing, before anything runs.
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import os
import platform
import shutil
import signal
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path

# What has to be there: module -> package. What is imported only where it is there: OPTIONAL.
NEEDED = {"torch": "torch", "numpy": "numpy", "scipy": "scipy", "accelerate": "accelerate", "tqdm": "tqdm"}
NEEDED |= {"safetensors": "safetensors", "pyarrow": "pyarrow", "PIL": "pillow"}
LEAST_TORCH = (2, 6)
OPTIONAL = {"pandas": "judged, curves", "sklearn": "judged", "matplotlib": "curves"}
MOST_BYTES = 16 * 2**20  # of a file
SHARES = {"reading": 0.1, "speeds": 0.2, "embedder": 0.2, "swapper": 0.3}  # of the seconds; the rest is slack
GRAY_LEVELS = 1.0  # by which a swap on the GPU may differ from the CPU's, of 255, in fp32 without TF32
NUM_PAIRS = 96  # swaps that are judged


def missing() -> list[str]:
    """Packages that are not there, or too old, found without importing torch."""
    lacking = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
    if "torch" not in lacking and tuple(map(int, version("torch").split(".")[:2])) < LEAST_TORCH:
        lacking.append("torch>=2.6")
    if "pillow" not in lacking:
        from PIL import features

        if not features.check("avif"):
            lacking.append("pillow>=11.3")
    return lacking


class Budget:
    """The seconds that are left."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.started = seconds, time.perf_counter()

    def share(self, name: str) -> float:
        """Seconds of a part, fewer if little is left."""
        return max(min(SHARES[name] * self.seconds, self.seconds - self.passed()), 1.0)

    def passed(self) -> float:
        return time.perf_counter() - self.started


@contextlib.contextmanager
def cut_off(seconds: float):
    """Ctrl-C by itself after so many seconds: a training saves its state and stops."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Check:
    """What the parts share: profile, data, the time, and folders for runs (taken away) and results (kept)."""

    def __init__(self, options: argparse.Namespace, runs: Path) -> None:
        from smoothswap_lib import datasets, profiles

        self.budget, self.out, self.runs = Budget(options.seconds), options.out, runs
        changes: dict[str, dict[str, str]] = {}
        for setting in options.set:
            name, _, value = setting.partition("=")
            part, _, number = name.rpartition(".")
            changes.setdefault(part or "profile", {})[number] = value
        self.profile = profiles.get(options.profile).override_all(changes)
        self.train, self.test = (
            datasets.TrueSwap(name, size=self.profile.size) for name in ("train", "test")
        )
        self.rates: dict[str, float] = {}

    def machine(self) -> dict:
        import torch

        from smoothswap_lib import training

        device = training.make_accelerator(self.profile.mixed_precision).device
        found = {"device": device.type, "torch": torch.__version__, "python": platform.python_version()}
        found |= {"system": f"{platform.system()} {platform.machine()}", "cores": os.cpu_count()}
        if device.type == "cuda":
            card = torch.cuda.get_device_properties(device)
            found |= {"card": card.name, "gigabytes": card.total_memory / 2**30, "cuda": torch.version.cuda}
            found["capability"] = f"{card.major}.{card.minor}"
        found["not there"] = [name for name in OPTIONAL if importlib.util.find_spec(name) is None]
        return found

    def reading(self) -> dict:
        """Decode the pictures once, as many as there is time for: the trainings then read from memory."""
        import numpy as np

        started, last, count = time.perf_counter(), self.budget.share("reading"), 0
        for part in np.array_split(np.arange(len(self.train)), max(len(self.train) // 64, 1)):
            self.train.image_batch(part)
            count += len(part)
            if time.perf_counter() - started > last:
                break
        return {
            "images_a_second": count / (time.perf_counter() - started),
            "read": count,
            "of": len(self.train),
        }

    def speeds(self) -> dict:
        from experiments import gpu_speeds

        found = gpu_speeds.side_by_side(self.profile, self.train, self.budget.share("speeds"))
        precision = {"no": "fp32"}.get(found["precision_of_trainings"], found["precision_of_trainings"])
        self.rates = {task: found[name]["steps_a_second"] for task, name in
                      (("swapper", precision), ("embedder", "embedder"))}  # fmt: skip
        return found

    def paced(self, task: str, steps: int, whole: int):
        """The profile with so many steps; rows and previews spread over `whole` of them."""
        often = {"log_every": max(whole // 50, 1), "preview_every": max(whole // 6, 1)}
        often |= {"save_every": whole, "save_every_seconds": 600.0}  # a state has hundreds of megabytes
        return self.profile.override_all({"profile": often, task: {"steps": steps}})

    def embedder(self) -> dict:
        from smoothswap_lib import training

        seconds = self.budget.share("embedder")
        steps = max(int(0.8 * seconds * self.rates["embedder"]), 2)
        steps = min(steps, self.profile.embedder.steps)
        with cut_off(2 * seconds):
            done = training.train_embedder(
                self.paced("embedder", steps, steps), self.runs / "embedder", self.train, progress=False
            )
        return self.summary(done, self.profile.embedder.steps) | {"loss": done.metrics[-1]["loss"]}

    def swapper(self) -> dict:
        from smoothswap_lib import checkpoints, training

        folder, seconds, whole = (
            self.runs / "swapper",
            self.budget.share("swapper"),
            self.profile.swapper.steps,
        )
        first = min(max(int(0.4 * seconds * self.rates["swapper"]), 2), whole - 1)
        most = max(int(seconds * self.rates["swapper"]), 4)

        def train(steps: int):
            profile = self.paced("swapper", steps, most)
            return training.train_swapper(
                profile, folder, self.train, self.runs / "embedder", resume=True, progress=False
            )

        with cut_off(2 * seconds):
            half = train(first)
            rest = 0.85 * (seconds - half.seconds) * half.steps / half.seconds
            done = train(min(first + max(int(rest), 2), whole))
        weights = folder / "weights.safetensors"
        before = checkpoints.read_metadata(weights)["tensor_hash"]
        again = checkpoints.tensor_hash(train(done.steps).module.state_dict())
        if again != before:
            raise RuntimeError("a finished run that is resumed has other weights than it had saved")
        last = {n: done.metrics[-1][n] for n in ("identity", "change", "cos_source", "cos_target")}
        return self.summary(done, whole) | {"resumed_after": half.steps, "same_after_resume": True} | last

    @staticmethod
    def summary(done, whole: int) -> dict:
        hours = whole / done.steps * done.seconds / 3600
        return {"steps": done.steps, "seconds": done.seconds, "hours_of_the_whole_profile": hours}

    def equality(self) -> dict:
        """The swapper on the device and on the CPU, in fp32; as it comes, and without TF32."""
        import torch

        from smoothswap_lib import checkpoints, training

        device = training.make_accelerator("no").device
        networks = (
            checkpoints.load_generator(self.runs / "swapper"),
            checkpoints.load_embedder(self.runs / "embedder"),
        )
        x_source, x_target = (self.test.image_batch(range(k, k + 8)) for k in (0, 8))

        @torch.no_grad()
        def swapped(where):
            generator, embedder = (network.to(where) for network in networks)
            return generator(x_target.to(where), embedder(x_source.to(where))).clamp(-1, 1).cpu()

        on_cpu, found = swapped("cpu"), {"compared": device.type != "cpu", "tolerance": GRAY_LEVELS}
        for name, tf32 in (("gray_levels_by_default", None), ("gray_levels", False)):
            kept = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
            if tf32 is not None:
                torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
            found[name] = 127.5 * (swapped(device) - on_cpu).abs().max().item()
            torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = kept
        if found["gray_levels"] > GRAY_LEVELS:
            raise RuntimeError(
                f"the GPU's swaps differ from the CPU's by {found['gray_levels']:.2f} gray levels"
            )
        return found

    def judged(self) -> dict:
        import numpy as np
        import torch

        from smoothswap_lib import checkpoints, evaluation

        indices, draw = self.test.matrix_indices(), np.random.default_rng(0)
        source, target = np.array([draw.choice(len(indices), 2, replace=False) for _ in range(NUM_PAIRS)]).T
        columns = draw.integers(indices.shape[1], size=(2, NUM_PAIRS))
        chosen = indices[source, columns[0]], indices[target, columns[1]], indices[source, columns[1]]
        x_source, x_target, x_true = (self.test.image_batch(part) for part in chosen)
        masks = [torch.as_tensor(np.stack([self.test[i]["mask"] for i in part])) for part in chosen[1:]]
        x_swap = checkpoints.swap(x_source, x_target, self.runs / "swapper")
        copying = (x_target - x_true).square().mean()
        bucket = evaluation.recolour(x_target, masks[0], x_true, masks[1])
        found = {"error_over_copying": ((x_swap - x_true).square().mean() / copying).item()}
        found["paint_bucket"] = ((bucket - x_true).square().mean() / copying).item()
        first, second, same = (part[:1000] for part in self.test.pairs())
        shown, place = np.unique(np.concatenate([first, second]), return_inverse=True)
        z = evaluation.embed(self.test.image_batch(shown), checkpoints.load_embedder(self.runs / "embedder"))
        auc = evaluation.verification_auc_pairs(z, place[: len(first)], place[len(first) :], same)
        return found | {"embedder_auc": auc, "pairs": NUM_PAIRS}

    def files(self) -> dict:
        """Bring the results of both runs into the folder that is kept."""
        from smoothswap_lib import training

        for task in ("embedder", "swapper"):
            training.export(self.runs / task, task, self.out)
            shutil.copyfile(self.runs / task / "metrics.parquet", self.out / f"{task}.parquet")
        for file in sorted((self.runs / "swapper" / "previews").glob("*.png")):
            shutil.copyfile(file, self.out / f"preview_{file.name}")
        left_out = self.curves()
        for file in [f for f in self.out.iterdir() if f.stat().st_size > MOST_BYTES]:
            in_parts(file)
        names = sorted(f.name for f in self.out.iterdir() if f.name != "report.json")
        return {"names": names, "left_out": left_out}

    def curves(self) -> list[str]:
        """curves_TASK.png, where pandas and matplotlib are there."""
        if any(importlib.util.find_spec(name) is None for name in ("pandas", "matplotlib")):
            return ["curves"]
        import matplotlib

        matplotlib.use("agg")
        import pandas as pd

        from smoothswap_lib import figures

        columns = {"embedder": ["loss", "cos_positive", "cos_negative"]}
        columns["swapper"] = [
            "identity",
            "change",
            "adversarial",
            "cos_source",
            "cos_target",
            "discriminator_real",
        ]
        for task, names in columns.items():
            rows = pd.read_parquet(self.out / f"{task}.parquet")
            figures.curves(rows, names).savefig(self.out / f"curves_{task}.png")
        return []


def in_parts(file: Path) -> None:
    """NAME becomes NAME.000, NAME.001, ..., none of more than MOST_BYTES."""
    content = file.read_bytes()
    for number, start in enumerate(range(0, len(content), MOST_BYTES)):
        file.with_name(f"{file.name}.{number:03d}").write_bytes(content[start : start + MOST_BYTES])
    file.unlink()


def first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def check(options: argparse.Namespace) -> int:
    """Run the parts; 1 if one failed."""
    from results import write_result

    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as runs:
        whole = Check(options, Path(runs))
        report, failed = {"profile": dataclasses.asdict(whole.profile), "seconds_given": options.seconds}, []
        for name in ("machine", "reading", "speeds", "embedder", "swapper", "equality", "judged", "files"):
            started = time.perf_counter()
            try:
                report[name] = getattr(whole, name)()
            except ModuleNotFoundError as error:
                report[name] = {"left_out": first_line(error)}
            except (Exception, KeyboardInterrupt) as error:  # a part that fails says so; the others run
                report[name] = {"failed": first_line(error)}
                failed.append(name)
            report[name]["seconds_of_this_part"] = time.perf_counter() - started
            report |= {"failed": failed, "seconds": whole.budget.passed()}
            write_result(report, options.out / "report.json")
            state = "FAILED: " + report[name]["failed"] if name in failed else "ok"
            print(f"{name:9} {report[name]['seconds_of_this_part']:6.1f} s  {state}", flush=True)
    print(options.out / "report.json")
    return 1 if failed else 0


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("build/gpu_check"), help="the folder of the results")
    parser.add_argument("--seconds", type=float, default=540.0, help="all of it (default 540)")
    parser.add_argument("--profile", default="gpu64", help="whose networks and numbers (default gpu64)")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="PART.NAME=VALUE",
        help="other numbers, such as swapper.batch_size=64 embedder.backbone=plain size=64",
    )  # fmt: skip
    parser.add_argument("--wheels", type=Path, help="a folder of wheels for what is missing (gpu_check.sh)")
    parser.add_argument("--missing", action="store_true", help="print the packages that are missing, and end")
    options = parser.parse_args(arguments)
    lacking = missing()
    if options.missing:
        print(*lacking)
        return 1 if lacking else 0
    if lacking:
        print(f"gpu_check needs packages that are not there: {' '.join(lacking)}", file=sys.stderr)
        return 2
    try:
        return check(options)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
