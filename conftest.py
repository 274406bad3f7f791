"""pytest for the whole checkout: no network, no windows, nbval's settings, long files first, seconds."""

import os
import signal
from collections import defaultdict

import matplotlib
import pytest
import run

from smoothswap_lib.processes.signals import STOPS

# The longest first: one that begins last leaves the other workers idle. The first of those that need the
# built book comes early and the others late, as they wait until it is there.
LONG_FILES = (
    "test_notebooks.py",
    "test_book_browser.py",
    "test_lab_browser.py",
    "test_run_folder.py",
    "test_costs.py",
    "test_processes.py",
)
NEED_THE_BOOK = ("test_swap_lab_browser.py", "test_book.py")
# Of this file each test may go to another worker.
SPLIT = "tests/notebooks/test_notebooks.py::test_notebook_runs_alone"


def pytest_configure():
    os.environ.update(run.isolate())
    matplotlib.use("agg")
    for number in STOPS:  # under nohup, or behind a shell's &, some are ignored, and so by each child
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_collectstart(collector):
    # Progress bars and other packages' warnings go to stderr and differ from run to run.
    # The contract forbids stderr in what is saved, so nothing is hidden from a reader by this.
    if collector.__class__.__name__ == "IPyNbFile":
        collector.skip_compare = (*collector.skip_compare, "stderr")


def pytest_collection_modifyitems(items):
    order = {name: place for place, name in enumerate(LONG_FILES)}
    order |= dict.fromkeys(NEED_THE_BOOK, len(order) + 1)
    items.sort(key=lambda item: order.get(item.path.name, len(LONG_FILES)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """`--dist loadfile`: a file's tests stay with one worker and their fixtures, but for those of SPLIT."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return nodeid if nodeid.startswith(SPLIT) else super()._split_scope(nodeid)

    return Scheduling(config, log)


def pytest_terminal_summary(terminalreporter):
    seconds, count = defaultdict(float), defaultdict(int)
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            name = report.nodeid.split("::")[0]
            seconds[name] += getattr(report, "duration", 0)
            count[name] += getattr(report, "when", None) == "call"
    terminalreporter.section("seconds")
    for name in sorted(seconds):
        terminalreporter.write_line(f"{name:<52} {count[name]:>4} tests {seconds[name]:>7.1f} s")
