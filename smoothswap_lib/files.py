"""Where the course's files lie, whether they are unchanged, and how to write one whole or not at all."""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RENAME_WAITS = (0.05, 0.2, 1.0)  # seconds: on Windows a virus scanner may hold a file that was just written


def data_folder() -> Path:
    """The folder of shipped data: the environment's SMOOTHSWAP_DATA, else `data/` beside the library."""
    return Path(os.environ.get("SMOOTHSWAP_DATA") or Path(__file__).resolve().parent.parent / "data")


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_checksums(folder: str | Path) -> dict[str, str]:
    """{file name: expected hash} of a folder's SHA256SUMS; empty where there is none."""
    path = Path(folder) / "SHA256SUMS"
    if not path.exists():
        return {}
    pairs = (line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return {name.strip(): digest for digest, name in pairs}


def verify(path: str | Path, folder: str | Path | None = None) -> Path:
    """Check that a file is there and, below the folder of shipped data, unchanged; returns its path.

    Parameters
    ----------
    folder : whose SHA256SUMS is asked (default: the shipped data); a file outside of it has no hash to keep.

    Raises
    ------
    FileNotFoundError, ValueError
        Name the file, its expected and actual hash, and the mend.
    """
    path, folder = Path(path), Path(folder or data_folder()).resolve()
    shipped = path.resolve().is_relative_to(folder)
    expected = read_checksums(folder).get(path.resolve().relative_to(folder).as_posix()) if shipped else None
    mend = f"restore it with `git checkout -- {path}`, or download the repository again"
    if not path.exists():
        known = f" (expected SHA-256 {expected})" if expected else ""
        raise FileNotFoundError(f"{path} is missing{known}; {mend if shipped else 'check the path'}")
    if expected and (actual := sha256(path)) != expected:
        raise ValueError(f"{path} is damaged: SHA-256 is {actual}, expected {expected}; {mend}")
    return path


def read_numbers(path: str | Path, whole: tuple[str, ...], more: tuple[str, ...] = ()) -> dict:
    """A JSON file of a build's numbers.

    Parameters
    ----------
    whole : names of whole numbers above 0 that must be in it; `more`: of other values

    Raises
    ------
    ValueError
        Names the file and what is wrong with it.
    """
    mend = "build it again with this version of the library"
    try:
        numbers = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON file ({error}); {mend}") from None
    if not isinstance(numbers, dict) or not {*whole, *more} <= set(numbers):
        raise ValueError(f"{path} is of another edition; {mend}")
    for name in whole:
        if type(numbers[name]) is not int or numbers[name] < 1:
            raise ValueError(f"{path}: {name} is {numbers[name]!r}, no whole number above 0; {mend}")
    return numbers


def checked_files(folder: str | Path) -> list[Path]:
    """Every file below a folder that its SHA256SUMS lists: all but itself, caches and hidden files."""
    below = [(path, path.relative_to(folder).parts) for path in sorted(Path(folder).rglob("*"))]
    hidden = ("SHA256SUMS", "__pycache__")
    return [
        p for p, parts in below if p.is_file() and not any(n.startswith(".") or n in hidden for n in parts)
    ]


def write_checksums(folder: str | Path) -> Path:
    """Write SHA256SUMS over the files below a folder; returns its path."""
    folder = Path(folder)
    with atomic(folder / "SHA256SUMS") as temporary:
        lines = (f"{sha256(p)}  {p.relative_to(folder).as_posix()}\n" for p in checked_files(folder))
        temporary.write_text("".join(lines), encoding="utf-8")
    return folder / "SHA256SUMS"


def _replace(temporary: Path, path: Path) -> None:
    for seconds in RENAME_WAITS:
        try:
            return os.replace(temporary, path)
        except PermissionError:
            time.sleep(seconds)
    return os.replace(temporary, path)


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it into place on success, remove it on failure.

    Where nothing can be written there (rights, a full disk), the OSError names `path` and says why.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _replace(temporary, path)
    except OSError as error:
        ours = {str(temporary), *map(str, path.parents), "None"}  # a full disk names no file
        if error.strerror is None or str(error.filename) not in ours:
            raise  # of a file that is read meanwhile
        raise type(error)(f"{path} cannot be written: {error.strerror}") from error
    finally:
        if temporary.exists():
            temporary.unlink()
