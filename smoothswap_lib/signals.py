"""Being told to stop: Ctrl-C, SIGTERM (a scheduler) and SIGHUP (a closed terminal) end a command in order."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """A signal asked the program to end; `code` is the exit code that says which one."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


@contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP raise `Stopped` here; names that no terminal can print are shown escaped."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's has not
            stream.reconfigure(errors="backslashreplace")

    def stop(number, _frame):
        raise Stopped(number)

    before = {number: signal.getsignal(number) for number in STOPS}
    heard = threading.current_thread() is threading.main_thread()
    heard = [number for number in STOPS if heard and before[number] is not signal.SIG_IGN]  # nohup ignores
    for number in heard:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


@contextmanager
def first_signal(action: Callable[[int], None]) -> Iterator[None]:
    """The first Ctrl-C, SIGTERM or SIGHUP calls `action(number)`; a second one acts as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signal handlers
        return
    usual = {number: signal.getsignal(number) or signal.SIG_DFL for number in STOPS}
    if usual.get(getattr(signal, "SIGHUP", None)) is signal.SIG_IGN:
        del usual[signal.SIGHUP]  # nohup: the run is to outlive its terminal

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def first(number, _frame) -> None:
        restore()
        action(number)

    for number in usual:
        signal.signal(number, first)
    try:
        yield
    finally:
        restore()
