"""What the command lines of these scripts share: the parser's form, and what an error becomes."""

import argparse
import sys
from collections.abc import Callable

from smoothswap_lib import profiles


def parser_of(text: str) -> argparse.ArgumentParser:
    """A parser whose help is a script's docstring, as it is written."""
    return argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_generator_options(parser: argparse.ArgumentParser) -> None:
    """What the trainings of a generator have in common."""
    parser.add_argument("--embedder", default="robust")
    parser.add_argument("--profile", default="laptop", choices=profiles.names())
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="repeatable")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ship", metavar="NAME", help="when done, write data/checkpoints/NAME.safetensors")


def exit_code(work: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    """Do the work that the options ask for; bad input becomes a line on stderr and 2, Ctrl-C 130."""
    try:
        work(options)
    except (OSError, ValueError, ModuleNotFoundError) as error:  # a RunError is a ValueError
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"\n{interrupt}", file=sys.stderr)
        return 130
    return 0
