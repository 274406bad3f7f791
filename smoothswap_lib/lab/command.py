"""The command line of the library itself: swap two faces, and ask a file whether it is a swap.

python -m smoothswap_lib swap SOURCE TARGET -o OUT [--sheet SHEET] [--aligned] [--weights NAME]
python -m smoothswap_lib verify FILE
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from smoothswap_lib.lab import manifest, marking, photographs
from smoothswap_lib.processes.workers import in_one_line

SWAP_TEXT = """Put the identity of SOURCE into the picture TARGET.

A square image of up to 1024 pixels counts as a face crop and is used as it is; the swap then
has the network's size. Of any other photograph the face is found, cut out, swapped and pasted
back, which needs the extra "align". What is written is marked as synthetic, in its pixels and, with the extra
"marking", by a signed C2PA manifest. Swap faces of people who agreed to it."""
VERIFY_TEXT = """Say whether FILE carries the mark of a swap, and what its manifest says.

Exit code 0: marked; 1: not marked; 2: it could not be read. A missing mark proves nothing:
only swaps of this library carry it, and a crop or a mirrored copy has lost it."""


def build_parser() -> argparse.ArgumentParser:
    """The two commands and their options."""
    parser = argparse.ArgumentParser(
        prog="python -m smoothswap_lib", description="Swap faces, marked as such."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    raw = argparse.RawDescriptionHelpFormatter
    swap = commands.add_parser(
        "swap", help="two image files in, a swap out", description=SWAP_TEXT, formatter_class=raw
    )
    swap.add_argument("source", type=Path, metavar="SOURCE", help="image of the identity")
    swap.add_argument("target", type=Path, metavar="TARGET", help="image that keeps all the rest")
    endings = ", ".join(marking.FORMATS)
    swap.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help=f"to write: {endings}")
    swap.add_argument("--sheet", type=Path, help="write source, target and swap side by side, too")
    kind = swap.add_mutually_exclusive_group()
    kind.add_argument(
        "--aligned", action="store_const", const="crops", dest="faces", help="both are face crops already"
    )
    kind.add_argument(
        "--photographs", action="store_const", const="photographs", dest="faces", help="find the faces always"
    )
    swap.set_defaults(faces="auto")
    swap.add_argument(
        "--weights",
        default="swapper",
        help="a shipped generator, a run's folder or a file (default: swapper)",
    )
    verify = commands.add_parser(
        "verify", help="is this file marked as a swap?", description=VERIFY_TEXT, formatter_class=raw
    )
    verify.add_argument("file", type=Path, metavar="FILE")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if the swap was written or the file is marked, 1 if it is not marked, 2 for an error."""
    options = build_parser().parse_args(arguments)
    work = {"verify": _verify, "swap": _swap}[options.command]
    return in_one_line(lambda: work(options), "what is written is whole")


def _verify(options: argparse.Namespace) -> int:
    verdict = marking.verify(options.file)
    print(f"{options.file}: {verdict}")
    return 0 if verdict.marked else 1


def _swap(options: argparse.Namespace) -> int:
    places = options.source, options.target, options.out, options.sheet
    done = photographs.swap_files(*places, options.faces, options.weights)
    height, width = done.picture.shape[:2]
    signed = "with a signed manifest" if manifest.installed() else "without a manifest (extra: marking)"
    print(f"{options.out}: {width} x {height} pixels, marked as synthetic, {signed}")
    if options.sheet:
        print(f"{options.sheet}: source, target and swap, marked likewise")
    for note in done.notes:
        print(f"note: {note}")
    return 0
