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


# The drawing that grows through notebooks 02 to 06, a stage each.
STAGES = ("embedder", "smoothness", "generator", "losses", "training")
EMPHASIZED = {"smoothness": ("z",), "training": ("generate", "judge")}  # next to what the stage adds
IMAGE, TRAINED, FROZEN, LOSS = "white", "#cfe3f2", "0.9", "#fbe8c0"
PARTS = {  # name: (text, inches from the left and from below, color, number of the stage that adds it)
    "source": ("source\n$x_{src}$", 0.5, 2.2, IMAGE, 0),
    "embed": ("$f_{emb}^*$\nfrozen", 1.7, 2.2, FROZEN, 0),
    "z": ("$z_{src}$", 3.0, 2.2, IMAGE, 0),
    "contrast": ("contrastive\nloss", 1.7, 1.4, LOSS, 0),
    "smooth": ("how smooth?\n$d_{smooth}$", 4.3, 2.2, LOSS, 1),
    "target": ("target\n$x_{tgt}$", 0.5, 0.45, IMAGE, 2),
    "generate": ("$f_{gen}$: U-Net\ntrained", 3.0, 1.4, TRAINED, 2),
    "add": ("+", 4.2, 1.4, IMAGE, 2),
    "swap": ("swap\n$x_{swap}$", 5.1, 1.4, IMAGE, 2),
    "again": ("$f_{emb}^*$\nfrozen", 6.7, 2.2, FROZEN, 3),
    "judge": ("$f_{dis}$\ntrained", 6.7, 1.4, TRAINED, 3),
    "real": ("real\n$x_{tgt}$", 6.7, 0.45, IMAGE, 3),
    "id": (r"C1: $\mathcal{L}_{id}$", 8.3, 2.2, LOSS, 3),
    "chg": (r"C2: $\mathcal{L}_{chg}$", 5.1, 0.45, LOSS, 3),
    "adv": (r"C3: $\mathcal{L}_{adv}$", 8.3, 1.4, LOSS, 3),
    "dis": ("$\\mathcal{L}(f_{dis})$\nwith $R_1$", 8.3, 0.45, LOSS, 3),
}
ARROWS = (
    "source-embed embed-z z-contrast z-smooth z-generate target-generate target-add generate-add add-swap "
    "swap-again again-id z-id swap-chg target-chg swap-judge real-judge judge-adv judge-dis"
)
GRADIENTS = "id-again again-swap adv-judge judge-swap chg-swap swap-generate dis-judge"
BENT = dict.fromkeys(("id-again", "judge-swap"), "arc3,rad=-0.3") | {"z-id": "arc3,rad=-0.22"}
BENT |= dict.fromkeys(("target-generate", "target-add"), "angle,angleA=0,angleB=90,rad=6")  # level, then up


def architecture(stage: str) -> Figure:
    """Smooth-Swap as far as one notebook knows it; what comes later is a pale outline.

    White boxes are images and vectors, blue ones are trained, gray ones frozen, amber ones losses and
    measures. A thick edge marks what the stage is about. In the last stage dashed arrows are gradients.
    A name that is not in STAGES is a ValueError.
    """
    if stage not in STAGES:
        raise ValueError(f"no stage is called '{stage}'; the stages are {', '.join(STAGES)}")
    now = STAGES.index(stage)
    figure = plt.figure(figsize=(9, 2.8), layout="none")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 9), ylim=(0.05, 2.85))
    axes.axis("off")
    boxes = {}
    for name, (text, x, y, color, since) in PARTS.items():
        if name == "embed" and now == 0:
            text, color = "$f_{emb}$\ntrained", TRAINED
        thick = since == now or name in EMPHASIZED.get(stage, ())
        box = {"fc": color, "ec": "0.2", "lw": 2.5 if thick else 1}
        box, ink = (box, "black") if since <= now else ({"fc": "white", "ec": "0.8", "ls": "--"}, "none")
        box["boxstyle"] = "round,pad=0.45"
        boxes[name] = axes.text(x, y, text, color=ink, fontsize=9, ha="center", va="center", bbox=box)
    arrows = [(key, "0.35", "-", "arc3") for key in ARROWS.split()]
    if stage == "training":
        arrows += [(key, COLORS[4], "--", "arc3,rad=0.3") for key in GRADIENTS.split()]
        axes.text(4, 1.8, "gradient", color=COLORS[4], fontsize=8, ha="center", va="center")
    for key, color, dashes, bend in arrows:
        (begin, start), (end, stop) = ((boxes[name], PARTS[name]) for name in key.split("-"))
        later = max(start[-1], stop[-1]) > now
        style = {"arrowstyle": "-|>", "color": "0.85" if later else color, "linestyle": dashes}
        style |= {"connectionstyle": BENT.get(key, bend), "shrinkA": 2, "shrinkB": 2}
        style |= {"patchA": begin.get_bbox_patch(), "patchB": end.get_bbox_patch()}
        arrow = axes.annotate("", stop[1:3], start[1:3], arrowprops=style)
        arrow.set_zorder(3.1 if later else 3.2)  # a dark line covers a pale one
    return figure
