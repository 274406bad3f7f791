"""What the command lines of these scripts share: the parser's form, and what an error becomes."""

import argparse
import sys
from collections.abc import Callable


def parser_of(text: str) -> argparse.ArgumentParser:
    """A parser whose help is a script's docstring, as it is written."""
    return argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


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
