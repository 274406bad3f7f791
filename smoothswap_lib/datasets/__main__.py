"""The command line of the data sets: look at a folder of photographs, align it, or list it once and for all.

    python -m smoothswap_lib.datasets check PATH
    python -m smoothswap_lib.datasets align SRC DST [--size 256] [--landmarks FILE]
    python -m smoothswap_lib.datasets index PATH

Depends on align_folder, check_folder, folders, workers.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from smoothswap_lib.datasets.align_folder import align_folder, read_landmarks
from smoothswap_lib.datasets.check_folder import check_folder
from smoothswap_lib.datasets.folders import IndexedFiles, write_index
from smoothswap_lib.processes.workers import in_one_line


def build_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = argparse.ArgumentParser(prog="python -m smoothswap_lib.datasets", description="Photographs.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="say what a folder holds, and what is broken or missing")
    check.add_argument("path", type=Path)
    align = commands.add_parser("align", help="write FFHQ's crop of every face; goes on after a stop")
    align.add_argument("source", type=Path, metavar="SRC")
    align.add_argument("target", type=Path, metavar="DST")
    align.add_argument("--size", type=int, default=256, help="pixels a side (default: 256)")
    align.add_argument("--landmarks", type=Path, help="JSON, {path below SRC: 68 [x, y]} (default: detected)")
    index = commands.add_parser(
        "index", help="list millions of images once; again when some were added or removed"
    )
    index.add_argument("path", type=Path)
    for command in (check, align):
        command.add_argument("--processes", type=int, help="default: one a core")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if all went well, 1 if some images are broken, missing or not aligned, 2 for a wrong call."""
    options = build_parser().parse_args(arguments)
    return in_one_line(lambda: _do(options), "the same command starts again, aligned images stay")


def _do(options: argparse.Namespace) -> int:
    if options.command == "check":
        report = check_folder(options.path, options.processes)
        print(report)
        return 0 if report.fine else 1
    if options.command == "index":
        print(f"{write_index(options.path)}: {len(IndexedFiles(options.path))} images")
        return 0
    landmarks = read_landmarks(options.landmarks) if options.landmarks else None
    result = align_folder(options.source, options.target, options.size, landmarks, options.processes)
    print(f"{options.target}: {result}")
    return 1 if result.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
