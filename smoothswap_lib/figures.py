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
from sklearn.metrics import roc_auc_score, roc_curve

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


def cosine_histograms(
    positive: Mapping[str, np.ndarray], negative: Mapping[str, np.ndarray], bins: int = 40
) -> Figure:
    """Cosines of pairs of one identity and of two, one panel an embedder: the less they overlap, the better.

    Parameters
    ----------
    positive, negative : embedder's name -> cosines (pairs,)
    """
    figure, axes = plt.subplots(
        1, len(positive), figsize=(3.4 * len(positive), 2.8), squeeze=False, sharey=True
    )
    low = min(np.min(values) for values in [*positive.values(), *negative.values()])
    edges = np.linspace(math.floor(low * 10) / 10, 1, bins + 1)
    for ax, name in zip(axes[0], positive, strict=True):
        kinds = (
            ("two identities", negative[name], 0.35, None),
            ("same identity", positive[name], 0.6, "////"),
        )
        for (label, values, alpha, hatch), color in zip(kinds, COLORS[1::-1], strict=True):
            weights = np.full(len(values), 1 / len(values))
            ax.hist(values, edges, weights=weights, color=color, alpha=alpha, hatch=hatch, label=label)
            ax.hist(values, edges, weights=weights, histtype="step", color=color, linestyle="-")
        same = np.repeat([True, False], [len(positive[name]), len(negative[name])])
        auc = roc_auc_score(same, np.concatenate([positive[name], negative[name]]))
        ax.set_title(f"{name}: AUC {auc:.3f}")
        ax.set_xlabel("cosine of the pair")
    axes[0, 0].set_ylabel("share of pairs")
    axes[0, 0].legend(loc="upper left")
    return figure


def verification_roc(scores: Mapping[str, tuple[np.ndarray, np.ndarray]], floor: float = 1e-3) -> Figure:
    """ROC curves of embedders, with the false accepts on a logarithmic axis, where good embedders differ.

    Parameters
    ----------
    scores : embedder's name -> (cosines (pairs,), same (pairs,) bool)
    floor : smallest rate of false accepts shown
    """
    figure, ax = plt.subplots(figsize=(4.6, 3.6))
    for i, (name, (cosine, same)) in enumerate(scores.items()):
        false_accepts, true_accepts, _ = roc_curve(same, cosine)
        label = f"{name}, AUC {roc_auc_score(same, cosine):.3f}"
        start = (
            np.searchsorted(false_accepts, floor, side="right") - 1
        )  # the curve's height where the axis begins
        rates, heights = np.maximum(false_accepts[start:], floor), true_accepts[start:]
        ax.step(rates, heights, where="post", color=COLORS[i], linestyle=DASHES[i], label=label)
    chance = np.geomspace(floor, 1)
    ax.plot(chance, chance, color="0.6", linestyle="-", linewidth=1, label="chance")
    ax.set(xscale="log", xlim=(floor, 1), ylim=(0, 1.02))
    ax.set_xlabel("false accepts (share of pairs of two identities)")
    ax.set_ylabel("true accepts (share of pairs of one)")
    ax.legend(loc="lower right")
    return figure


def retrieval_strip(
    x_a, x_b, retrieved: Mapping[str, Sequence], indices: Mapping[str, Sequence[int]]
) -> Figure:
    """Gallery images met between A and B, one row an embedder; a frame marks an image seen before (Fig. 9).

    Parameters
    ----------
    x_a, x_b : (3, H, W) in [-1, 1]
    retrieved : embedder's name -> (points, 3, H, W)
    indices : embedder's name -> (points,) gallery indices, which tell what repeats
    """
    points = len(next(iter(retrieved.values())))
    names = [f"{name}\n{len(set(map(int, indices[name])))} different" for name in retrieved]
    columns = ["A", *[f"r = {i / (points + 1):.2g}" for i in range(1, points + 1)], "B"]
    figure = show_grid([[x_a, *row, x_b] for row in retrieved.values()], names, columns, tile=0.6)
    ax, side = figure.axes[0], torch.as_tensor(x_a).shape[-1]
    step = side + max(round(GAP * side), 2)
    for row, name in enumerate(retrieved):
        seen = [int(index) for index in indices[name]]
        for column in range(1, points):
            if seen[column] in seen[:column]:
                corner = (step * (column + 1) + 1, step * row + 1)
                frame = {"fill": False, "edgecolor": COLORS[1], "linewidth": 3}
                ax.add_patch(plt.Rectangle(corner, side - 3, side - 3, **frame))
    return figure


def interpolation_graph(
    distances: Mapping[str, tuple], ylabel: str = "distance / mean of random pairs"
) -> Figure:
    """Distance of each retrieved image to A and to B along the interpolation, a panel an embedder (Fig. 9).

    Parameters
    ----------
    distances : embedder's name -> (to A (points,), to B (points,)), already divided by the mean pair distance
    """
    figure, axes = plt.subplots(
        1, len(distances), figsize=(3.0 * len(distances), 2.8), squeeze=False, sharey=True
    )
    for ax, (name, (to_a, to_b)) in zip(axes[0], distances.items(), strict=True):
        r = np.arange(1, len(to_a) + 1) / (len(to_a) + 1)
        for i, (label, values) in enumerate((("to A", to_a), ("to B", to_b))):
            style = {"color": COLORS[i], "linestyle": DASHES[i], "marker": MARKERS[i]}
            ax.plot(r, np.asarray(values), label=label, **style)
        ax.set(title=name, xlabel="ratio r from A to B", xlim=(0, 1))
    axes[0, 0].set_ylabel(ylabel)
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 0].legend()
    return figure


