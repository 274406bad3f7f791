"""Who stands in the swap lab's page: rendered test faces, their true swaps and the paint bucket's.

Everybody is drawn with SEED; nobody was chosen by looks. Images here are (3, size, size) in [-1, 1].
"""

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from smoothswap_lib import checkpoints, figures
from smoothswap_lib.datasets import TrueSwap
from smoothswap_lib.evaluation import recolour
from smoothswap_lib.lab import watermark

SEED = 0
SOURCES, TARGETS = 8, 6
EYES, MOUTH = slice(36, 48), slice(48, 68)  # of iBUG 300-W's 68 landmarks


@dataclass(frozen=True)
class Cast:
    """The faces of the page; `rows` are images of the test split.

    x_source : (SOURCES, 3, size, size)
    x_target : (TARGETS, 3, size, size)
    x_true, x_bucket : (SOURCES, TARGETS, 3, size, size), the true swap and the recolored target
    rows : all the images' numbers
    """

    x_source: torch.Tensor
    x_target: torch.Tensor
    x_true: torch.Tensor
    x_bucket: torch.Tensor
    rows: np.ndarray


def draw_cast(test: TrueSwap) -> Cast:
    """Sources and targets are different people; each comes in a picture of its own."""
    matrix = test.matrix_indices()
    rng = np.random.default_rng(SEED)
    people = rng.permutation(len(matrix))[: SOURCES + TARGETS]
    columns = rng.integers(matrix.shape[1], size=SOURCES + TARGETS)
    source, target = matrix[people, columns][:SOURCES], matrix[people, columns][SOURCES:]
    true = matrix[people[:SOURCES, None], columns[None, SOURCES:]]  # (SOURCES, TARGETS)
    wide = np.broadcast_to(target, true.shape)
    x_true, x_wide = test.image_batch(true.ravel()), test.image_batch(wide.ravel())
    x_bucket = recolour(x_wide, masks_of(test, wide.ravel()), x_true, masks_of(test, true.ravel()))
    shape = (*true.shape, *x_true.shape[1:])
    rows = np.concatenate([source, target, true.ravel()])
    return Cast(
        test.image_batch(source), test.image_batch(target), x_true.view(shape), x_bucket.view(shape), rows
    )


def masks_of(test: TrueSwap, rows: np.ndarray) -> torch.Tensor:
    """(B, size, size) uint8: the regions of the images at `rows`."""
    return torch.from_numpy(np.stack([test[int(row)]["mask"] for row in rows]))


def sprite(cast: Cast) -> tuple[bytes, int]:
    """All tiles in one lossless WebP, SOURCES columns a row, and how many: sources, targets, true, bucket."""
    parts = (cast.x_source, cast.x_target, cast.x_true.flatten(0, 1), cast.x_bucket.flatten(0, 1))
    tiles = [figures.to_pixels(x) for part in parts for x in part]
    size, count = len(tiles[0]), len(tiles)
    tiles += [np.zeros_like(tiles[0])] * (-count % SOURCES)
    sheet = np.stack(tiles).reshape(-1, SOURCES, size, size, 3).swapaxes(1, 2)
    sheet = sheet.reshape(-1, SOURCES * size, 3)
    content = io.BytesIO()
    Image.fromarray(sheet).save(content, "WEBP", lossless=True, quality=100, method=6)
    return content.getvalue(), count


def facts(cast: Cast, test: TrueSwap, weights: str = "swapper") -> dict:
    """What the page must know beside the pictures.

    vectors : of the sources, by the generator's embedder
    error : mean squared error to the true swaps of the page's pairs, over that of handing back the target
    eyes, mouth : their mean heights in these pictures, 0 at the top and 1 at the bottom
    mark : of the hidden mark, for each bit the places of its coefficients, their weights, and the bit's sign
    """
    told = checkpoints.read_metadata(checkpoints.weights_path(weights))
    embedder = checkpoints.load_embedder(told["embedder"])
    x_source = cast.x_source.repeat_interleave(TARGETS, 0)  # (SOURCES * TARGETS, 3, size, size)
    x_target, x_true = cast.x_target.repeat(SOURCES, 1, 1, 1), cast.x_true.flatten(0, 1)
    x_swap = checkpoints.swap(x_source, x_target, weights)
    copying = (x_target - x_true).square().mean()
    named = {"swap": x_swap, "paint bucket": cast.x_bucket.flatten(0, 1)}
    with torch.inference_mode():
        vectors = embedder(cast.x_source)  # (SOURCES, dim)
    points = np.stack([test.landmarks(row) for row in cast.rows]) / test.size  # (N, 68, 2)
    places, weights_of = watermark.pattern()
    return {
        "size": test.size, "sources": SOURCES, "targets": TARGETS,
        "vectors": vectors.tolist(),
        "error": {name: float((x - x_true).square().mean() / copying) for name, x in named.items()},
        "eyes": float(points[:, EYES, 1].mean()), "mouth": float(points[:, MOUTH, 1].mean()),
        "mark": {
            "grid": watermark.GRID, "margin": watermark.MARGIN, "contrast": watermark.CONTRAST,
            "rounds": watermark.ROUNDS, "places": places.tolist(), "weights": weights_of.tolist(),
            "bits": watermark.BITS.tolist(),
        },
    }  # fmt: skip
