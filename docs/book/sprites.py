"""The swap lab's pictures for pages without a kernel: drawn when the book is built, chosen with sliders.

A sprite is a sheet of tiles in one file; `static/sprites.js` shows the tiles that its sliders ask for.
Without JavaScript the sheet itself is shown, so it is laid out to be read: sources above rows of swaps.
Sources and the first target are those of notebook 11's figures. Tiles are (64, 64, 3) uint8, None where a
sheet is empty.
"""

import html
import io
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from smoothswap_lib import evaluation, figures, smoothness
from smoothswap_lib.lab import lab, watermark

SOURCES = [(person, 6) for person in (13, 28, 44, 22, 40, 15)]  # (person, scene) in the swap matrix
A, B = SOURCES[:2]
TARGETS = [(3, 0), (4, 1), (5, 2)]  # the notebook's, and the next
STEPS = 11  # of the walk
AGES = np.linspace(-0.3, 0.3, 5)  # the notebook's younger and older, and between
QUALITY = 85  # of WebP: the marks stay
TEXT = "Synthetic: swaps by a neural network, of rendered faces of nobody"
HTML = """<div class="sprite" data-sprite="{data}">
<div class="sprite-still">
<div><img src="../_static/sprites/{name}.webp" alt="{alt}" width="{width}" height="{height}"></div>
<p>With JavaScript a slider stands here; without it, all of its pictures at once.</p></div>
<p class="described">{caption} {text}. No network runs in this page: the pictures came with it.</p>
</div>
"""


@dataclass(frozen=True)
class Sprite:
    """A sheet and what its sliders show.

    widget : the notebook's class whose place it takes
    rows : the sheet's tiles, row by row
    panels : the names of the pictures that are shown at once, None for an empty place
    wide : how many of them stand beside each other
    sliders : label -> the names of its steps
    frames : for each setting of the sliders, the last one fastest: {"text": ..., "tiles": numbers of tiles}
    """

    name: str
    widget: str
    rows: list[list[np.ndarray | None]]
    panels: list[str | None]
    wide: int
    sliders: dict[str, list[str]]
    frames: list[dict]
    alt: str
    caption: str

    def content(self) -> bytes:
        """The sheet's file, which says of itself that it is synthetic."""
        empty = np.full(next(t for t in self.rows[0] if t is not None).shape, 255, np.uint8)
        tiled = [np.concatenate([empty if t is None else t for t in row], 1) for row in self.rows]
        exif, file = Image.Exif(), io.BytesIO()
        exif[0x010E] = TEXT  # ImageDescription
        sheet = Image.fromarray(np.concatenate(tiled))
        sheet.save(file, "WEBP", quality=QUALITY, method=6, exif=exif.tobytes())
        return file.getvalue()

    def html(self) -> str:
        """Its place in a page of a folder of the book."""
        side, columns = len(self.rows[0][1]), len(self.rows[0])
        data = {
            "side": side, "columns": columns, "wide": self.wide, "panels": self.panels,
            "sliders": list(self.sliders.items()), "frames": self.frames,
        }  # fmt: skip
        return HTML.format(
            data=html.escape(json.dumps(data)), alt=html.escape(self.alt), name=self.name,
            width=side * columns, height=side * len(self.rows), caption=self.caption, text=TEXT,
        )  # fmt: skip


def draw() -> list[Sprite]:
    """All sprites; some seconds, most of them for the renders of `age`."""
    room = lab.Lab()
    return [pairs(room), walk(room), age(room)]


def marked(x_swap: torch.Tensor) -> np.ndarray:
    """A swap as a tile, with the library's mark in its pixels."""
    return watermark.embed(figures.to_pixels(x_swap))


