"""Several processes: results in order, never too many of them, and one line when something ends them."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from smoothswap_lib.processes import workers
from smoothswap_lib.processes.signals import STOPS, Stopped, stoppable
from smoothswap_lib.processes.workers import WorkerLost, count, in_parallel

ROOT = Path(__file__).resolve().parents[1]


def squared(number):
    return number**2


def killed_at_7(number):
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_results_come_in_order_and_only_a_few_ahead():
    asked = []
    endless = (asked.append(number) or number for number in itertools.count())
    found = list(itertools.islice(in_parallel(squared, endless, 2), 50))
    assert found == [(number, number**2) for number in range(50)]
    assert len(asked) <= 50 + workers.AHEAD * 2


@pytest.mark.parametrize("asked, cores, wanted", [(None, 4, 4), (3, 4, 3), (1_000_000, 4, 4), (1, None, 1)])
def test_there_are_never_more_processes_than_cores(monkeypatch, asked, cores, wanted):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert count(asked) == wanted
    with pytest.raises(ValueError, match="processes is 0; it must be at least 1"):
        count(0)


def test_a_killed_process_is_said_with_its_item():
    with pytest.raises(WorkerLost, match="was killed.* while it worked on picture 7"):
        list(in_parallel(killed_at_7, range(30), 1, name=lambda number: f"picture {number}"))


def told_to_stop(number):
    with stoppable():
        os.kill(os.getpid(), number)
        time.sleep(5)


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_stops_with_its_exit_code_and_is_taken_back(number):
    before = signal.getsignal(number)
    with pytest.raises(Stopped, match=signal.Signals(number).name) as stop:
        told_to_stop(number)
    assert stop.value.code == 128 + number and signal.getsignal(number) == before


def test_what_is_ignored_stays_ignored():
    """As `nohup` wants it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks at how far the start has come")
@pytest.mark.parametrize("module", ["smoothswap_lib", "smoothswap_lib.datasets", "smoothswap_lib.render"])
def test_ctrl_c_while_a_command_starts_is_one_line(module):
    process = start(module, "--help")
    while "numpy" not in Path(f"/proc/{process.pid}/maps").read_text():  # which comes long before the end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said.strip() == "stopped (SIGINT)"


@pytest.mark.parametrize("number", STOPS)
def test_a_stopped_build_says_how_to_go_on_and_leaves_no_process(tmp_path, number):
    process = start("smoothswap_lib.render", "build", "--split", "train", "--out", tmp_path / "set",
                    "--identities", 4, "--samples", 400, "--processes", 2)  # fmt: skip
    while not (tmp_path / "set" / "build.json").exists():
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)  # until every process that holds its stderr is gone
    assert process.returncode == 128 + number
    last = said.strip().splitlines()[-1]
    assert last == f"stopped ({signal.Signals(number).name}); the same command with --resume goes on"
    assert "Traceback" not in said
