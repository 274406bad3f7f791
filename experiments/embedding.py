"""Embeddings of a data set's images, a part at a time."""

from collections.abc import Callable

import numpy as np
from torch import Tensor
from tqdm import tqdm

from smoothswap_lib import evaluation

BATCH = 256
FREE = -1  # of `attribute_sets`: an image outside of the matrix


def embed_rows(data, rows, embedder: Callable[[Tensor], Tensor], title: str | None = None) -> Tensor:
    """(rows, dim) embeddings of a data set's rows; a `title` shows a bar."""
    parts = np.array_split(np.asarray(rows), max(-(-len(rows) // BATCH), 1))
    shown = tqdm(parts, desc=title, leave=False, disable=title is None)
    return evaluation.embed((data.image_batch(part) for part in shown), embedder)
