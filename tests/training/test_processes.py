"""Two gloo processes on the CPU do what one does; a run of which one is killed ends, and resumes."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import ROOT, assert_same_run, without_seconds
from two_processes import CASES, KILL_AFTER, SWAPPER

pytestmark = pytest.mark.slow

SCRIPT = ROOT / "tests" / "helpers" / "two_processes.py"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
PATIENCE = 600  # seconds; a launch takes 10 to 30 on 2 cores, minutes on busy ones


def launch(processes, what, out, task=None):
    """Something in one process or in two; one run a launch: a second process group hangs in a torchrun."""
    command = [*TORCHRUN, "--monitor-interval", "2"] if processes == 2 else [sys.executable]
    command += [str(SCRIPT), what, str(out), *([task] if task else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """One step of each case by one process and by two: {case: [one, first of two, second of two]}."""
    folders = {}
    for processes in (1, 2):
        folders[processes] = tmp_path_factory.mktemp(f"measured-{processes}")
        done = launch(processes, "measure", folders[processes])
        assert done.returncode == 0, done.stderr
    runs = {}
    for case in CASES:
        files = [folders[n] / f"{case}-{rank}" for n, rank in ((1, 0), (2, 0), (2, 1))]
        runs[case] = [
            {"gradients": load_file(f"{file}.safetensors"), **json.loads(Path(f"{file}.json").read_text())}
            for file in files
        ]
    return runs


@pytest.mark.parametrize("case", CASES)
def test_every_gradient_is_that_of_one_process_with_the_whole_batch(measured, case):
    one, first, second = (run["gradients"] for run in measured[case])
    assert len(one) == len(first) > 25
    assert sum(bool(gradient.abs().max() > 1e-3) for gradient in one.values()) > 0.6 * len(one)
    for name, gradient in one.items():
        torch.testing.assert_close(first[name], gradient, rtol=1e-5, atol=1e-9, msg=name)
        assert torch.equal(first[name], second[name]), name


def test_checkpointed_blocks_have_the_same_gradients(measured):
    whole, again = (measured[case][0]["gradients"] for case in ("with_r1", "checkpointed"))
    assert all(torch.equal(again[name], gradient) for name, gradient in whole.items())


def test_r1_is_in_the_gradients(measured):
    with_r1, without = (measured[case][1]["gradients"] for case in ("with_r1", "without_r1"))
    changed = [name for name in with_r1 if (with_r1[name] - without[name]).abs().max() > 1e-6]
    assert changed and {name.split(".")[0] for name in changed} == {"18"}  # the discriminator's 18 parameters


@pytest.mark.parametrize("case", CASES)
def test_metrics_are_those_of_one_process(measured, case):
    one, first, second = (run["rows"] for run in measured[case])
    assert first == second
    assert one[0].keys() == first[0].keys()
    for name, value in one[0].items():
        assert first[0][name] == (value if value is None else pytest.approx(value, rel=1e-6, abs=1e-9)), name


def test_identities_stay_whole_and_the_batch_is_the_same(measured):
    one, first, second = (run["seen"] for run in measured["printed"])
    assert first + second == one
    for seen, identities in ((one, 8), (first, 4), (second, 4)):
        names, counts = np.unique(np.array(seen) // 6, return_counts=True)  # six images of each identity
        assert len(names) == identities
        assert set(counts) == {4}


def test_pairs_are_dealt_out_and_the_batch_is_the_same(measured):
    def pairs(seen):
        return np.array(seen).reshape(2, -1).T.tolist()  # targets, then sources

    one, first, second = (pairs(run["seen"]) for run in measured["with_r1"])
    assert first == one[::2] and second == one[1::2]
    count = SWAPPER["self_pairs"]
    assert [target == source for target, source in one[:count]] == [True] * count


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The folder of a run of each loop by two processes, and what the runs printed."""
    out = tmp_path_factory.mktemp("uninterrupted")
    runs = {task: launch(2, "train", out, task) for task in ("embedder", "swapper")}
    for done in runs.values():
        assert done.returncode == 0, done.stderr
    return out, {task: done.stdout for task, done in runs.items()}


def test_files_are_written_once_and_by_one_process(uninterrupted, finished):
    """The worker refuses to write from the second process; the numbers are those of a single process."""
    out, printed = uninterrupted
    for task, single in finished.items():
        assert printed[task].count("weights.safetensors: 10 steps") == 1
        rows = pyarrow.parquet.read_table(out / task / "metrics.parquet").to_pylist()
        assert [row["step"] for row in rows] == [2, 4, 6, 8, 10]
        assert json.loads((out / task / "profile.json").read_text())["machine"].endswith("2 process(es)")
        first, alone = without_seconds(rows)[0], without_seconds(single.metrics)[0]
        for name, value in alone.items():
            # in a batch of 4, groups for the minibatch standard deviation are smaller in two processes
            assert first[name] == pytest.approx(value, rel=0.1 if task == "swapper" else 1e-3), name


@pytest.mark.parametrize("task", ("embedder", "swapper"))
def test_a_killed_process_ends_the_run_and_resume_gives_the_uninterrupted_weights(
    tmp_path, uninterrupted, task
):
    killed = launch(2, "kill", tmp_path, task)  # TimeoutExpired if it hangs
    assert killed.returncode not in (0, -signal.SIGKILL)
    assert f"{signal.SIGKILL.name}" in killed.stderr  # torchrun says who died of what
    assert "another process of this run has died" in killed.stderr
    assert "--resume goes on from the last state in" in killed.stderr
    assert not (tmp_path / task / "weights.safetensors").exists()
    rows = pyarrow.parquet.read_table(tmp_path / task / "metrics.parquet").to_pylist()
    assert rows[-1]["step"] < KILL_AFTER
    shutil.copytree(tmp_path / task, tmp_path / "alone" / task)
    done = launch(2, "resume", tmp_path, task)
    assert done.returncode == 0, done.stderr
    assert "continues after step 4 of 10" in done.stderr
    assert_same_run(tmp_path / task, uninterrupted[0] / task)

    # one process may go on with what two began
    done = launch(1, "resume", tmp_path / "alone", task)
    assert done.returncode == 0, done.stderr
    rows = [
        pyarrow.parquet.read_table(folder / task / "metrics.parquet").to_pylist()
        for folder in (tmp_path / "alone", uninterrupted[0])
    ]
    name, tolerance = {"embedder": ("loss", 0.02), "swapper": ("identity", 0.2)}[task]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]]
    assert [row[name] for row in rows[0]] == pytest.approx([row[name] for row in rows[1]], rel=tolerance)
