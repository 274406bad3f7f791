"""Folders of photographs: faces with identities (VGGFace2, LFW, CelebA, ...) and without (FFHQ).

Images become float32 tensors in [-1, 1] here, for every data set. Depends on files.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".pgm", ".webp", ".avif", ".bmp"}
# What Pillow raises for bytes that are no image; its AVIF decoder raises RuntimeError.
BROKEN_IMAGE = (OSError, SyntaxError, ValueError, RuntimeError, Image.DecompressionBombError)


def to_float(images: torch.Tensor) -> torch.Tensor:
    """uint8 (..., 3, H, W) in 0..255 -> float32 in [-1, 1]; the one normalization of training and of use."""
    return images.float() / 127.5 - 1


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """float in [-1, 1] -> uint8, rounded and clipped; the inverse of `to_float`."""
    return ((images.detach() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


class FaceFolder(Dataset):
    """Aligned faces without identities, in any depth of folders (FFHQ's layout), resized to `size`.

    Raises
    ------
    FileNotFoundError
        The path is no folder, or holds no image.
    """

    def __init__(self, path: str | Path, size: int):
        self.path, self.size = Path(path), size
        if not self.path.is_dir():
            raise FileNotFoundError(f"{path} is not a folder; give the one that holds the images")
        found = sorted(p for p in self.path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        self.files = [p for p in found if not p.name.startswith(".")]  # macOS' hidden twins, "._0001.jpg"
        if not self.files:
            raise FileNotFoundError(
                f"{path} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}) at any depth"
            )
        self.identities = np.arange(len(self.files))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict:
        index = range(len(self))[index]
        image, identity = self.image_batch([index])[0], int(self.identities[index])
        return {"image": image, "identity": identity, "index": index}

    def image_batch(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        """(B, 3, size, size) float32 in [-1, 1] of the images at `indices`, read from disk."""
        arrays = [read_image(self.files[int(i)], self.size) for i in np.asarray(indices).ravel()]
        return to_float(torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2))


class IdentityFolder(FaceFolder):
    """Faces with identities: a folder a person (VGGFace2, CASIA, DigiFace-1M, LFW), or CelebA's layout.

    CelebA is recognized by `identity_CelebA.txt` beside `img_align_celeba/`. `names[identity]` is the
    person's folder or CelebA's number.

    Raises
    ------
    FileNotFoundError, ValueError
        The path is no folder, holds no image or one person only, or CelebA's list misses an image.
    """

    def __init__(self, path: str | Path, size: int):
        super().__init__(path, size)
        listing = self.path / "identity_CelebA.txt"
        people = (
            _celeba_people(listing, self.files) if listing.exists() else [f.parent.name for f in self.files]
        )
        self.names, self.identities = np.unique(people, return_inverse=True)
        if len(self.names) < 2:
            raise ValueError(
                f"{path} holds images of one person only; give the folder that holds the people's folders"
            )


def celeba_list(listing: Path) -> dict[str, str]:
    """File name -> person of `identity_CelebA.txt`."""
    return dict(line.split()[:2] for line in listing.read_text(encoding="utf-8").splitlines() if line.strip())


def _celeba_people(listing, files):
    people = celeba_list(listing)
    missing = [file.name for file in files if file.name not in people]
    if missing:
        raise ValueError(f"{listing} has no line for {missing[0]} (nor for {len(missing) - 1} others)")
    return [people[file.name] for file in files]


def read_image(path: str | Path, size: int | None = None) -> np.ndarray:
    """(H, W, 3) uint8 of an image file, resized to `size` pixels a side where given.

    Raises
    ------
    ValueError
        Names a file that is no readable image.
    """
    try:
        with Image.open(path) as image:
            image = image.convert("RGB")
            if size and image.size != (size, size):
                image = image.resize((size, size), Image.Resampling.LANCZOS)
            return np.asarray(image)
    except BROKEN_IMAGE as error:
        raise ValueError(f"{path} cannot be read as an image ({error}); remove or replace it") from None
