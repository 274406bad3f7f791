"""Smooth-Swap, step by step: a thin library that rebuilds the paper and trains it.

The three names below are imported when they are first used, so that `import smoothswap_lib` stays light.
"""

import os
import signal
import sys

_PUBLIC = ("load_embedder", "load_generator", "swap")


def __getattr__(name: str):
    if name in _PUBLIC:
        from smoothswap_lib import checkpoints

        return getattr(checkpoints, name)
    raise AttributeError(f"module 'smoothswap_lib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])


def _stop(number, frame) -> None:
    print(f"\nstopped ({signal.Signals(number).name})", file=sys.stderr, flush=True)
    while frame is not None:
        if "importlib" in frame.f_code.co_filename:
            os._exit(128 + number)  # an exception in the middle of an import can get lost
        frame = frame.f_back
    raise SystemExit(128 + number)


if sys.argv[:1] == ["-m"]:  # a command of this library begins, and will import torch for some seconds
    signal.signal(signal.SIGINT, _stop)
