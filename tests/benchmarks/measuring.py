"""What the benchmarks of whole networks share: options, the shortest of some runs, a process' memory."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path


def parser_of(text: str) -> argparse.ArgumentParser:
    """The options that all have."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=text, formatter_class=form)
    parser.add_argument("--threads", type=int, default=2, help="of torch (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON to write, too")
    return parser


def best(function: Callable[[], object], repeats: int) -> float:
    """The shortest of some runs, in seconds; one more before them does not count."""
    function()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def megabytes() -> float:
    """The largest resident set of this process so far, from Linux's account (getrusage's is inherited)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024
