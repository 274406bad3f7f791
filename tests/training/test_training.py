"""The two loops: exact resume after a kill, frozen parts, what a run holds, refusals."""

import copy
import dataclasses
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from tiny_runs import ROOT, TINY, FakeFaces, assert_same_run, fixed_embedder, train, without_seconds

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
    ("section", "kill", "rows"),
    (("embedder", KILL_AFTER_A_STEP, [2, 4]), ("swapper", KILL_BEFORE_THE_RENAME, [2, 4, 6, 8])),
)
def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path, finished, section, kill, rows):
    helpers = str(ROOT / "tests" / "helpers")
    code = f"import os, signal, sys\nsys.path.insert(0, {helpers!r})\nimport tiny_runs\n{kill}\n"
    code += "tiny_runs.make_small()\n"
    code += f"tiny_runs.train({section!r}, sys.argv[1])"
    out = tmp_path / "run"
    killed = subprocess.run([sys.executable, "-c", code, str(out)], cwd=ROOT, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (out / "weights.safetensors").exists()
    kept = pyarrow.parquet.read_table(out / "metrics.parquet").to_pylist()
    assert [row["step"] for row in kept] == rows
    record = json.loads(checkpoints.read_metadata(out / "state" / "state.safetensors")["record"])
    assert record["step"] == 4

    result = train(section, out, resume=True)
    assert result.steps == 10
    assert [row["step"] for row in result.metrics] == [2, 4, 6, 8, 10]
    assert [path.name for path in (out / "state").iterdir()] == ["state.safetensors"]
    assert_same_run(out, finished[section].folder)


def test_the_seed_decides_everything(tmp_path, finished):
    assert_same_run(train("swapper", tmp_path / "again").folder, finished["swapper"].folder)
    other = train("swapper", tmp_path / "other", TINY.override("swapper", {"steps": 2}), seed=1)
    assert without_seconds(other.metrics)[0] != without_seconds(finished["swapper"].metrics)[0]


def test_a_finished_run_holds_what_it_should(finished):
    for section, result in finished.items():
        assert {path.name for path in result.folder.iterdir()} == {
            "weights.safetensors",
            "metrics.parquet",
            "profile.json",
            "state",
            *(["previews"] if section == "swapper" else []),
        }
        assert not result.module.training
        assert json.loads((result.folder / "profile.json").read_text())["profile"]["name"] == "tiny"
    assert set(finished["embedder"].metrics[-1]) == {
        "step",
        "seconds",
        "loss",
        "cos_positive",
        "cos_negative",
        "learning_rate",
    }
    assert set(finished["swapper"].metrics[0]) == {
        *("step", "seconds", "learning_rate", "identity", "change", "adversarial", "r1"),
        *("discriminator_real", "discriminator_fake", "grad_norm_generator", "grad_norm_discriminator"),
        *("cos_source", "cos_target"),
    }


def test_a_judge_sees_the_embedder_along_the_way_and_changes_nothing(tmp_path, finished):
    seen = []

    def judge(module):
        assert not module.training and not torch.is_grad_enabled()
        seen.append(module.fc1.weight.clone())
        return {"answer": len(seen)}

    result = train("embedder", tmp_path / "run", judge=judge)
    assert len(seen) == 2 and not torch.equal(*seen)  # after steps 5 and 10 of 10
    assert [row.get("answer") for row in result.metrics] == [None, None, 1, None, 2]
    assert torch.equal(seen[-1].half().float(), result.module.fc1.weight)
    plain = checkpoints.read_tensors(finished["embedder"].folder / "weights.safetensors")[0]
    judged = checkpoints.read_tensors(result.folder / "weights.safetensors")[0]
    assert all(torch.equal(plain[name], judged[name]) for name in plain)


def test_weights_are_the_moving_average_not_the_last_generator(finished):
    folder = finished["swapper"].folder
    weights, _ = checkpoints.read_tensors(folder / "weights.safetensors")
    state, _ = checkpoints.read_tensors(folder / "state" / "state.safetensors")
    ema, last = ({n: state[f"module.{kind}.{n}"].to(w.dtype) for n, w in weights.items()}
                 for kind in ("ema", "generator"))  # fmt: skip
    assert all(torch.equal(value, ema[name]) for name, value in weights.items())
    assert any(not torch.equal(value, last[name]) for name, value in weights.items())


def test_previews_show_their_rows_and_say_that_they_are_synthetic(finished):
    folder = finished["swapper"].folder / "previews"
    assert sorted(path.name for path in folder.iterdir()) == ["step_000005.png", "step_000010.png"]
    with Image.open(folder / "step_000010.png") as image:
        assert image.size == (training.NUM_PREVIEWS * 16, 3 * 16)
        assert image.text["Synthetic"] == "true"
        assert image.text["Step"] == "10"
        pixels = torch.tensor(np.array(image)[:16, :16]).permute(2, 0, 1) / 127.5 - 1
    first_source = np.random.default_rng(0).integers(48, size=(2, training.NUM_PREVIEWS))[1, 0]
    assert (pixels - FakeFaces().images[first_source]).abs().max() <= 1 / 255 + 1e-6


def test_the_embedder_learns_its_identities(tmp_path):
    profile = dataclasses.replace(TINY, log_every=10).override(
        "embedder", {"steps": 50, "identities_per_batch": 8, "images_per_identity": 4}
    )
    rows = train("embedder", tmp_path / "run", profile).metrics
    assert rows[-1]["loss"] < 0.3 * rows[0]["loss"]
    assert rows[-1]["cos_positive"] - rows[-1]["cos_negative"] > 0.5


@pytest.mark.parametrize("loss", ("khosla", "ce_lin", "ce_arc"))
def test_each_embedder_loss_falls_and_ships_no_classifier(tmp_path, loss):
    profile = dataclasses.replace(TINY, log_every=5).override(
        "embedder", {"loss": loss, "steps": 30, "arc_scale": 8.0, "arc_margin": 0.1}
    )
    result = train("embedder", tmp_path / "run", profile)
    assert result.metrics[-1]["loss"] < result.metrics[0]["loss"]
    names, _ = checkpoints.read_tensors(result.folder / "weights.safetensors")
    assert set(names) == set(Embedder("resnet_small", 8).state_dict())


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(tmp_path, monkeypatch):
    real = training.generator_step
    calls = []

    def poisoned(*arguments):
        calls.append(1)
        x_swap, values = real(*arguments)
        return x_swap, {**values, "change": torch.tensor(float("nan"))} if len(calls) == 7 else values

    monkeypatch.setattr(training.swapper, "generator_step", poisoned)
    with pytest.raises(
        training.NonFiniteError, match=r"step 7: change is nan\. The last good state is in .*state\. Try"
    ):
        train("swapper", tmp_path / "run")
    state = tmp_path / "run" / "state" / "state.safetensors"
    assert json.loads(checkpoints.read_metadata(state)["record"])["step"] == 4
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    rows = pyarrow.parquet.read_table(tmp_path / "run" / "metrics.parquet").to_pylist()
    assert [row["step"] for row in rows] == [2, 4, 6]


def test_a_real_explosion_is_caught_before_it_is_saved(tmp_path):
    profile = TINY.override("swapper", {"generator_learning_rate": 1e30, "warmup_steps": 0})
    with pytest.raises(training.NonFiniteError, match="step [0-9]+: "):
        train("swapper", tmp_path / "run", profile)
    path = tmp_path / "run" / "state" / "state.safetensors"
    if path.exists():
        assert all(tensor.isfinite().all() for tensor in checkpoints.read_tensors(path)[0].values())


@pytest.mark.parametrize("section", ("embedder", "swapper"))
def test_ctrl_c_saves_and_resume_goes_on(tmp_path, monkeypatch, finished, section):
    record, before = training.Run.record, signal.getsignal(signal.SIGINT)  # ignored in a shell's background

    def press(self, *arguments):
        if self.step == 4:
            os.kill(os.getpid(), signal.SIGINT)
        record(self, *arguments)

    monkeypatch.setattr(training.Run, "record", press)
    with pytest.raises(KeyboardInterrupt, match="after step 5, which is saved: continue with --resume"):
        train(section, tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.undo()
    train(section, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", finished[section].folder)


def test_a_folder_in_use_is_refused(tmp_path, finished):
    with pytest.raises(training.RunError, match="is not empty .*--resume"):
        train("swapper", finished["swapper"].folder)
    with pytest.raises(training.RunError, match="is the run of a swapper, not of a embedder"):
        train("embedder", finished["swapper"].folder, resume=True)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(training.RunError, match="holds files but no run"):
        train("swapper", tmp_path, resume=True)


def test_resume_with_other_numbers_names_them(finished):
    folder = finished["swapper"].folder
    other = TINY.override("swapper", {"batch_size": 8, "r1_gamma": 0.2})
    with pytest.raises(
        training.RunError, match=r"seed is 0 in the run, 1 .*; swapper.batch_size is 4 in the run, 8"
    ):
        train("swapper", folder, other, seed=1, resume=True)
    with pytest.raises(training.RunError, match="embedder.steps is 10 in the run, 20"):
        train("embedder", finished["embedder"].folder, TINY.override("embedder", {"steps": 20}), resume=True)
    with pytest.raises(training.RunError, match="embedder_hash"):
        training.train_swapper(
            TINY, folder, FakeFaces(), Embedder("resnet_small", 8), resume=True, progress=False
        )


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


def test_images_of_another_size_are_refused(tmp_path):
    with pytest.raises(training.RunError, match=r"images are 16 px, the profile trains at 32 px"):
        train("embedder", tmp_path / "run", profiles.get("laptop").override("profile", {"size": 32}))


def test_the_given_embedder_stays_as_it_was(tmp_path):
    given = fixed_embedder().train()
    before = copy.deepcopy(given.state_dict())
    training.train_swapper(
        TINY.override("swapper", {"steps": 1}), tmp_path / "run", FakeFaces(), given, progress=False
    )
    assert given.training
    assert all(p.requires_grad for p in given.parameters())
    assert all(torch.equal(value, before[name]) for name, value in given.state_dict().items())


def test_a_run_of_an_older_version_lacks_newer_numbers_and_goes_on(tmp_path):
    train("embedder", tmp_path)
    content = json.loads((tmp_path / "profile.json").read_text())
    del content["profile"]["embedder"]["color_jitter"]
    (tmp_path / "profile.json").write_text(json.dumps(content))
    assert train("embedder", tmp_path, resume=True).steps == 10
    del content["profile"]["embedder"]["loss"]  # an older version's, and no longer the default
    content["profile"]["embedder"]["color_jitter"] = 0.4
    (tmp_path / "profile.json").write_text(json.dumps(content))
    with pytest.raises(training.RunError, match="color_jitter is 0.4 in the run, 0.0 was asked for"):
        train("embedder", tmp_path, resume=True)


def test_color_jitter_changes_what_the_embedder_sees_and_nothing_else(tmp_path):
    plain = training.train_embedder(TINY, tmp_path / "a", FakeFaces(), progress=False)
    shaken = TINY.override("embedder", {"color_jitter": 0.4, "gray_share": 0.2})
    first, again = (
        training.train_embedder(shaken, tmp_path / name, FakeFaces(), progress=False) for name in ("b", "c")
    )
    assert first.metrics[0]["loss"] != plain.metrics[0]["loss"]
    assert [row["loss"] for row in first.metrics] == [row["loss"] for row in again.metrics]
