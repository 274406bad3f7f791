"""A run's folder: exact resume after a kill or a signal, saving by time, what it holds, what it refuses."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys

import pyarrow.parquet
import pytest
import torch
from tiny_runs import ROOT, TINY, FakeFaces, assert_same_run, train, without_seconds

from smoothswap_lib import checkpoints, profiles, training
from smoothswap_lib.embedder import Embedder

pytestmark = pytest.mark.usefixtures("small_networks")


KILL_AFTER_A_STEP = """
from smoothswap_lib.training import Run
record = Run.record
def kill(self, *arguments):
    record(self, *arguments)
    if self.step == 7:
        os.kill(os.getpid(), signal.SIGKILL)
Run.record = kill
"""
# the second state (step 8) is complete under its temporary name, and metrics.parquet has its rows already
KILL_BEFORE_THE_RENAME = """
fsync, calls = os.fsync, []
def kill(file):
    calls.append(file)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(file)
os.fsync = kill
"""


@pytest.mark.parametrize(
    ("task", "kill", "rows"),
    (("embedder", KILL_AFTER_A_STEP, [2, 4]), ("swapper", KILL_BEFORE_THE_RENAME, [2, 4, 6, 8])),
)
def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path, finished, task, kill, rows):
    helpers = str(ROOT / "tests" / "helpers")
    code = f"import os, signal, sys\nsys.path.insert(0, {helpers!r})\nimport tiny_runs\n{kill}\n"
    code += "tiny_runs.make_small()\n"
    code += f"tiny_runs.train({task!r}, sys.argv[1])"
    out = tmp_path / "run"
    killed = subprocess.run([sys.executable, "-c", code, str(out)], cwd=ROOT, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (out / "weights.safetensors").exists()
    kept = pyarrow.parquet.read_table(out / "metrics.parquet").to_pylist()
    assert [row["step"] for row in kept] == rows
    record = json.loads(checkpoints.read_metadata(out / "state" / "state.safetensors")["record"])
    assert record["step"] == 4

    result = train(task, out, resume=True)
    assert result.steps == 10
    assert [row["step"] for row in result.metrics] == [2, 4, 6, 8, 10]
    assert [path.name for path in (out / "state").iterdir()] == ["state.safetensors"]
    assert_same_run(out, finished[task].folder)


def test_the_seed_decides_everything(tmp_path, finished):
    assert_same_run(train("swapper", tmp_path / "again").folder, finished["swapper"].folder)
    other = train("swapper", tmp_path / "other", TINY.override("swapper", {"steps": 2}), seed=1)
    assert without_seconds(other.metrics)[0] != without_seconds(finished["swapper"].metrics)[0]


def test_a_finished_run_holds_what_it_should(finished):
    for task, result in finished.items():
        assert {path.name for path in result.folder.iterdir()} == {
            "weights.safetensors",
            "metrics.parquet",
            "profile.json",
            "state",
            *(["previews"] if task == "swapper" else []),
        }
        assert not result.module.training
        assert json.loads((result.folder / "profile.json").read_text())["profile"]["name"] == "tiny"
    names = {task: set(result.metrics[0]) - {"step", "seconds"} for task, result in finished.items()}
    assert names["embedder"] == {"learning_rate", "loss", "cos_positive", "cos_negative"}
    assert names["swapper"] == {
        *("learning_rate", "identity", "change", "adversarial", "r1", "r1_loss", "cos_source", "cos_target"),
        *("discriminator_real", "discriminator_fake", "grad_norm_generator", "grad_norm_discriminator"),
    }


def test_resume_with_nothing_there_starts_and_when_done_does_nothing(tmp_path, finished):
    result = train("embedder", tmp_path / "new", resume=True)
    assert_same_run(result.folder, finished["embedder"].folder)
    before = {path: path.stat().st_mtime_ns for path in (result.folder / "state").iterdir()}
    again = train("embedder", tmp_path / "new", resume=True)
    assert again.metrics == result.metrics
    assert {path: path.stat().st_mtime_ns for path in (result.folder / "state").iterdir()} == before


def test_a_longer_swapper_run_continues_a_shorter_one(tmp_path, finished):
    train("swapper", tmp_path / "run", TINY.override("swapper", {"steps": 8}))
    train("swapper", tmp_path / "run", resume=True)
    weights = [folder / "weights.safetensors" for folder in (tmp_path / "run", finished["swapper"].folder)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    with pytest.raises(training.RunError, match="has taken 10 steps already, more than the 8"):
        train("swapper", tmp_path / "run", TINY.override("swapper", {"steps": 8}), resume=True)


@pytest.mark.parametrize(("name", "code"), (("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)))
def test_a_signal_saves_and_resume_goes_on(tmp_path, monkeypatch, finished, name, code):
    number, record = getattr(signal, name), training.Run.record
    before = signal.getsignal(number)

    def press(self, step, *arguments):
        if step == 4:
            os.kill(os.getpid(), number)
        record(self, step, *arguments)

    monkeypatch.setattr(training.Run, "record", press)
    with pytest.raises(KeyboardInterrupt, match="after step 5, which is saved: .*--resume") as stop:
        train("swapper", tmp_path / "run")
    assert 128 + stop.value.signal == code
    assert signal.getsignal(number) is before
    monkeypatch.undo()
    train("swapper", tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", finished["swapper"].folder)


def test_the_state_is_saved_by_time_as_well_as_by_steps(tmp_path, monkeypatch, finished):
    saved, save = [], training.Run.save
    monkeypatch.setattr(training.Run, "save", lambda self: saved.append(self.step) or save(self))
    eager = dataclasses.replace(TINY, save_every=1000, save_every_seconds=1e-6)
    assert_same_run(train("embedder", tmp_path / "run", eager).folder, finished["embedder"].folder)
    assert saved == list(range(1, 11))
    saved.clear()
    train("embedder", tmp_path / "lazy", dataclasses.replace(eager, save_every_seconds=1e6))
    assert saved == [10]
    assert profiles.get("gpu64").save_every_seconds == 60


@pytest.fixture
def poison(monkeypatch):
    """Losses of the given steps (counted from 1) become NaN where they are recorded."""
    record = training.Run.record

    def at(*steps):
        def poisoned(self, step, values, rate):
            lost = {"change": torch.tensor(float("nan"))} if step + 1 in steps else {}
            record(self, step, values | lost, rate)

        monkeypatch.setattr(training.Run, "record", poisoned)

    return at


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(tmp_path, poison):
    poison(7, 8, 9)
    why = r"step 8: change is nan, for 2 step\(s\)\. The last good state is in .*state; --resume"
    with pytest.raises(training.NonFiniteError, match=why):
        train("swapper", tmp_path / "run")
    state = tmp_path / "run" / "state" / "state.safetensors"
    assert json.loads(checkpoints.read_metadata(state)["record"])["step"] == 4
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    rows = pyarrow.parquet.read_table(tmp_path / "run" / "metrics.parquet").to_pylist()
    assert [row["step"] for row in rows] == [2, 4, 6]


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    wild = dataclasses.replace(TINY, log_every=1000).override("swapper", {"generator_learning_rate": 1e30})
    with pytest.raises(training.NonFiniteError, match="step [0-9]+: "):
        train("swapper", tmp_path / "run", wild)
    assert not (tmp_path / "run" / "state" / "state.safetensors").exists()


def test_nothing_waits_for_the_device_between_two_rows(tmp_path, monkeypatch):
    read, kept = [], training.Run._read_window
    monkeypatch.setattr(training.Run, "_read_window", lambda self: read.append(self.step) or kept(self))
    train("swapper", tmp_path / "run", dataclasses.replace(TINY, log_every=5, save_every=10))
    assert read == [5, 10, 10]  # two rows, one state


def test_requests_that_do_not_fit_are_refused_in_words(tmp_path, finished):
    folder, resumed, new = finished["swapper"].folder, {"resume": True}, tmp_path / "a"
    larger = TINY.override("swapper", {"batch_size": 8, "r1_gamma": 0.2})
    longer = TINY.override("embedder", {"steps": 20})
    wider = TINY.override_all({"profile": {"size": 32}, "swapper": {"attention_resolutions": (16,)}})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    for task, out, profile, options, why in (
        ("swapper", folder, TINY, {}, "is not empty .*--resume"),
        ("embedder", folder, TINY, resumed, "is the run of a swapper"),
        ("swapper", tmp_path / "mine", TINY, resumed, "holds files but no run"),
        ("swapper", tmp_path / "mine" / "thesis.txt", TINY, {}, "is a file"),
        (
            "swapper",
            folder,
            larger,
            resumed | {"seed": 1},
            "seed is 0 in the run.*batch_size is 4 in the run",
        ),
        ("embedder", finished["embedder"].folder, longer, resumed, "embedder.steps is 10"),
        ("embedder", new, wider, {}, "are 16 px, .* 32 px"),
        ("embedder", new, TINY, {"seed": 2**64}, "seed must be a whole number"),
        ("embedder", new, TINY, {"data": ""}, "an empty name of a data set"),
    ):
        with pytest.raises(training.RunError, match=why):
            train(task, out, profile, **options)
    assert not new.exists()
    with pytest.raises(training.RunError, match="embedder_hash"):
        training.train_swapper(TINY, folder, FakeFaces(), Embedder("plain", 8), resume=True, progress=False)


def test_other_images_of_equal_number_are_noticed(tmp_path):
    other = FakeFaces()
    other.identities = other.identities[::-1].copy()
    train("embedder", tmp_path, TINY.override("embedder", {"steps": 1}))
    with pytest.raises(training.RunError, match="fingerprint is"):
        train("embedder", tmp_path, TINY.override("embedder", {"steps": 1}), data=other, resume=True)


def test_a_damaged_profile_is_named_and_damaged_metrics_begin_anew(tmp_path):
    train("embedder", tmp_path)
    (tmp_path / "metrics.parquet").write_bytes(b"PAR1")
    with pytest.warns(UserWarning, match="metrics.parquet is damaged"):
        longer = train("embedder", tmp_path, resume=True)
    assert longer.steps == 10 and longer.metrics == []
    for text in ("", "[]", '{"task": "embedder"}', "null"):
        (tmp_path / "profile.json").write_text(text)
        with pytest.raises(training.RunError, match=r"profile.json is damaged .*put it back"):
            train("embedder", tmp_path, resume=True)


def test_a_run_of_an_older_version_lacks_newer_fields_and_goes_on(tmp_path):
    train("embedder", tmp_path)
    content = json.loads((tmp_path / "profile.json").read_text())
    del content["profile"]["embedder"]["color_jitter"], content["fingerprint"]
    (tmp_path / "profile.json").write_text(json.dumps(content))
    assert train("embedder", tmp_path, resume=True).steps == 10


def test_what_fails_in_mid_run_is_said_and_can_be_resumed(tmp_path, monkeypatch, finished):
    class Broken(FakeFaces):
        reads = 0

        def image_batch(self, indices):
            self.reads += 1
            if self.reads == 6:
                raise ValueError("0007.jpg cannot be read as an image")
            return super().image_batch(indices)

    why = r"after step 5: 0007.jpg cannot .*The last good state is in.*--resume"
    with pytest.raises(training.StoppedError, match=why):
        train("embedder", tmp_path / "run", data=Broken())
    kept = os.replace

    def full(source, target):
        if str(target).endswith("state.safetensors"):
            raise OSError(28, "No space left on device")
        kept(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(training.StoppedError, match="No space left on device"):
        train("embedder", tmp_path / "run", resume=True)
    monkeypatch.undo()
    train("embedder", tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", finished["embedder"].folder)


@pytest.mark.parametrize("task", ["embedder", "swapper"])
def test_a_folder_that_goes_in_mid_run_is_not_begun_anew_elsewhere(task, tmp_path):
    class Unmounted(FakeFaces):
        reads = 0

        def image_batch(self, indices):
            self.reads += 1
            if self.reads == 6:
                shutil.rmtree(tmp_path / "drive")
            return super().image_batch(indices)

    with pytest.raises(training.StoppedError, match=r"run is gone \(was its drive unmounted\?\)"):
        train(task, tmp_path / "drive" / "run", data=Unmounted())
    assert not (tmp_path / "drive").exists()
