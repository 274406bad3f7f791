"""Where the course's files lie, whether they are what they should be, and writing without half-written files."""

import hashlib
import os
from contextlib import contextmanager
from pathlib import Path


def data_folder() -> Path:
    """The folder of shipped data: the environment's SMOOTHSWAP_DATA, else `data/` beside the library."""
    return Path(os.environ.get("SMOOTHSWAP_DATA") or Path(__file__).resolve().parent.parent / "data")


def sha256(path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_checksums(folder) -> dict[str, str]:
    """{file name: expected hash} of a folder's SHA256SUMS; empty where there is none."""
    path = Path(folder) / "SHA256SUMS"
    if not path.exists():
        return {}
    pairs = (line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return {name.strip(): digest for digest, name in pairs}


def verify(path, folder=None) -> Path:
    """Check that a shipped file is there and unchanged; returns its path.

    Raises
    ------
    FileNotFoundError, ValueError
        Name the file, its expected and actual hash, and the mend.
    """
    path, folder = Path(path), Path(folder or data_folder())
    name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
    expected = read_checksums(folder).get(name)
    mend = f"restore it with `git checkout -- {path}`, or download the repository again"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing (expected SHA-256 {expected or 'unknown'}); {mend}")
    if expected and (actual := sha256(path)) != expected:
        raise ValueError(f"{path} is damaged: SHA-256 is {actual}, expected {expected}; {mend}")
    return path


def write_checksums(folder) -> Path:
    """Write SHA256SUMS over every file below a folder (itself and Python caches left out)."""
    folder = Path(folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS" and p.suffix != ".pyc")
    with atomic(folder / "SHA256SUMS") as temporary:
        lines = (f"{sha256(p)}  {p.relative_to(folder).as_posix()}\n" for p in files)
        temporary.write_text("".join(lines), encoding="utf-8")
    return folder / "SHA256SUMS"


@contextmanager
def atomic(path):
    """Yield a temporary path beside `path`; rename it into place on success, remove it on failure."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
