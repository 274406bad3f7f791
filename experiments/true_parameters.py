"""What an oracle is told of a source: an embedder's vector, or the numbers that it was rendered from."""

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from embedding import embed_rows
from torch import Tensor

from smoothswap_lib import training
from smoothswap_lib.datasets import TrueSwap

PARAMETERS = "parameters"  # in the place of an embedder's name
SEEDS = ("identity.skin_seed",)  # numbers that mean nothing by their size
BEARDS = "identity.beard_style"


def parameter_table(data: TrueSwap) -> np.ndarray:
    """(images, numbers): identity and state of each image; a style is a column for each of its names.

    Attributes (pose, expression, light, clothes) are left out: they are the target's.
    """
    columns = []
    for field in data.table.schema:
        if field.name.startswith(("identity.", "state.")) and field.name not in SEEDS:
            values = data.table[field.name].to_numpy()
            if pa.types.is_string(field.type):
                columns += [values == name for name in sorted(set(values))]
            else:
                columns.append(values)
    return np.stack(columns, axis=1).astype(np.float64)


def parameter_vectors(data: TrueSwap, like: TrueSwap) -> Tensor:
    """(images, numbers) of unit length; each number in standard deviations of `like`, the train split."""
    known = parameter_table(like)
    spread = known.std(0)
    z = (parameter_table(data) - known.mean(0))[:, spread > 0] / spread[spread > 0]
    return F.normalize(torch.from_numpy(z).float(), dim=1)


def vectors_of(data: TrueSwap, embedder: str) -> tuple[Tensor, dict[str, str]]:
    """One vector for each image, and what names them in a run's metadata."""
    if embedder == PARAMETERS:
        return parameter_vectors(data, TrueSwap("train")), {"embedder": PARAMETERS}
    network, names = training.frozen_embedder(embedder)
    return embed_rows(data, np.arange(len(data)), network, "vectors").clone(), names
