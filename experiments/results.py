"""Where the measuring scripts leave what they found."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from smoothswap_lib.files import atomic

DIGITS = 6  # significant ones: more than any measurement here has


def rounded(value):
    """The same result with all floats rounded; a file of it takes half the bytes."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def write_result(result: dict, path: Path | None) -> None:
    """Write a result as JSON, into a new folder if need be; without a path, print it."""
    text = json.dumps(rounded(result), indent=1) + "\n"
    if path is None:
        print(text, end="")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def kept_result(path: Path, again: bool, measure: Callable[[], dict]) -> dict:
    """What was measured before and kept in `path`; if nothing was, or `again`, measure and keep it."""
    if again or not path.exists():
        write_result(measure(), path)
    return json.loads(path.read_text(encoding="utf-8"))


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet; the bytes of its numbers are sorted by their place, which packs better."""
    numbers = [name for name in table if table[name].dtype.kind == "f"]
    text = [name for name in table if table[name].dtype.kind not in "fiu"]
    with atomic(path) as temporary:
        table.to_parquet(
            temporary,
            index=False,
            compression="zstd",
            compression_level=19,
            use_dictionary=text,
            use_byte_stream_split=numbers,
        )
