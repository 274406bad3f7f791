"""What the benchmarks of whole networks share: the shortest of some runs, and the memory of a process."""

import time
from collections.abc import Callable
from pathlib import Path


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
