"""Plots that belong to one measurement each: cosines of pairs, walks through a gallery, signed differences.

Functions of arrays that return a matplotlib Figure, in the style of `figures`.
"""

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

from smoothswap_lib.figures import COLORS, DASHES, GAP, MARKERS, SIGNED, show_grid


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
