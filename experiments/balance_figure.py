"""The datasheet's figure, drawn from what `measure_balance.py` found."""

from pathlib import Path

import matplotlib as mpl
import numpy as np

from smoothswap_lib import figures
from smoothswap_lib.world.traits import CHOICES

SPREAD_COLUMNS = (
    "identity.melanin", "identity.age", "identity.gender", "identity.weight", "attributes.yaw",
    "attributes.pitch", "attributes.roll",
)  # fmt: skip


def figure(train, test, result: dict, hamming: np.ndarray, near_bits: int, path: Path):
    """The datasheet's figure: what is drawn, how often, what the masks hold and how near the splits come.

    `train` and `test` are `measure_balance.Split`s; `hamming` counts pairs by the bits in which they differ.
    """
    mpl.use("Agg")
    figures.use_style()
    import matplotlib.pyplot as plt

    canvas, axes = plt.subplots(4, 4, figsize=(13, 11))
    panels = iter(axes.flat)
    for name in (*SPREAD_COLUMNS, "state.age"):
        _histogram(next(panels), name, train, test)
    for name in CHOICES:
        counts = [result["styles"][split][name]["counts"] for split in ("train", "test")]
        _bars(next(panels), name.replace("_", " "), *counts)
    shares = [result["mask_shares"][split] for split in ("train", "test")]
    _bars(next(panels), "mask, share of pixels", *shares)
    panel = next(panels)
    panel.bar(np.arange(len(hamming)), hamming / hamming.sum(), width=1.6, color="0.6")
    panel.axvline(near_bits + 0.5, color=figures.COLORS[4])
    panel.set(xlabel="bits that differ", ylabel="share of pairs", title="pHash, test against train")
    axes[0, 3].legend(loc="lower center")
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path)
    plt.close(canvas)


def _histogram(panel, name, train, test):
    own = name.startswith("identity")
    values = [s.person(name) if own else s.column(name)[s.free] for s in (train, test)]
    # People are few: bins so wide that each holds some.
    edges = np.linspace(min(map(np.min, values)), max(map(np.max, values)), 11 if own else 25)
    for label, numbers, color, dashes in zip(("train", "test"), values, figures.COLORS, figures.DASHES):
        heights, _ = np.histogram(numbers, edges)
        panel.stairs(heights / len(numbers), edges, label=label, color=color, linestyle=dashes, linewidth=1.8)
    unit = " (degrees)" if name.startswith("attributes") else ""
    panel.set(xlabel=name + unit, ylabel="share", ylim=(0, None))


def _bars(panel, title, train, test):
    names = list(train)
    for counts, offset, color, hatch in (
        (train, -0.2, figures.COLORS[0], None),
        (test, 0.2, figures.COLORS[1], "//"),
    ):
        total = max(sum(counts.values()), 1)
        heights = [counts[name] / total for name in names]
        panel.bar(np.arange(len(names)) + offset, heights, 0.4, color=color, hatch=hatch)
    panel.set(title=title, ylabel="share")
    panel.set_xticks(
        np.arange(len(names)), [n.replace("_", " ") for n in names], rotation=60, ha="right", fontsize=8
    )
    panel.grid(axis="x", visible=False)
