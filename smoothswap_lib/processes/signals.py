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
def _handling(numbers: list[int], answer: Callable[[int, Callable[[], None]], None]) -> Iterator[None]:
    """A signal of these calls answer(number, restore) meanwhile; `restore` puts the usual handlers back."""
    main = threading.current_thread() is threading.main_thread()  # no other thread may set handlers
    usual = {number: signal.getsignal(number) or signal.SIG_DFL for number in numbers if main}

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    for number in usual:
        signal.signal(number, lambda number, _frame: answer(number, restore))
    try:
        yield
    finally:
        restore()


@contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP raise `Stopped` here; names that no terminal can print are shown escaped."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's has not
            stream.reconfigure(errors="backslashreplace")

    def stop(number, _restore):
        raise Stopped(number)

    with _handling([n for n in STOPS if signal.getsignal(n) is not signal.SIG_IGN], stop):  # nohup ignores
        yield


@contextmanager
def first_signal(action: Callable[[int], None]) -> Iterator[None]:
    """The first Ctrl-C, SIGTERM or SIGHUP calls `action(number)`; a second one acts as usual."""
    hangup = getattr(signal, "SIGHUP", None)
    ignored = hangup and signal.getsignal(hangup) is signal.SIG_IGN  # nohup: it is to outlive its terminal

    def first(number, restore) -> None:
        restore()
        action(number)

    with _handling([n for n in STOPS if not (ignored and n == hangup)], first):
        yield
