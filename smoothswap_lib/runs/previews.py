"""Picture grids of a run: what the swapper makes of the same few pairs, marked as synthetic."""

from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor, nn

from smoothswap_lib.datasets import to_uint8
from smoothswap_lib.files import atomic
from smoothswap_lib.runs.folder import Run

NUM_PREVIEWS = 8  # pairs in a grid


@torch.no_grad()
def preview(run: Run, ema: nn.Module, embedder: nn.Module, x_target: Tensor, x_source: Tensor) -> None:
    """Write previews/step_NNNNNN.png: pairs (B, 3, H, W) swapped by the moving average."""
    run.check_folder()
    if run.accelerator.is_main_process:
        rows = {"source": x_source, "target": x_target, "swap": ema(x_target, embedder(x_source))}
        text = {"Software": "smoothswap_lib.training", "Step": str(run.step), "Profile": run.profile.name}
        write_preview(run.folder / "previews" / f"step_{run.step:06d}.png", rows, text)


def write_preview(path: Path, rows: Mapping[str, Tensor], text: Mapping[str, str]) -> None:
    """Write a grid of images as PNG: one row of the grid for each entry, (B, 3, H, W) in [-1, 1].

    The file's text says which row is which and that the picture is synthetic.
    """
    strips = [torch.cat(list(images.float().cpu()), dim=2) for images in rows.values()]  # (3, H, B W) each
    pixels = to_uint8(torch.cat(strips, dim=1)).permute(1, 2, 0).numpy()  # (rows H, B W, 3)
    marks = PngInfo()
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    about = f"Rows: {', '.join(rows)}. The swaps were made by a neural network."
    said = {"Synthetic": "true", "DigitalSourceType": source, "Description": about, **text}
    for key, value in said.items():
        marks.add_text(key, value)
    with atomic(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG", pnginfo=marks)