def walk(room: lab.Lab) -> Sprite:
    """The source moves from A to B along Slerp, for three targets at once."""
    x_a, x_b = room.face(A), room.face(B)
    z_a, z_b = evaluation.embed(torch.stack([x_a, x_b]), room.embedders[room.own])
    r = torch.linspace(0, 1, STEPS)
    z = smoothness.slerp(z_a.expand(STEPS, -1), z_b.expand(STEPS, -1), r)  # (STEPS, dim)
    rows = [[None, figures.to_pixels(x_a), *[None] * (STEPS - 2), figures.to_pixels(x_b)]]
    for x_target in map(room.face, TARGETS):
        with torch.inference_mode():
            x_swap = room.generator(x_target.expand(STEPS, -1, -1, -1), z).clamp(-1, 1)
        rows.append([figures.to_pixels(x_target), *map(marked, x_swap)])
    starts = [(1 + STEPS) * (1 + t) for t in range(len(TARGETS))]
    steps = [f"{ratio:.0%}".replace("%", " %") for ratio in r.tolist()]
    frames = [
        {
            "text": f"A source {step} of the way from A to B, put into three targets.",
            "tiles": [None, *starts, None, 1, *[start + 1 + i for start in starts], STEPS],
        }
        for i, step in enumerate(steps)
    ]
    numbers = range(1, len(TARGETS) + 1)
    panels = [None, *[f"target {n}" for n in numbers], None, "A", *[f"swap {n}" for n in numbers], "B"]
    alt = "Four rows of faces. First row: source A at the left, source B at the right. Below, a row a target:"
    alt += f" the target, then {STEPS} swaps whose face turns from A's into B's."
    caption = "The walk: each step is a point on the arc between the vectors of A and B."
    sliders = {"Way from A to B": steps}
    return Sprite("walk", "PathTab", rows, panels, 5, sliders, frames, alt, caption)


def age(room: lab.Lab) -> Sprite:
    """One source grows older; the true swap is rendered with the same age."""
    column = []
    for years in AGES:
        person = lab.drifted(room.person(B), float(years), 0.0)
        column.append([room.with_truth(room.made(person, TARGETS[0]), person, TARGETS[0])])
    alt = f"Three rows of faces. First row: one rendered source at {len(AGES)} ages, younger at the left. "
    alt += "Second row: the target and its swaps, which hardly change. Third row: the true swaps."
    caption = "One source, younger and older, as in notebook 11's figure of age and weight."
    return with_truths("age", "DriftTab", column, {"Age": [f"{a:+.2f}" for a in AGES]}, alt, caption)


def pairs(room: lab.Lab) -> Sprite:
    """Each source in each target, beside the true swap."""
    table = [[room.pair(source, target) for target in TARGETS] for source in SOURCES]
    alt = f"Rows of faces. First row: {len(SOURCES)} sources. Below, two rows for each of {len(TARGETS)} "
    alt += "targets: the target and its swaps with these sources, then the true swaps."
    caption = "Sources and targets: test people in scenes of the swap matrix."
    sliders = {
        "Source": [f"person {person}" for person, _ in SOURCES],
        "Target": [f"person {person}" for person, _ in TARGETS],
    }
    return with_truths("pairs", "PairTab", table, sliders, alt, caption)


def with_truths(name, widget, table: list[list[lab.Swapped]], sliders, alt: str, caption: str) -> Sprite:
    """A sprite of swaps whose true swaps are known; in `table` a row is a source, a column a target."""
    rows = [[None, *[figures.to_pixels(row[0].x_source) for row in table]]]
    for column in zip(*table):
        rows.append([figures.to_pixels(column[0].x_target), *[marked(done.x_swap) for done in column]])
        rows.append([None, *[figures.to_pixels(done.x_true) for done in column]])
    columns, frames = len(rows[0]), []
    for setting in itertools.product(*[list(enumerate(steps)) for steps in sliders.values()]):
        s, t, *_ = [place for place, _ in setting] + [0]
        swap = (1 + 2 * t) * columns
        said = ", ".join(f"{label.lower()} {step}" for label, (_, step) in zip(sliders, setting))
        error = lab.error_over_copying(table[s][t])
        text = f"{said.capitalize()}: squared error to the true swap {error:.2f}; the target itself has 1."
        frames.append({"text": text, "tiles": [1 + s, swap, swap + 1 + s, swap + columns + 1 + s]})
    panels = ["source", "target", "swap", "true swap"]
    return Sprite(name, widget, rows, panels, 4, sliders, frames, alt, caption)


def write(folder: Path) -> None:
    """The sheets as files, and beside them what a page shows in a widget's place, under the widget's name."""
    for sprite in draw():
        (folder / f"{sprite.name}.webp").write_bytes(sprite.content())
        (folder / f"{sprite.widget}.html").write_text(sprite.html(), encoding="utf-8")
