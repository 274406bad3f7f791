"""The swap lab: sliders, menus and uploads around what `lab` computes, one class a tab.

Pictures are HTML with alt text, so that a screen reader has something to read. Every tab works by itself;
`swap_lab` shows all of them.
"""

import base64
import html
import io

import ipywidgets
import matplotlib as mpl
import numpy as np
import pandas as pd
from PIL import Image

from smoothswap_lib import figures
from smoothswap_lib.lab import lab

SIDE = 128  # pixels of one picture on the screen: twice those of a 64 px face
BRIGHT = 128  # gray levels of difference that are shown as the brightest color
LABEL = {"description_width": "112px"}
WIDE = ipywidgets.Layout(width="340px")
FRAMES_EACH_MS = 200  # of a playing film: a frame takes about half of it


def data_uri(pixels: np.ndarray) -> str:
    """(H, W, 3) uint8 as the address of a PNG picture that holds its own bytes."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return uri_of(file.getvalue())


def uri_of(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def figure(caption: str, pixels: np.ndarray | None, alt: str, side: int = SIDE) -> str:
    """One picture with its name; without pixels, its place."""
    box = f"width:{side}px;height:{side}px"
    if pixels is None:
        shown = f'<div style="{box};background:#eee;color:#555;text-align:center">rendering …</div>'
    else:
        style = f"{box};max-width:none;display:block"
        shown = f'<img src="{data_uri(pixels)}" alt="{html.escape(alt)}" style="{style}">'
    words = f'<figcaption style="line-height:1.25;margin-top:2px">{html.escape(caption)}</figcaption>'
    return f'<figure style="margin:0;width:{side}px">{shown}{words}</figure>'


def row(*figures_: str) -> str:
    style = "display:flex;flex-wrap:wrap;gap:8px;margin:6px 0"
    return f'<div style="{style}">{"".join(figures_)}</div>'


def paragraph(text: str, role: str = "status") -> str:
    """A line of text that a screen reader says when it changes; "alert" for what went wrong."""
    color = ";color:#b00020;font-weight:bold" if role == "alert" else ""
    return f'<p role="{role}" style="margin:4px 0;line-height:1.4{color}">{html.escape(text)}</p>'


def score_table(scores: pd.DataFrame, own: str) -> str:
    """The cosines of `Lab.scores`, with what kind of judge each embedder is."""
    cell = "padding:1px 12px 1px 0;text-align:right"
    heads = "".join(f'<th scope="col" style="{cell}">{name}</th>' for name in scores.columns)
    lines = []
    for name, values in scores.iterrows():
        kind = "the swapper was trained with it" if name == own else "took no part in the swapper's training"
        numbers = "".join(f'<td style="{cell}">{round(value, 2) + 0:.2f}</td>' for value in values)
        first = (
            f'<th scope="row" style="{cell};text-align:left;font-weight:normal"><b>{name}</b>: {kind}</th>'
        )
        lines.append(f"<tr>{first}{numbers}</tr>")
    words = "Cosines by embedders that share one trunk and one set of people"
    caption = f'<caption style="text-align:left">{words}</caption>'
    top = f'<tr><th scope="col" style="{cell};text-align:left">judge</th>{heads}</tr>'
    return f'<table style="border-collapse:collapse;line-height:1.4">{caption}{top}{"".join(lines)}</table>'


def difference_picture(values: np.ndarray) -> np.ndarray:
    """(H, W) gray levels of difference as (H, W, 3) uint8: dark blue is none, yellow BRIGHT and more."""
    return (mpl.colormaps["cividis"](np.clip(values / BRIGHT, 0, 1))[..., :3] * 255).round().astype(np.uint8)


def swap_view(room: lab.Lab, done: lab.Swapped, source: str, target: str, before=None) -> str:
    """Source, target, swap, true swap, difference and scores, as far as they are known."""
    shown = [("source", done.x_source, source), ("target", done.x_target, target)]
    shown += (
        [("swap, no drift", before, f"the same person without drift, swapped into {target}")]
        if before is not None
        else []
    )
    shown += [("swap", done.x_swap, f"{source} swapped into {target}")]
    shown += [("true swap", done.x_true, f"the true swap of {source} into {target}")]
    tiles = [
        figure(name, None if x is None else figures.to_pixels(x), f"{name}: {alt}") for name, x, alt in shown
    ]
    if done.x_true is None:
        return row(*tiles, figure("difference", None, ""))
    values = lab.difference(done.x_swap, done.x_true)
    alt = f"absolute difference of swap and true swap, on average {values.mean():.0f} gray levels"
    tiles.append(figure("difference", difference_picture(values), alt))
    error = lab.error_over_copying(done)
    text = f"Difference: {values.mean():.0f} gray levels on average (yellow: {BRIGHT} and more). "
    text += f"Squared error to the true swap: {error:.2f} of what handing back the target gives."
    return row(*tiles) + paragraph(text) + score_table(room.scores(done), room.own)


def number(name: str, top: int, value: int, **options) -> ipywidgets.IntSlider:
    """A slider over whole numbers from 0."""
    value = min(value, top)
    return ipywidgets.IntSlider(
        value=value, min=0, max=top, description=name, style=LABEL, layout=WIDE, **options
    )


def share(name: str, least: float, most: float, value: float) -> ipywidgets.FloatSlider:
    """A slider over a range; it answers when it is let go, because what it asks for must be rendered."""
    return ipywidgets.FloatSlider(
        value=value, min=least, max=most, step=0.01, description=name, continuous_update=False,
        style=LABEL, layout=WIDE,
    )  # fmt: skip


class Tab(ipywidgets.VBox):
    """Controls above a view; a change of any control draws the view again.

    Attributes
    ----------
    controls : name -> widget whose value counts
    view : the HTML below them
    """

    title = ""
    promise = ""

    def __init__(self, room: lab.Lab, controls: dict[str, ipywidgets.Widget], others=()):
        self.room, self.controls, self.view, self.held = room, controls, ipywidgets.HTML(), False
        flow = ipywidgets.Layout(flex_flow="row wrap", align_items="center")
        panel = ipywidgets.Box([*controls.values(), *others], layout=flow)
        super().__init__([ipywidgets.HTML(paragraph(self.promise)), panel, self.view])
        for control in controls.values():
            control.observe(self._changed, names="value")
        self.update()

    def __repr__(self) -> str:  # what a page without a kernel shows
        return f"{type(self).__name__}: run the notebook to use it; a static figure stands beside it"

    def value(self, name: str):
        return self.controls[name].value

    def place(self, who: str) -> lab.Place:
        """(person, scene) of the two sliders that say so."""
        return self.value(f"{who} person"), self.value(f"{who} scene")

    def _changed(self, change) -> None:
        if not self.held:
            self.update()

    def update(self) -> None:
        """Draw the view for what the controls say."""
        raise NotImplementedError


def place_sliders(room: lab.Lab, who: str, person: int, scene: int) -> dict[str, ipywidgets.IntSlider]:
    """Two sliders for a picture of the swap matrix."""
    return {
        f"{who} person": number(f"{who} person", room.people - 1, person),
        f"{who} scene": number(f"{who} scene", room.scenes - 1, scene),
    }


def named(place: lab.Place) -> str:
    return f"test person {place[0]} in scene {place[1]}"


class PairTab(Tab):
    """Source and target from the test faces."""

    title = "Pairs"
    promise = "Two pictures of the swap matrix: the true swap is a picture of it too."

    def __init__(self, room: lab.Lab, source: lab.Place = (13, 6), target: lab.Place = (3, 0)):
        super().__init__(
            room, place_sliders(room, "source", *source) | place_sliders(room, "target", *target)
        )

    def update(self) -> None:
        source, target = self.place("source"), self.place("target")
        self.view.value = swap_view(self.room, self.room.pair(source, target), named(source), named(target))


class PathTab(Tab):
    """The source moves from A to B (Fig. 9)."""

    title = "From A to B"
    promise = (
        "The source moves from A to B. Below: whose picture each embedder finds nearest to its own point, "
        "A and B left out."
    )

    def __init__(self, room: lab.Lab, a: lab.Place = (13, 6), b: lab.Place = (28, 6), target=(3, 0)):
        controls = place_sliders(room, "A", *a) | place_sliders(room, "B", *b)
        controls |= place_sliders(room, "target", *target)
        controls["r"] = number("way, percent", 100, 50)
        self.play = ipywidgets.Play(min=0, max=100, step=2, value=50, interval=FRAMES_EACH_MS)
        ipywidgets.jslink((self.play, "value"), (controls["r"], "value"))
        super().__init__(room, controls, [self.play])

    def update(self) -> None:
        a, b, target, r = self.place("A"), self.place("B"), self.place("target"), self.value("r") / 100
        point = self.room.between(a, b, target, r)
        swap_alt = f"{r:.0%} of the way from {named(a)} to {named(b)}, swapped into {named(target)}"
        ends = [("A", self.room.face(a), named(a)), ("B", self.room.face(b), named(b))]
        shown = [ends[0], (f"swap at r = {r:.2f}", point.x_swap, swap_alt), ends[1]]
        shown += [("target", self.room.face(target), named(target))]
        met = [
            (f"{name}: person {place[0]}", self.room.face(place), f"nearest for {name}: {named(place)}")
            for name, place in point.nearest.items()
        ]
        rows = (
            [figure(name, figures.to_pixels(x), f"{name}: {alt}") for name, x, alt in part]
            for part in (shown, met)
        )
        self.view.value = "".join(row(*tiles) for tiles in rows)


class RenderTab(Tab):
    """A tab whose source is rendered: the swap is shown at once, the true swap when it is there."""

    def show(self, person: lab.Person, source: str, before=None) -> None:
        target = self.place("target")
        done = self.room.made(person, target)
        self.view.value = swap_view(self.room, done, source, named(target), before)
        done = self.room.with_truth(done, person, target)
        self.view.value = swap_view(self.room, done, source, named(target), before)


class PersonTab(RenderTab):
    """A source made with sliders."""

    title = "Make a person"
    promise = (
        "Draw somebody who does not exist, then change what you like. The true swap follows a moment later."
    )

    def __init__(self, room: lab.Lab, seed: int = 5, target: lab.Place = (3, 0)):
        values = lab.traits_of(lab.drawn(seed)[0])
        controls = {"seed": number("drawn person", 99, seed, continuous_update=False)}
        controls |= {name: share(name, a, b, values[name]) for name, (_, a, b) in lab.TRAITS.items()}
        for name, choices in lab.STYLES.items():
            controls[name] = ipywidgets.Dropdown(
                options=choices, value=values[name], description=name, style=LABEL, layout=WIDE
            )
        super().__init__(room, controls | place_sliders(room, "target", *target))
        controls["seed"].observe(self._drawn, names="value")

    def _changed(self, change) -> None:
        if change["owner"] is not self.controls["seed"]:  # whose change sets the others first
            super()._changed(change)

    def _drawn(self, change) -> None:
        self.held = True
        for name, value in lab.traits_of(lab.drawn(change["new"])[0]).items():
            self.controls[name].value = value
        self.held = False
        self.update()

    def update(self) -> None:
        identity, state, attributes = lab.drawn(self.value("seed"))
        values = {name: self.value(name) for name in (*lab.TRAITS, *lab.STYLES)}
        person = lab.with_traits(identity, values), state, attributes
        self.show(person, f"a person made with sliders from drawn person {self.value('seed')}")


class DriftTab(RenderTab):
    """Age and weight of a test person (Sec. 4.1)."""

    title = "Age and weight"
    promise = (
        "The source's age and weight drift, as between two photographs of one person. Does the swap follow "
        "as far as the true swap does?"
    )

    def __init__(self, room: lab.Lab, source: lab.Place = (28, 6), target: lab.Place = (3, 0)):
        controls = place_sliders(room, "source", *source)
        controls |= {"age": share("age", *lab.AGES, 0.0), "weight": share("weight", *lab.WEIGHTS, 0.0)}
        super().__init__(room, controls | place_sliders(room, "target", *target))

    def update(self) -> None:
        source, target = self.place("source"), self.place("target")
        age, weight = self.value("age"), self.value("weight")
        person = self.room.person(source)
        before = self.room.made(lab.drifted(person, 0.0, 0.0), target).x_swap
        who = f"test person {source[0]}, age {age:+.2f}, weight {weight:+.2f}"
        self.show(lab.drifted(person, age, weight), who, before)


class UploadTab(Tab):
    """Two picture files: aligned, swapped, pasted back, marked."""

    title = "Your pictures"
    promise = (
        "Two pictures of people who agreed to this. The files go to this kernel only, and the widgets forget "
        "them at once. What is shown is saved with the notebook: press 'Forget' before. The shipped networks "
        "know rendered faces only, so expect little of a photograph."
    )

    def __init__(self, room: lab.Lab):
        uploads = {
            who: ipywidgets.FileUpload(
                accept="image/*", multiple=False, description=f"{who} picture", layout=WIDE
            )
            for who in ("source", "target")
        }
        box = ipywidgets.Checkbox(value=False, description=lab.TICK, style=LABEL, layout=WIDE)
        self.files: dict[str, tuple[str, bytes]] = {}  # in the kernel's memory only
        self.forget = ipywidgets.Button(description="Forget", tooltip="Forget both pictures and the swap")
        self.forget.on_click(lambda _: (self.files.clear(), self.update()))
        super().__init__(room, uploads | {"crops": box}, [self.forget])

    def update(self) -> None:
        for who in ("source", "target"):
            if self.value(who):
                self.files[who] = uploaded(self.value(who))
                self.held = True  # what the widget holds would be saved with the notebook
                for trait in {"value", "data", "metadata"} & set(self.controls[who].trait_names()):
                    self.controls[who].set_trait(trait, type(getattr(self.controls[who], trait))())
                self.held = False
        source, target = self.files.get("source"), self.files.get("target")
        if source is None or target is None:
            hint = "A square picture counts as a face crop; in another one the face is looked for."
            self.view.value = paragraph(f"Choose two picture files. {hint}")
            return
        try:
            made = lab.swap_uploads(source, target, self.value("crops"), self.room.weights)
        except lab.LabError as error:
            self.view.value = paragraph(f"No swap was made: {error}.", "alert")
            return
        self.view.value = upload_view(made, source[0], target[0])


def uploaded(value) -> tuple[str, bytes] | None:
    """(name, content) of an upload widget's file; ipywidgets 7 has a dictionary by name, 8 a tuple."""
    if not value:
        return None
    if isinstance(value, dict):
        name, file = next(iter(value.items()))
        return name, bytes(file["content"])
    return value[-1]["name"], bytes(value[-1]["content"])


