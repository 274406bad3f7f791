"""Every swap that this library writes says so: a word in its pixels and, where it can be, a signed manifest.

    python -m smoothswap_lib verify FILE

The two belong together. The manifest says what and how, and that nothing was changed, but any program that
saves the file again drops it; the word says one thing only, and stays through JPEG and resizing.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from smoothswap_lib.datasets.images import read_image
from smoothswap_lib.files import atomic
from smoothswap_lib.lab import manifest, watermark

# How each kind of file is written: the pixels stay, or nearly so.
FORMATS = {
    ".png": {"format": "PNG"},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": "4:4:4"},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": "4:4:4"},
    ".webp": {"format": "WEBP", "lossless": True},
}


@dataclass(frozen=True)
class Verdict:
    """What a file says of itself."""

    right_bits: int  # of the word's 32
    marked: bool
    manifest: manifest.Manifest | None
    manifest_read: bool  # whether a manifest was looked for: that needs the extra "marking"

    def __str__(self) -> str:
        bits = f"{self.right_bits} of {len(watermark.BITS)} bits"
        first = (
            f"marked as synthetic ({bits})" if self.marked else f"not marked ({bits}, about half by chance)"
        )
        if not self.manifest_read:
            return f"{first}\nmanifest: not looked for, that needs {manifest.INSTALL}"
        if self.manifest is None:
            return f"{first}\nmanifest: none"
        found = self.manifest
        state = "unchanged since it was signed" if found.intact else "CHANGED since it was signed"
        trust = "; nobody vouches for the signer" if manifest.UNTRUSTED in found.problems else ""
        source = f", {found.source_type}" if found.source_type else ""
        return f"{first}\nmanifest: {found.title!r}{source}; {state}{trust}"


def check_name(path: str | Path) -> Path:
    """The path, if swaps can be written under such a name; ValueError if not."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file in it, such as {path / 'swap.png'}")
    if wrong := [folder for folder in path.parents if folder.exists() and not folder.is_dir()]:
        raise ValueError(f"{path} cannot be written: {wrong[0]} is a file, not a folder")
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path}: swaps are written as {', '.join(FORMATS)}; choose one of these endings")
    return path


def save_swap(image: np.ndarray, path: str | Path) -> Path:
    """Mark a swap and write it, whole or not at all; returns its path.

    Parameters
    ----------
    image : (H, W, 3) uint8, 64 pixels a side or more
    path : its ending, one of FORMATS, says the kind of file

    Raises
    ------
    ValueError
        The ending is unknown, or the picture cannot be marked: then nothing is written.
    """
    path = check_name(path)
    content = io.BytesIO()
    Image.fromarray(watermark.embed(image)).save(content, **FORMATS[path.suffix.lower()])
    if not watermark.is_marked(read_image(content)):
        raise ValueError(f"{path}: the mark did not outlive the compression; write a .png")
    finished = content.getvalue()
    if manifest.installed():
        finished = manifest.sign(finished, path.suffix)
    with atomic(path) as temporary:
        temporary.write_bytes(finished)
    return path


def verify(path: str | Path) -> Verdict:
    """Look for the word in a file's pixels and for its manifest.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file, or it is no image.
    """
    pixels = read_image(path)
    bits, looked = watermark.right_bits(pixels), manifest.installed()
    found = manifest.read(path) if looked else None
    return Verdict(bits, bits >= watermark.LEAST_BITS, found, looked)
