"""pytest for the whole checkout: no network, no windows, nbval's settings, the seconds of each file."""

import os
from collections import defaultdict

import matplotlib
import run


def pytest_configure():
    os.environ.update(run.isolate())
    matplotlib.use("agg")


def pytest_collectstart(collector):
    # Progress bars and other packages' warnings go to stderr and differ from run to run.
    # The contract forbids stderr in what is saved, so nothing is hidden from a reader by this.
    if collector.__class__.__name__ == "IPyNbFile":
        collector.skip_compare = (*collector.skip_compare, "stderr")


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
