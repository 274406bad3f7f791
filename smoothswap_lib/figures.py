"""Every plot of the course, as functions of arrays that return a matplotlib Figure.

Images are (3, H, W) in [-1, 1]. Nothing here shows a figure, saves one or chooses a backend: end a cell
with `plt.show()`. Colors are told apart by color-blind readers, and in grey: lines also differ in dashes,
bars in hatching.
"""

import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib import cycler
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

# Okabe and Ito's palette, in an order in which neighbors differ in lightness too.
COLORS = ("#0072B2", "#E69F00", "#000000", "#56B4E9", "#D55E00", "#CC79A7")
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (2, 1)), (0, (8, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P")
# Diverging, and rising in lightness all the way, so that grey keeps the sign too.
SIGNED = LinearSegmentedColormap.from_list("signed", ["#001a66", "#1f5fa8", "#9a9a9a", "#f3bd4c", "#fff6b0"])
TILE = 1.0  # inches of one image in a grid
GAP = 0.04  # sides of an image between two neighbors of a grid


def use_style() -> None:
    """Set the course's one style; call it once, in a notebook's first code cell."""
    mpl.rcParams.update(
        {
            "figure.dpi": 100,
            "savefig.dpi": 100,
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.titlesize": 11,
            "axes.labelsize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "0.88",
            "grid.linewidth": 0.8,
            "lines.linewidth": 1.8,
            "lines.markersize": 5,
            "legend.framealpha": 0.9,
            "legend.edgecolor": "none",
            "hatch.linewidth": 0.8,
            "image.cmap": "cividis",
            "axes.prop_cycle": cycler(color=COLORS) + cycler(linestyle=DASHES),
        }
    )


def to_pixels(image) -> np.ndarray:
    """(3, H, W) in [-1, 1] as (H, W, 3) uint8; what lies outside of the range is cut off."""
    image = torch.as_tensor(image).detach().float().cpu()
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"an image must be (3, H, W) in [-1, 1], got shape {tuple(image.shape)}")
    return ((image.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()


def _mosaic(rows: Sequence[Sequence]) -> tuple[np.ndarray, int, int]:
    """One picture of all images with white gaps (None: an empty place); a tile's side and step, pixels."""
    pixels = [[None if image is None else to_pixels(image) for image in row] for row in rows]
    shapes = {tile.shape for row in pixels for tile in row if tile is not None}
    if len(shapes) != 1 or len({len(row) for row in pixels}) != 1:
        raise ValueError(
            f"a grid needs rows of one length and images of one size, got sizes {sorted(shapes)}"
        )
    height, width, _ = shapes.pop()
    if height != width:
        raise ValueError(f"a grid shows square images, got {height} x {width}")
    step = height + max(round(GAP * height), 2)
    canvas = np.full(
        (step * len(rows) - (step - height), step * len(rows[0]) - (step - height), 3), 255, np.uint8
    )
    for i, row in enumerate(pixels):
        for j, tile in enumerate(row):
            if tile is not None:
                canvas[i * step : i * step + height, j * step : j * step + width] = tile
    return canvas, height, step


def show_grid(
    images,
    row_names: Sequence[str] | None = None,
    column_names: Sequence[str] | None = None,
    title: str | None = None,
    tile: float = TILE,
) -> Figure:
    """Images in rows and columns, each row and column with its name.

    Parameters
    ----------
    images : (rows, columns, 3, H, W) tensor in [-1, 1], (columns, 3, H, W) for one row, or nested lists in
        which None leaves a place empty
    tile : side of one image, inches
    """
    if isinstance(images, torch.Tensor | np.ndarray) and images.ndim == 4:
        images = images[None]
    canvas, side, step = _mosaic(images)
    num_rows, num_columns = len(images), len(images[0])
    # The margins hold the names, so that the axes keep whole tiles.
    left = 0.1 + 0.085 * max((len(line) for name in row_names or [] for line in name.split("\n")), default=0)
    top = 0.1 + 0.25 * (column_names is not None) + 0.3 * (title is not None)
    size = np.array([canvas.shape[1], canvas.shape[0]]) / side * tile
    figure = plt.figure(figsize=(left + size[0] + 0.1, size[1] + top + 0.1), layout="none")
    box = np.array([left, 0.1, *size]) / np.tile(figure.get_size_inches(), 2)
    axes = figure.add_axes(tuple(box))
    axes.imshow(canvas, interpolation="antialiased")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.set_xticks((side - 1) / 2 + step * np.arange(num_columns), column_names or [""] * num_columns)
    axes.set_yticks((side - 1) / 2 + step * np.arange(num_rows), row_names or [""] * num_rows)
    if title:
        figure.suptitle(title, y=1 - 0.08 / figure.get_size_inches()[1], va="top")
    return figure


def swap_figure(x_source, x_target, x_swap, x_true=None, column_names=None, title=None, tile=TILE) -> Figure:
    """Source, target, swap and, where it is known, the true swap; a column is one swap.

    Parameters
    ----------
    x_source, x_target, x_true : (B, 3, H, W) in [-1, 1]
    x_swap : (B, 3, H, W), or a dict of them, name -> swaps, one row each
    """
    swaps = x_swap if isinstance(x_swap, Mapping) else {"swap": x_swap}
    rows = {"source": x_source, "target": x_target, **swaps}
    if x_true is not None:
        rows["true swap"] = x_true
    return show_grid(list(rows.values()), list(rows), column_names, title, tile)


def curves(
    metrics: pd.DataFrame,
    columns: Sequence[str] | Mapping[str, Sequence[str]],
    smoothing: int = 1,
    x: str = "step",
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Training curves from a run's metrics, a panel each.

    Parameters
    ----------
    columns : one column a panel, or several: {name of the vertical axis, with its unit: [columns]}
    smoothing : rows of the centered running mean; the raw values stay behind it, faint
    labels : column -> its name with its unit, where the column's own name is too short
    """
    labels = labels or {}
    panels = columns if isinstance(columns, Mapping) else {labels.get(name, name): [name] for name in columns}
    missing = {column for panel in panels.values() for column in panel} - set(metrics.columns)
    if missing:
        raise ValueError(f"the metrics have no column {sorted(missing)}; they have {list(metrics.columns)}")
    across = 2 if len(panels) == 4 else min(len(panels), 3)
    down = math.ceil(len(panels) / across)
    figure, axes = plt.subplots(down, across, figsize=(3.4 * across, 2.6 * down), squeeze=False)
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    for ax, (ylabel, panel) in zip(axes.flat, panels.items()):
        for i, column in enumerate(panel):
            known = metrics[[x, column]].dropna()
            line = known[column].rolling(smoothing, min_periods=1, center=True).mean()
            if smoothing > 1:
                ax.plot(known[x], known[column], color=COLORS[i], linestyle="-", linewidth=0.8, alpha=0.3)
            ax.plot(known[x], line, color=COLORS[i], linestyle=DASHES[i], label=labels.get(column, column))
        ax.set(xlabel=labels.get(x, x), ylabel=ylabel)
        if len(panel) > 1:
            ax.legend()
    return figure
