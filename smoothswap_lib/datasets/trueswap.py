"""Faces for training and for judging: TrueSwap (the true swap is known) and folders of photographs.

Every data set gives the same dictionary an image and the same `image_batch(indices)`, with images as float32
tensors in [-1, 1], so that the loops do not know which one they see. Depends on files, folders, masks, world.
"""

import io
import json
import math
from collections.abc import Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, features
from torch.utils.data import Dataset

from smoothswap_lib import world
from smoothswap_lib.datasets.folders import to_float
from smoothswap_lib.datasets.images import BROKEN_IMAGE
from smoothswap_lib.files import data_folder, read_numbers, verify
from smoothswap_lib.world import masks

SPLITS = ("train", "test", "twins")
EDITION, SIZE = "trueswap128", 64  # the folder of what ships, and the size that the shipped weights know
COLUMNS = ("identity", "attribute_set", "image", "mask", "landmarks")  # all others are parameters
KINDS = {  # what is read as it is; the images and masks say themselves if they are broken
    "identity": pa.types.is_integer, "attribute_set": pa.types.is_integer, "same": pa.types.is_boolean,
    "first": pa.types.is_integer, "second": pa.types.is_integer, "fold": pa.types.is_integer,
    "image": pa.types.is_binary, "mask": pa.types.is_binary, "landmarks": pa.types.is_fixed_size_list,
}  # fmt: skip
REBUILD = "delete it and go on with --resume, or download it again"


