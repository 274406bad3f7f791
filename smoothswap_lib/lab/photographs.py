"""From two image files to a swap on disk: align, swap, paste back, mark.

    python -m smoothswap_lib swap SOURCE TARGET -o OUT [--sheet SHEET]

A square image of up to 1024 pixels counts as a face crop and is used as it is; of another photograph the face
is found and cut out as FFHQ's are (the optional extra "align").
"""

import json
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from smoothswap_lib import checkpoints, datasets, figures
from smoothswap_lib.datasets import align_folder
from smoothswap_lib.datasets.alignment import paste_back
from smoothswap_lib.datasets.images import read_picture
from smoothswap_lib.datasets.photograph import face_crop
from smoothswap_lib.generator import Generator
from smoothswap_lib.lab import marking

SHEET_TILE = 2.56  # inches of one face on a comparison sheet


@dataclass(frozen=True)
class PhotographSwap:
    """A swap and what it was made of; the faces are (3, size, size) in [-1, 1], as the networks saw them."""

    picture: np.ndarray  # (H, W, 3) uint8: the target's photograph with the swap in it, not yet marked
    x_source: torch.Tensor
    x_target: torch.Tensor
    x_swap: torch.Tensor
    notes: tuple[str, ...] = ()  # what was decided without asking


def swap_photographs(
    source: Image.Image,
    target: Image.Image,
    faces: str = "auto",
    weights: str | Path = "swapper",
    names: tuple[str, str] = ("the source", "the target"),
) -> PhotographSwap:
    """Swap the source's identity into the target's photograph.

    A crop comes out at the network's size; a photograph as large as it was, changed around the face only.

    Parameters
    ----------
    faces : one of datasets.photograph.FACES
    weights : of a generator: a shipped name, a run's folder or a file
    names : of source and target, for messages
    """
    metadata = checkpoints.metadata_of(checkpoints.weights_path(weights), Generator)
    size = json.loads(metadata["arguments"])["size"]
    crops = [face_crop(p, size, faces, name) for p, name in zip((source, target), names)]
    x_source, x_target = (
        datasets.to_float(torch.from_numpy(crop.copy()).permute(2, 0, 1)[None]) for crop, _, _ in crops
    )  # (1, 3, size, size) each
    x_swap = checkpoints.swap(x_source, x_target, weights)
    swapped = figures.to_pixels(x_swap[0])
    transform = crops[1][1]
    picture = swapped if transform is None else paste_back(target, swapped, transform)
    notes = [
        f"{name} shows {count} faces; the largest was taken"
        for name, (_, _, count) in zip(names, crops)
        if count > 1
    ]
    return PhotographSwap(picture, x_source[0], x_target[0], x_swap[0], tuple(notes))


def comparison_sheet(done: PhotographSwap) -> np.ndarray:
    """Source, target and swap side by side, with their names: (H, W, 3) uint8."""
    faces = torch.stack([done.x_source, done.x_target, done.x_swap])
    figure = figures.show_grid(faces, column_names=["source", "target", "swap"], tile=SHEET_TILE)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    plt.close(figure)
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def swap_files(
    source: str | Path,
    target: str | Path,
    out: str | Path,
    sheet: str | Path | None = None,
    faces: str = "auto",
    weights: str | Path = "swapper",
) -> PhotographSwap:
    """Swap two image files into a third, marked; with `sheet` a comparison sheet, marked as well.

    Raises
    ------
    FileNotFoundError, ModuleNotFoundError, ValueError
        Names the file, what is wrong with it and the mend; nothing is written then.
    """
    written = [marking.check_name(path) for path in (out, sheet) if path is not None]
    places = [Path(path).resolve() for path in (source, target)]
    for path in written:
        if path.resolve() in places:
            raise ValueError(f"{path} would be overwritten by what is written: choose another name for it")
        places.append(path.resolve())
    photographs = [read_picture(path) for path in (source, target)]
    try:
        done = swap_photographs(*photographs, faces, weights, (str(source), str(target)))
    finally:
        align_folder.release_detector()
    marking.save_swap(done.picture, out)
    if sheet is not None:
        marking.save_swap(comparison_sheet(done), sheet)
    return done
