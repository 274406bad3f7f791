"""Self-check of the exercise on saving a run: what saving and being interrupted cost together."""

from collections.abc import Callable

from smoothswap_lib.checks.base import judge


def check_lost_share(function: Callable) -> None:
    """(every, save, between), seconds each -> the share of the time that is lost, 0 to 1."""
    every, save, between = 50.0, 2.0, 1000.0
    saving, repeated = save / every, every / (2 * between)
    mistakes = {
        "the work that an interruption takes back is missing": saving,
        "the time that saving takes is missing": repeated,
        "an interruption takes back half of the time since the last save, on average": (
            saving + every / between
        ),
        "an interruption comes once in `between` seconds: divide by it": saving + every / 2,
        "a save comes once in `every` seconds: divide by it": save + repeated,
        "saving takes `save` seconds in `every`, not in `between`": save / between + repeated,
        "the share of the time is asked, not the seconds between two interruptions": (
            between * (saving + repeated)
        ),
        "add the two losses": saving * repeated,
    }
    judge(function, function(every, save, between), saving + repeated, mistakes)
