"""Where the measuring scripts leave what they found."""

import json
from pathlib import Path


def write_result(result: dict, path: Path | None) -> None:
    """Write a result as JSON, into a new folder if need be; without a path, print it."""
    text = json.dumps(result, indent=1) + "\n"
    if path is None:
        print(text, end="")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