def upload_view(made: lab.MarkedSwap, source: str, target: str) -> str:
    """The faces as the networks saw them, the marked picture, what it says of itself, a link to keep it."""
    faces = {"source": made.done.x_source, "target": made.done.x_target, "swap": made.done.x_swap}
    tiles = [
        figure(f"{n} face", figures.to_pixels(x), f"{n}, as the networks see it") for n, x in faces.items()
    ]
    uri = uri_of(made.content)
    alt = html.escape(f"{target} with the identity of {source}, marked as synthetic")
    caption = "<figcaption>the target picture with the swap in it, marked</figcaption>"
    style = f"max-width:100%;min-width:{SIDE}px;display:block"
    whole = f'<figure style="margin:0"><img src="{uri}" alt="{alt}" style="{style}">{caption}</figure>'
    keep = (
        f'<a download="swap.png" href="{uri}" style="text-decoration:underline">Keep the marked picture</a>'
    )
    said = "".join(paragraph(line) for line in str(made.verdict).splitlines())
    said += "".join(map(paragraph, made.done.notes))
    return row(*tiles) + whole + said + keep


TABS = (PairTab, PathTab, PersonTab, DriftTab, UploadTab)


class SwapLab(ipywidgets.Tab):
    """All tabs of the lab; `tabs` holds them in order."""

    def __init__(self, room: lab.Lab):
        self.tabs = [kind(room) for kind in TABS]
        super().__init__(self.tabs)
        for position, tab in enumerate(self.tabs):
            self.set_title(position, tab.title)

    def __repr__(self) -> str:
        return "SwapLab: run the notebook to use it; static figures stand beside its tabs"


def swap_lab(generator: str = "swapper") -> SwapLab:
    """The whole lab, for one line in any notebook."""
    return SwapLab(lab.Lab(generator))
