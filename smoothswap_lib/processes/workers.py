"""Several processes for many files."""

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from smoothswap_lib.processes.signals import STOPS, Stopped, stoppable

AHEAD = 8  # items a process that wait for their turn or to be fetched


class WorkerLost(RuntimeError):
    """A process was killed from outside; says at what it worked."""


def in_one_line(work: Callable[[], int], stopped: str, lost: str = "") -> int:
    """What a command line does, and its exit code: whatever ends it early is one line on stderr.

    Parameters
    ----------
    work : returns the exit code.
    stopped, lost : what holds after a signal, and what follows the news of a lost process.
    """
    try:
        with stoppable():
            return work()
    except (OSError, ValueError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except WorkerLost as error:
        print(f"stopped: {error}{lost}", file=sys.stderr)
        return 1
    except Stopped as stop:
        print(f"\nstopped ({stop}); {stopped}", file=sys.stderr)
        return stop.code


def count(processes: int | None) -> int:
    """How many processes: what was asked for (default: one a core), but never more than cores."""
    if processes is not None and processes < 1:
        raise ValueError(f"processes is {processes}; it must be at least 1")
    cores = os.cpu_count() or 1
    return min(processes or cores, cores)


def in_parallel(
    function: Callable,
    items: Iterable,
    processes: int | None = None,
    start: str | None = None,
    name: Callable = str,
) -> Iterator[tuple]:
    """(item, function(item)) of every item, in order; a few items ahead of whoever asks, and no more.

    Parameters
    ----------
    start : how processes begin (default: Python's own way on this system)
    name : of an item, for messages

    Raises
    ------
    WorkerLost
        A process was killed; names the items that were being worked on.
    """
    processes = count(processes)
    items, waiting = iter(items), deque()
    context = multiprocessing.get_context(start)
    pool = ProcessPoolExecutor(processes, context, initializer=_leave_stopping_to_the_parent)
    try:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) >= AHEAD * processes:
                item, future = waiting.popleft()
                yield item, future.result()
        while waiting:
            item, future = waiting.popleft()
            yield item, future.result()
    except BrokenProcessPool:
        lost = [item, *(i for i, f in waiting if f.done() and f.exception())][:processes]
        raise WorkerLost(
            f"a process was killed, perhaps for want of memory, while it worked on "
            f"{' or '.join(str(name(item)) for item in lost)}; try --processes 1, or take the file away"
        ) from None
    finally:
        for process in list((pool._processes or {}).values()) if sys.exc_info()[0] else ():
            process.terminate()  # what they write is whole or not there
        pool.shutdown(cancel_futures=True)


def _leave_stopping_to_the_parent() -> None:
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