def difference_maps(
    x, x_reference, column_names=None, title=None, limit: float | None = None, what: str = "swap - truth"
) -> Figure:
    """Signed difference of lightness, x - x_reference, an image each, on one scale about zero.

    Parameters
    ----------
    x, x_reference : (B, 3, H, W) in [-1, 1]
    limit : value of the scale's two ends; by default the 99th percentile of this figure's differences
    """
    weights = torch.tensor([0.2126, 0.7152, 0.0722]).view(3, 1, 1)  # luminance of Rec. 709
    difference = ((torch.as_tensor(x) - torch.as_tensor(x_reference)).detach().cpu() * weights).sum(1).numpy()
    limit = limit or max(float(np.quantile(np.abs(difference), 0.99)), 1e-6)
    count = len(difference)
    size = (1.1 * count + 1.2, 1.5 + 0.3 * (title is not None))
    figure, axes = plt.subplots(1, count, figsize=size, squeeze=False)
    for i, ax in enumerate(axes[0]):
        shown = ax.imshow(difference[i], cmap=SIGNED, vmin=-limit, vmax=limit, interpolation="nearest")
        ax.set(xticks=[], yticks=[], title=column_names[i] if column_names else "")
        ax.grid(False)
        ax.spines[:].set_visible(True)
    bar = figure.colorbar(shown, ax=list(axes[0]), extend="both", aspect=12)
    bar.set_label(f"{what},\nlightness", fontsize=9)
    if title:
        figure.suptitle(title)
    return figure


def paper_bars(
    ours: Mapping[str, float],
    paper: Mapping[str, float | None],
    ylabel: str,
    ours_name: str = "ours",
    intervals: Mapping[str, tuple[float, float]] | None = None,
) -> Figure:
    """Our numbers beside the paper's (hatched), each written above its bar.

    Parameters
    ----------
    ours, paper : name -> value; a name may be in one of them only
    ours_name : what made ours, with its profile: "ours (laptop)"
    intervals : name -> (low, high) of ours
    """
    names = list(dict.fromkeys([*ours, *paper]))
    figure, ax = plt.subplots(figsize=(1.1 + 1.05 * len(names), 3.0))
    width = 0.38
    series = (
        (ours_name, ours, -width / 2, {"color": COLORS[0]}),
        ("paper", paper, width / 2, {"facecolor": "white", "edgecolor": "0.25", "hatch": "////"}),
    )
    for label, values, shift, style in series:
        known = [(i, values[name]) for i, name in enumerate(names) if values.get(name) is not None]
        ax.bar([i + shift for i, _ in known], [value for _, value in known], width, label=label, **style)
        for i, value in known:
            low, high = (intervals or {}).get(names[i], (value, value)) if values is ours else (value, value)
            if low < high:
                style_of_interval = {"color": "0.1", "linestyle": "none", "capsize": 3}
                ax.errorbar(i + shift, value, yerr=[[value - low], [high - value]], **style_of_interval)
            place = {"xytext": (0, 3), "textcoords": "offset points", "ha": "center"}
            ax.annotate(f"{value:.3g}", (i + shift, max(high, 0)), fontsize=8, **place)
    ax.set_xticks(range(len(names)), names)
    ax.set_ylabel(ylabel)
    ax.grid(False, axis="x")
    ax.margins(y=0.12)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.18), ncols=2)
    return figure


def kernel_response(kernels: Mapping[str, Sequence[float]]) -> Figure:
    """Taps of resampling filters, and how much of each frequency they let through.

    Parameters
    ----------
    kernels : name -> taps, scaled to sum 1 here; what lies beyond a quarter of a cycle a pixel folds back
        when every second pixel is dropped
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 2.9))
    frequency = np.linspace(0, 0.5, 257)
    for i, (name, taps) in enumerate(kernels.items()):
        taps = np.asarray(taps, dtype=float) / np.sum(taps)
        place = np.arange(len(taps)) - (len(taps) - 1) / 2
        response = np.abs(np.exp(-2j * np.pi * frequency[:, None] * place) @ taps)
        style = {"color": COLORS[i], "linestyle": DASHES[i], "label": name}
        left.plot(place, taps, marker=MARKERS[i], **style)
        right.plot(frequency, response, **style)
    left.set(xlabel="place of the tap (pixels)", ylabel="weight", ylim=(0, None))
    right.axvspan(0.25, 0.5, color="0.92", zorder=0)
    right.text(0.375, 0.97, "folds back at half size", ha="center", va="top", fontsize=9)
    right.set(xlabel="frequency (cycles a pixel)", ylabel="share let through", xlim=(0, 0.5), ylim=(0, 1.02))
    right.legend(loc="lower left")
    return figure