class TrueSwap(Dataset):
    """Rendered faces of nobody, with every parameter, mask and landmark known.

    Parameters
    ----------
    split : "train", "test" or "twins" (groups of 4 who share all colors, not the bones) for what ships,
        or the folder of a built data set.
    size : 64 or 128, pixels a side; 64 px, the default, is the 2 x 2 mean of the same image. Of a built data
        set: its own size (the default) or half of it.

    Attributes
    ----------
    identities : (N,) int64, whose face it is.
    attribute_sets : (N,) int64, the column of the swap matrix, -1 outside it.
    size : pixels a side.

    table : all columns, the parameters with them; they are read when they are first asked for.

    An image is decoded when it is first asked for, and kept.

    Raises
    ------
    FileNotFoundError, ValueError
        Name the file, what is wrong with it (hashes, missing columns, broken image) and the mend.
    """

    def __init__(self, split: str | Path, size: int | None = None):
        self.shipped = str(split) in SPLITS
        self.folder = data_folder() / EDITION / str(split) if self.shipped else Path(split)
        size = SIZE if size is None and self.shipped else size
        if not self.shipped and not self.folder.is_dir():
            raise FileNotFoundError(
                f"{split!s} is neither a shipped split ({', '.join(SPLITS)}) nor a folder; "
                "build one with `python -m smoothswap_lib.render build`"
            )
        if not features.check("avif"):
            raise RuntimeError("this Pillow cannot read TrueSwap's AVIF images; install Pillow 11.3 or newer")
        self._numbers = self._build_numbers()
        people, a_file = self._numbers["identities"], self._numbers["identities_a_file"]
        self._files = [self._verified(f"images-{n:03d}.parquet") for n in range(math.ceil(people / a_file))]
        parts = [_read(path, COLUMNS) for path in self._files]
        self._starts = np.cumsum([0, *map(len, parts)])  # the first row of each file
        self._columns = pa.concat_tables(parts).combine_chunks()
        self.identities = self._columns["identity"].to_numpy().astype(np.int64)
        self.attribute_sets = self._columns["attribute_set"].to_numpy().astype(np.int64)
        if (found := len(np.unique(self.identities))) < people:
            raise FileNotFoundError(
                f"{self.folder} holds {found} of {people} identities: its build has not finished, "
                "go on with --resume"
            )
        native = len(self._decode("image", _image, 0))
        if size not in (None, native, native / 2):
            raise ValueError(f"{self.folder} holds images of {native} px; size is {native} or {native // 2}")
        self._native, self.size = native, size or native
        square = (self.size, self.size)
        self._pixels = _Decoded(len(self), (*square, 3), partial(self._decode, "image", self._image))
        self._masks = _Decoded(len(self), square, partial(self._decode, "mask", self._mask))

    @cached_property
    def table(self) -> pa.Table:
        """(N rows) every column of the files."""
        names = [name for name in pq.read_schema(self._files[0]).names if name not in COLUMNS]
        parameters = pa.concat_tables(_read(path, names) for path in self._files).combine_chunks()
        return pa.table([*self._columns.columns, *parameters.columns], names=[*COLUMNS, *names])

    def __len__(self) -> int:
        return len(self.identities)

    def __getitem__(self, index: int) -> dict:
        index = range(len(self))[index]  # negative indices, and an IndexError past the end
        return {
            "image": self.image_batch([index])[0],
            "identity": int(self.identities[index]),
            "index": index,
            "attribute_set": int(self.attribute_sets[index]),
            "mask": self._masks[[index]][0],
            "landmarks": self.landmarks(index),
        }

    @property
    def images(self) -> torch.Tensor:
        """(N, 3, size, size) uint8: all images."""
        return self.pixels(np.arange(len(self)))

    def pixels(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        """(B, 3, size, size) uint8 of the images at `indices`."""
        return torch.from_numpy(self._pixels[indices]).permute(0, 3, 1, 2).contiguous()

    @property
    def masks(self) -> torch.Tensor:
        """(N, H, W) uint8: 0 background, 1 face (skin, eyes, mouth), 2 hair, 3 clothes."""
        return torch.from_numpy(self._masks[np.arange(len(self))])

    def landmarks(self, index: int) -> np.ndarray:
        """(68, 2) float32 pixels (x, y) of image `index`, in iBUG 300-W's order."""
        points = np.asarray(self._columns["landmarks"][index].as_py(), np.float32).reshape(68, 2)
        return points * np.float32(self.size / self._native)

    def image_batch(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        """(B, 3, H, W) float32 in [-1, 1] of the images at `indices`."""
        return to_float(self.pixels(indices))

    def parameters(self, index: int) -> tuple[world.Identity, world.State, world.Attributes]:
        """What image `index` was rendered from: `render` gives it again but for noise and compression."""
        row = self.table.slice(range(len(self))[index], 1).to_pylist()[0]
        return world.from_columns(row)

    def matrix_indices(self) -> np.ndarray:
        """(identities, attribute sets) int64: the image of every identity under every shared attribute set.

        The true swap of source [s, any column] into target [any row, t] is [s, t].
        """
        inside = np.flatnonzero(self.attribute_sets >= 0)
        if not len(inside):
            raise ValueError(f"{self.folder} has no swap matrix; only the test and fresh splits have one")
        order = np.lexsort((self.attribute_sets[inside], self.identities[inside]))
        return inside[order].reshape(len(np.unique(self.identities[inside])), -1)

    def matrix(self) -> torch.Tensor:
        """(identities, attribute sets, 3, H, W) float32 in [-1, 1]: the swap matrix's images."""
        indices = self.matrix_indices()
        return self.image_batch(indices.ravel()).reshape(*indices.shape, 3, self.size, self.size)

    def pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Verification pairs: first (P,), second (P,) image indices, and same (P,) bool."""
        table = self._pairs_table("first", "second", "same")
        return tuple(
            table[name].to_numpy().copy() for name in ("first", "second", "same")
        )  # Arrow's are read-only

    def folds(self) -> np.ndarray:
        """(P,) int: which of the ten folds each verification pair is in; folds share no identity."""
        return self._pairs_table("fold")["fold"].to_numpy()

    def _pairs_table(self, *columns) -> pa.Table:
        if self._numbers["split"] == "train":
            raise ValueError(
                f"{self.folder} has no verification pairs; only the test and fresh splits have them"
            )
        return _read(self._verified("pairs.parquet"), columns)

    def _build_numbers(self) -> dict:
        """What `build.json` says of the build."""
        path = self.folder / "build.json"
        if not self.shipped and not path.exists():
            raise FileNotFoundError(f"{self.folder} holds no build.json; give the folder of a build")
        return read_numbers(verify(path), ("identities", "identities_a_file"), ("split",))

    def _verified(self, name) -> Path:
        path = self.folder / name
        if not self.shipped and not path.exists():
            raise FileNotFoundError(
                f"{path} is missing: its build has not finished, or the file was lost; go on with --resume"
            )
        return verify(path)

    def _image(self, data) -> np.ndarray:
        image = _image(data)
        return image if self.size == self._native else halved(image)

    def _mask(self, data) -> np.ndarray:
        mask = masks.unpack(data, self._native)
        return mask if self.size == self._native else masks.halved(mask)

    def _decode(self, column, decode, row) -> np.ndarray:
        try:
            return decode(self._columns[column][row].as_py())
        except BROKEN_IMAGE as error:
            file = np.searchsorted(self._starts, row, side="right") - 1
            what = f"{self._files[file]}: cannot decode the {column} of row {row - self._starts[file]}"
            raise ValueError(f"{what} ({error}); {REBUILD}") from None


def halved(image: np.ndarray) -> np.ndarray:
    """(2 H, 2 W, 3) uint8 -> (H, W, 3) uint8: the mean of each 2 x 2 pixels, .5 rounded up."""
    quarters = image.astype(np.uint16)
    total = quarters[::2, ::2] + quarters[::2, 1::2] + quarters[1::2, ::2] + quarters[1::2, 1::2]
    return ((total + 2) // 4).astype(np.uint8)


def _image(data) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def read_progress(folder: str | Path | None = None) -> tuple[dict[str, torch.Tensor], list[int]]:
    """Swaps of several trainings while they went on, from `progress.avif` and the plan beside it.

    Parameters
    ----------
    folder : what `experiments/collect_swappers.py` wrote into (default: the shipped data)

    Returns
    -------
    blocks : {variant: (pairs, 2 + steps, 3, size, size) float32 in [-1, 1]}
        A row a pair of faces: source, target, and the swap after each number of steps.
    steps : these numbers

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing or damaged, or the picture's size is not the plan's.
    """
    folder = Path(folder) if folder is not None else data_folder()
    plan = json.loads(verify(folder / "progress.json").read_text(encoding="utf-8"))
    pixels = _image(verify(folder / "progress.avif").read_bytes())
    size, rows, columns = plan["size"], len(plan["variants"]) * plan["pairs"], 2 + len(plan["steps"])
    if pixels.shape != (rows * size, columns * size, 3):
        raise ValueError(
            f"{folder / 'progress.avif'} is {pixels.shape[1]} x {pixels.shape[0]} pixels, but progress.json "
            f"plans {columns * size} x {rows * size}; write both again with collect_swappers.py"
        )
    tiles = pixels.reshape(rows, size, columns, size, 3).transpose(0, 2, 4, 1, 3)
    blocks = to_float(torch.tensor(tiles)).split(plan["pairs"])  # each (pairs, 2 + steps, 3, size, size)
    return dict(zip(plan["variants"], blocks)), plan["steps"]


def _read(path, columns) -> pa.Table:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            schema = file.schema_arrow
            missing = [name for name in columns if name not in schema.names]
            wrong = [name for name in columns if name in KINDS and name in schema.names]
            wrong = [name for name in wrong if not KINDS[name](schema.field(name).type)]
            if not missing and not wrong:
                table = file.read(columns=list(columns))
                wrong = [name for name in columns if name in KINDS and table[name].null_count]
                if not wrong:
                    return table
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} is not a readable Parquet file ({error}); {REBUILD}") from None
    if wrong:
        raise ValueError(f"{path}: column {wrong[0]!r} has gaps or values of another kind; {REBUILD}")
    raise ValueError(f"{path} has no column {missing[0]!r}; build it again with this version of the library")


class _Decoded:
    """Rows of a column as arrays; each is decoded when it is first asked for, and kept."""

    def __init__(self, count, shape, decode):
        self.decode = decode
        self.rows = np.zeros((count, *shape), np.uint8)  # pages that nobody asks for cost no memory
        self.known = np.zeros(count, bool)

    def __getitem__(self, indices) -> np.ndarray:
        """(B, ...) copies of the rows at `indices`; IndexError past the end."""
        indices = np.arange(len(self.known))[np.asarray(indices, dtype=int)]
        new = np.unique(indices[~self.known[indices]])
        with _one_decoding_thread():
            for row in new:
                self.rows[row] = self.decode(int(row))
        self.known[new] = True
        return self.rows[indices]


@contextmanager
def _one_decoding_thread():
    """Pillow's AVIF decoder starts threads for each image, which takes longer than decoding a small one."""
    from PIL import AvifImagePlugin

    before = AvifImagePlugin.DEFAULT_MAX_THREADS
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    try:
        yield
    finally:
        AvifImagePlugin.DEFAULT_MAX_THREADS = before
