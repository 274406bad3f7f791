"""Folders of photographs: faces with identities (VGGFace2, LFW, CelebA, ...) and without (FFHQ).

Images become float32 tensors in [-1, 1] here, for every data set. Millions of files are listed once, into an
index that is then read a piece at a time. Depends on files.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch.utils.data import Dataset

from smoothswap_lib.files import atomic

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".pgm", ".webp", ".avif", ".bmp"}
# What Pillow raises for bytes that are no image; its AVIF decoder raises RuntimeError.
BROKEN_IMAGE = (OSError, SyntaxError, ValueError, RuntimeError, Image.DecompressionBombError)
INDEX = "smoothswap-index.parquet"
INDEX_PIECE = 4096  # rows that are read to find one file name: some tenths of a millisecond


def to_float(images: torch.Tensor) -> torch.Tensor:
    """uint8 (..., 3, H, W) in 0..255 -> float32 in [-1, 1]; the one normalization of training and of use."""
    return images.float() / 127.5 - 1


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """float in [-1, 1] -> uint8, rounded and clipped; the inverse of `to_float`."""
    return ((images.detach() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def image_names(folder: Path, below: str = "") -> Iterator[str]:
    """Names of all images in any depth of folders, relative to `folder`, in the order of sorted paths."""
    for entry in sorted(os.scandir(folder / below), key=lambda entry: entry.name):
        name = f"{below}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from image_names(folder, f"{name}/")
        # macOS' hidden twins, "._0001.jpg", are none
        elif os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not entry.name.startswith("."):
            yield name


def write_index(folder: str | Path, names: Iterable[str] | None = None) -> Path:
    """List a folder's images once: `FaceFolder` and `IdentityFolder` then read the list, not the folder.

    Parameters
    ----------
    names : relative to the folder, in order (default: all images that are there)

    Returns
    -------
    Path of the index, in the folder; write it again when images were added or removed.

    Raises
    ------
    FileNotFoundError
        There is no such folder, or no image in it.
    """
    folder = _existing(folder)
    names = image_names(folder) if names is None else iter(names)
    person_of, people = _person_of(folder), {}
    schema = pa.schema([("file", pa.string()), ("person", pa.int32())])
    with atomic(folder / INDEX) as path, pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while piece := list(islice(names, INDEX_PIECE)):
            numbers = [people.setdefault(person_of(name), len(people)) for name in piece]
            writer.write_table(pa.table([piece, numbers], schema=schema), row_group_size=INDEX_PIECE)
        if not people:
            raise FileNotFoundError(_no_image(folder))
        writer.add_key_value_metadata({"people": json.dumps(list(people))})
    return folder / INDEX


class IndexedFiles(Sequence):
    """The paths of an index, as a list that is on the disk; and whose they are.

    Attributes
    ----------
    people : names, in the order in which the index met them
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open()
        self.people = json.loads(self._file.metadata.metadata[b"people"])

    def _open(self) -> None:
        self._file = pq.ParquetFile(self.folder / INDEX, memory_map=True)

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "_file"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._open()

    def __len__(self) -> int:
        return self._file.metadata.num_rows

    def __getitem__(self, index: int) -> Path:
        piece, row = divmod(range(len(self))[index], INDEX_PIECE)
        # no threads: a forked worker has none of its parent's
        names = self._file.read_row_group(piece, columns=["file"], use_threads=False)["file"]
        return self.folder / names[row].as_py()

    def __iter__(self) -> Iterator[Path]:
        for piece in range(self._file.num_row_groups):
            table = self._file.read_row_group(piece, columns=["file"], use_threads=False)
            yield from (self.folder / name for name in table["file"].to_pylist())

    def person_numbers(self) -> np.ndarray:
        """(N,) int32: the place in `people` of each image's person."""
        return self._file.read(columns=["person"], use_threads=False)["person"].to_numpy()


def _existing(folder: str | Path) -> Path:
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; give the one that holds the images")
    return Path(folder)


def _no_image(folder: Path) -> str:
    return f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}) at any depth"


class FaceFolder(Dataset):
    """Aligned faces without identities, in any depth of folders (FFHQ's layout), resized to `size`.

    Parameters
    ----------
    use_index : read the folder's index, if it has one (`write_index`), instead of the folder

    Raises
    ------
    FileNotFoundError
        The path is no folder, or holds no image.
    """

    def __init__(self, path: str | Path, size: int, use_index: bool = True):
        self.path, self.size = _existing(path), size
        if use_index and (self.path / INDEX).exists():
            self.files: Sequence[Path] = IndexedFiles(self.path)
        else:
            self.files = [self.path / name for name in image_names(self.path)]
        if not self.files:
            raise FileNotFoundError(_no_image(self.path))
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

    def __init__(self, path: str | Path, size: int, use_index: bool = True):
        super().__init__(path, size, use_index)
        if isinstance(self.files, IndexedFiles):
            self.names, place = np.unique(self.files.people, return_inverse=True)
            self.identities = place[self.files.person_numbers()]
        else:
            person_of = _person_of(self.path)
            people = [person_of(file.relative_to(self.path).as_posix()) for file in self.files]
            self.names, self.identities = np.unique(people, return_inverse=True)
        if len(self.names) < 2:
            raise ValueError(
                f"{path} holds images of one person only; give the folder that holds the people's folders"
            )


class Joined(Dataset):
    """Two data sets of one size, the second's images numbered after the first's; without identities."""

    def __init__(self, first, second) -> None:
        if first.size != second.size:
            raise ValueError(f"the images of one are {first.size} px, of the other {second.size} px")
        self.first, self.second, self.size = first, second, first.size

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def image_batch(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        """(B, 3, H, W) float32 in [-1, 1] of the images at `indices`."""
        indices, start = np.asarray(indices), len(self.first)
        images = torch.empty(len(indices), 3, self.size, self.size)
        for data, inside, offset in (
            (self.first, indices < start, 0),
            (self.second, indices >= start, start),
        ):
            if inside.any():
                images[torch.from_numpy(inside)] = data.image_batch(indices[inside] - offset)
        return images


def celeba_list(listing: Path) -> dict[str, str]:
    """File name -> person of `identity_CelebA.txt`."""
    return dict(line.split()[:2] for line in listing.read_text(encoding="utf-8").splitlines() if line.strip())


def _person_of(folder: Path) -> Callable[[str], str]:
    """Whose an image is, by its name: of its folder, or of CelebA's list."""
    listing = folder / "identity_CelebA.txt"
    if not listing.exists():
        return lambda name: name.rpartition("/")[0].rpartition("/")[2] or folder.name
    people = celeba_list(listing)

    def listed(name: str) -> str:
        file = name.rpartition("/")[2]
        if file not in people:
            raise ValueError(
                f"{listing} has no line for {file}; `python -m smoothswap_lib.datasets check` counts all such"
            )
        return people[file]

    return listed


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
