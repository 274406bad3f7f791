"""Folders of photographs: faces with identities (VGGFace2, LFW, CelebA, ...) and without (FFHQ).

Images become float32 tensors in [-1, 1] here, for every data set. Millions of files are listed once, into an
index that is then read a piece at a time. Depends on files.
"""

import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.utils.data import Dataset

from smoothswap_lib.datasets.images import IMAGE_SUFFIXES, read_image
from smoothswap_lib.files import atomic

INDEX = "smoothswap-index.parquet"
SYSTEM = {"$RECYCLE.BIN", "System Volume Information", "@eaDir", "__MACOSX", "__pycache__", "Thumbs.db"}
DEEPEST = 64  # folders within folders: more is an accident
SPLITS = {"train", "test", "val", "valid", "validation"}  # folders that stand above people
INDEX_PIECE = 4096  # rows that are read to find one file name: some tenths of a millisecond


def to_float(images: torch.Tensor) -> torch.Tensor:
    """uint8 (..., 3, H, W) in 0..255 -> float32 in [-1, 1]; the one normalization of training and of use."""
    return images.float() / 127.5 - 1


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """float in [-1, 1] -> uint8, rounded and clipped; the inverse of `to_float`."""
    return ((images.detach() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


class Passed(dict):
    """{why: [how many, the first of them]} of what a walk through a folder passed over."""

    def add(self, why: str, name: str) -> None:
        self.setdefault(why, [0, printable(name)])[0] += 1

    def lines(self) -> list[str]:
        return [f"{count:,} {why} (such as {first})" for why, (count, first) in self.items()]


def printable(name) -> str:
    """A name with what is no UTF-8 in it escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def image_names(folder: Path, passed: Passed | None = None, visited: list | None = None) -> Iterator[str]:
    """Names of all images in any depth of folders, relative to `folder`, in the order of sorted paths.

    Links are followed, into no folder twice. Fills `passed` with what is passed over and why, and `visited`
    with the names of the folders ("" for itself).
    """
    passed, seen, stack = Passed() if passed is None else passed, set(), [("", None)]
    while stack:
        name, entry = stack.pop()
        if entry is not None and (why := _why_not(entry)):
            passed.add(why, name)
        elif entry is not None and not entry.is_dir():
            yield name
        elif name.count("/") >= DEEPEST:
            passed.add(f"folders more than {DEEPEST} deep", f"{name[:60]}...")
        elif (place := _place_of(folder / name)) in seen:
            passed.add("links to folders that are here already", name)
        else:
            seen.add(place)
            if visited is not None:
                visited.append(name)
            inside = sorted(os.scandir(folder / name), key=lambda entry: entry.name, reverse=True)
            stack += [(f"{name}/{entry.name}".lstrip("/"), entry) for entry in inside if entry.name != INDEX]


def _place_of(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _why_not(entry: os.DirEntry) -> str | None:
    """Why an entry of a folder is neither an image nor a folder to look into, or None."""
    if entry.name.startswith(".") or entry.name in SYSTEM:
        return "hidden or a system's own"
    if printable(entry.name) != entry.name:
        return "with names that are no UTF-8: rename them"
    if entry.is_dir():
        return None
    if not entry.is_file():
        return "pipes or devices" if os.path.exists(entry.path) else "links to nothing"
    suffix = os.path.splitext(entry.name)[1].lower()
    return None if suffix in IMAGE_SUFFIXES else f"{suffix or 'without an ending'}: not read as images"


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
    visited = [""]
    names = image_names(folder, visited=visited) if names is None else iter(names)
    owner_of, owners = _owner_of(folder), {}
    schema = pa.schema([("file", pa.string()), ("person", pa.int32())])
    with atomic(folder / INDEX) as path, pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while piece := list(islice(names, INDEX_PIECE)):
            numbers = [owners.setdefault(owner_of(name), len(owners)) for name in piece]
            writer.write_table(pa.table([piece, numbers], schema=schema), row_group_size=INDEX_PIECE)
        if not owners:
            raise FileNotFoundError(_no_image(folder))
        writer.add_key_value_metadata({"owners": json.dumps(list(owners)), "folders": json.dumps(visited)})
    os.utime(folder / INDEX, ns=(os.stat(folder).st_mtime_ns,) * 2)  # putting it there changed the folder
    return folder / INDEX


class IndexedFiles(Sequence):
    """The paths of an index, as a list that is on the disk; and whose they are.

    Attributes
    ----------
    owners : folders or CelebA's people, in the order in which the index met them

    Raises
    ------
    ValueError
        The index is damaged, or a folder has changed since it was written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._open()
            notes = self._file.metadata.metadata
            self.owners, folders = json.loads(notes[b"owners"]), json.loads(notes[b"folders"])
            written = os.stat(folder / INDEX).st_mtime_ns
            fresh = os.stat(folder).st_mtime_ns <= written  # the index itself was the last change of it
            fresh &= all(os.stat(folder / name).st_mtime_ns < written for name in folders if name)
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError):
            fresh = False
        if not fresh:
            raise ValueError(f"{folder / INDEX} is not of what the folder holds now; write it again")

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
        return self._inside(names[row].as_py())

    def _inside(self, text: str) -> Path:
        name = Path(text)
        if name.is_absolute() or ".." in name.parts:
            raise ValueError(f"{self.folder / INDEX} leaves its folder ({name}); remove it")
        return self.folder / name

    def __iter__(self) -> Iterator[Path]:
        for piece in range(self._file.num_row_groups):
            table = self._file.read_row_group(piece, columns=["file"], use_threads=False)
            yield from (self._inside(name) for name in table["file"].to_pylist())

    def owner_numbers(self) -> np.ndarray:
        """(N,) int32: the place in `owners` of each image's owner."""
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
    use_index : read the folder's index, if it has one (`write_index`), instead of the folder; one that is not
        of the folder's present state is written again

    Attributes
    ----------
    passed : what was passed over and why, if the folder was read

    An image that is not square gives its middle square; `datasets align` finds the face instead.

    Raises
    ------
    FileNotFoundError
        The path is no folder, or holds no image.
    """

    def __init__(self, path: str | Path, size: int, use_index: bool = True):
        self.path, self.size = _existing(path), size
        self.passed = Passed()
        self.files: Sequence[Path] | None = _indexed(self.path) if use_index else None
        if self.files is None:
            self.files = [self.path / name for name in image_names(self.path, self.passed)]
        if not self.files:
            raise FileNotFoundError("; ".join([_no_image(self.path), *self.passed.lines()]))
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
            owners, numbers = self.files.owners, self.files.owner_numbers()
        else:
            owner_of = _owner_of(self.path)
            names = [owner_of(file.relative_to(self.path).as_posix()) for file in self.files]
            owners, numbers = np.unique(names, return_inverse=True)
        people, doubt = people_of(self.path, owners)
        if doubt:
            warnings.warn(doubt, stacklevel=2)
        self.names, place = np.unique(people, return_inverse=True)
        self.identities = place[numbers]
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


def _owner_of(folder: Path) -> Callable[[str], str]:
    """Whose an image is, by its name: its folder, or the person of CelebA's list."""
    listing = folder / "identity_CelebA.txt"
    if not listing.exists():
        return lambda name: name.rpartition("/")[0]
    people = celeba_list(listing)

    def listed(name: str) -> str:
        file = name.rpartition("/")[2]
        if file not in people:
            raise ValueError(
                f"{listing} has no line for {file}; `python -m smoothswap_lib.datasets check` counts all such"
            )
        return people[file]

    return listed


def people_of(root: Path, owners: Sequence[str]) -> tuple[list[str], str | None]:
    """The person of each folder that holds images, and a sentence where that is in doubt.

    The person is the last folder (n000002 of train/n000002). Where one name lies in several places (2019 in
    alice/ and in bob/), the folders above are the people; train/ and test/ are one place.
    """
    if (root / "identity_CelebA.txt").exists():
        return list(owners), None
    split = [tuple(owner.split("/")) for owner in owners]
    people = [tuple(part for part in parts if part not in SPLITS) or parts[-1:] for parts in split]
    doubt = _inside_another(root, people)
    while twice := _in_two_places(people):
        first, second = ("/".join(parts) for parts in twice[:2])
        doubt = (
            f"{root}: '{first}' and '{second}' bear one name; taken as two people, named by the folder "
            "above. If they are one person, put the images into one folder"
        )
        people = [parts[:-1] or parts for parts in people]
    return [parts[-1] or root.name for parts in people], doubt


def _inside_another(root: Path, people: Sequence[tuple[str, ...]]) -> str | None:
    holding = set(people)
    for parts in people:
        if any(parts[:k] in holding for k in range(1, len(parts))):
            inner, outer = "/".join(parts), "/".join(parts[:-1])
            return f"{root}: '{inner}' is taken as another person than '{outer}', which holds images too"
    return None


def _in_two_places(people: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Folders that bear one name in different places, of the first such name."""
    places = {}
    for parts in sorted(set(people)):
        places.setdefault(parts[-1], []).append(parts)
    return next((found for found in places.values() if len(found) > 1), [])


def _indexed(folder: Path) -> IndexedFiles | None:
    """The folder's index, written again if it is of an earlier state; None where there is none."""
    if not (folder / INDEX).exists():
        return None
    try:
        return IndexedFiles(folder)
    except ValueError:
        try:
            return IndexedFiles(write_index(folder).parent)
        except (OSError, ValueError):  # read-only, or somebody writes into it now
            return None
