"""The swap lab without its widgets: what each tab shows for given settings, as arrays.

A place in the swap matrix is (person, scene), two numbers from 0. Images are (3, H, W) in [-1, 1].
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from smoothswap_lib import checkpoints, datasets, evaluation, smoothness, world
from smoothswap_lib.lab import marking, photographs
from smoothswap_lib.render import render

JUDGES = ("robust", "printed")  # those that know the third edition of the faces
GALLERY_SCENES = (0, 6, 12, 18)  # pictures of each person that can be met on the way from A to B
SAMPLES = 8  # light paths a pixel of a face that a slider makes: with many more it would not answer in 300 ms
AGES = WEIGHTS = (-0.25, 0.25)  # how far `world.sample_state` drifts
GRAY_LEVELS = 127.5  # a unit of [-1, 1] in those of an 8 bit picture

TRAITS = {  # slider: (field of the identity or name of a local shape, least, most)
    "age": ("age", 0.05, 0.95),
    "weight": ("weight", 0.05, 0.95),
    "melanin": ("melanin", 0.0, 1.0),
    "gray hair": ("gray", 0.0, 1.0),
    "head width": ("head-scale-horiz-incr", -1.0, 1.0),
    "chin width": ("chin-width-incr", -1.0, 1.0),
    "nose width": ("nose-scale-horiz-incr", -1.0, 1.0),
    "nose length": ("nose-scale-vert-incr", -1.0, 1.0),
}
HAIR_COLORS = dict(
    zip(("black", "dark brown", "brown", "dark blond", "blond", "red"), world.HAIR_COLORS, strict=True)
)
STYLES = {"hair color": tuple(HAIR_COLORS), "beard": world.BEARD_STYLES}
TICK = "face crops"  # the box for pictures that are crops already
NO_DRIFT = world.State()

Place = tuple[int, int]
Person = tuple[world.Identity, world.State, world.Attributes]  # the attributes are the source picture's


class LabError(ValueError):
    """What a visitor can mend, in words for them: a file that is no image, a picture without a face."""


@dataclass(frozen=True)
class Swapped:
    """Images (3, H, W) in [-1, 1]; the true swap is None until it is rendered."""

    x_source: Tensor
    x_target: Tensor
    x_swap: Tensor
    x_true: Tensor | None = None


@dataclass(frozen=True)
class Between:
    """The swap of a point between two sources, and whom each embedder finds nearest to its own point."""

    x_swap: Tensor  # (3, H, W)
    nearest: dict[str, Place]  # embedder's name -> where its picture stands in the matrix


@dataclass(frozen=True)
class MarkedSwap:
    """A swap of two uploads: a PNG file's bytes, what the file says of itself, and what it was made of."""

    content: bytes
    verdict: marking.Verdict
    done: photographs.PhotographSwap


class Lab:
    """The test faces and the shipped networks, loaded once.

    Parameters
    ----------
    generator : a shipped name, a run's folder or a file

    Attributes
    ----------
    own : the name of the embedder that the generator was trained with
    embedders : name -> embedder, its own first
    people, scenes : the size of the swap matrix
    """

    def __init__(self, generator: str | Path = "swapper"):
        self.weights = generator
        self.generator = checkpoints.load_generator(generator)
        self.own = checkpoints.read_metadata(checkpoints.weights_path(generator))["embedder"]
        names = [self.own, *(name for name in JUDGES if name != self.own and name in checkpoints.shipped())]
        self.embedders = {name: checkpoints.load_embedder(name) for name in names}
        self.test = datasets.TrueSwap("test", size=64)
        self.indices = self.test.matrix_indices()
        self.people, self.scenes = self.indices.shape
        self.gallery = [(person, scene) for person in range(self.people) for scene in GALLERY_SCENES]
        self._galleries: dict[str, Tensor] = {}

    def face(self, place: Place) -> Tensor:
        """(3, H, W): a picture of the swap matrix."""
        return self.test.image_batch([self.indices[place]])[0]

    def person(self, place: Place) -> Person:
        """What that picture was rendered from."""
        return self.test.parameters(int(self.indices[place]))

    @torch.inference_mode()
    def swap(self, x_source: Tensor, x_target: Tensor, x_true: Tensor | None = None) -> Swapped:
        """The swap of two images, kept together with them."""
        z_source = self.embedders[self.own](x_source[None])  # (1, dim)
        return Swapped(x_source, x_target, self._put(z_source[0], x_target), x_true)

    @torch.inference_mode()
    def _put(self, z: Tensor, x_target: Tensor) -> Tensor:
        return self.generator(x_target[None], z[None])[0].clamp(-1, 1)  # (3, H, W)

    def pair(self, source: Place, target: Place) -> Swapped:
        """The swap of two pictures of the matrix; its true swap is a picture of the matrix too."""
        return self.swap(self.face(source), self.face(target), self.face((source[0], target[1])))

    def scores(self, done: Swapped) -> pd.DataFrame:
        """What each embedder says of a swap and, as the mark to reach, of the true swap.

        Returns
        -------
        DataFrame of cosines, a row an embedder; columns "swap to source", "true swap to source",
        "swap to target"
        """
        images = torch.stack([done.x_source, done.x_target, done.x_swap, done.x_true])
        rows = {}
        for name, embedder in self.embedders.items():
            source, target, swap, true = evaluation.embed(images, embedder)
            pairs = {"swap to source": (swap, source), "true swap to source": (true, source)}
            pairs["swap to target"] = (swap, target)
            rows[name] = {column: (a @ b).item() for column, (a, b) in pairs.items()}
        return pd.DataFrame.from_dict(rows, orient="index")

    def between(self, a: Place, b: Place, target: Place, r: float) -> Between:
        """The point at ratio r from source A to source B, swapped into a target (Fig. 9 as a moving face).

        Pictures of A and B themselves are not retrieved, so that other people are met on the way.
        """
        ends = torch.stack([self.face(a), self.face(b)])
        own_pictures = [i for i, (person, _) in enumerate(self.gallery) if person in (a[0], b[0])]
        points, nearest = {}, {}
        for name, embedder in self.embedders.items():
            points[name] = smoothness.slerp(*evaluation.embed(ends, embedder), r)  # (dim,)
            gallery, excluded = self._gallery(name), torch.tensor([own_pictures])
            index, _ = smoothness.nearest(points[name][None], gallery, excluded)
            nearest[name] = self.gallery[int(index)]
        return Between(self._put(points[self.own], self.face(target)), nearest)

    def _gallery(self, name: str) -> Tensor:
        """(gallery, dim) of an embedder, computed when it is first asked for."""
        if name not in self._galleries:
            images = self.test.image_batch(self.indices[tuple(np.transpose(self.gallery))])
            self._galleries[name] = evaluation.embed(images, self.embedders[name])
        return self._galleries[name]

    def made(self, person: Person, target: Place, samples: int = SAMPLES) -> Swapped:
        """The swap of somebody who is rendered now; the true swap would take another render."""
        return self.swap(picture(*person, self.test.size, samples), self.face(target))

    def with_truth(self, done: Swapped, person: Person, target: Place, samples: int = SAMPLES) -> Swapped:
        """What `made` gave, with the true swap."""
        attributes = self.person(target)[2]
        return replace(done, x_true=picture(*person[:2], attributes, self.test.size, samples))


@lru_cache(maxsize=256)  # a slider that goes back shows what it showed; 256 pictures are 12 MB
def picture(identity, state, attributes, size: int, samples: int) -> Tensor:
    """(3, size, size) in [-1, 1]: `render` as a tensor."""
    pixels = torch.from_numpy(render(identity, state, attributes, size, samples))  # (size, size, 3)
    return datasets.to_float(pixels.permute(2, 0, 1))


def drawn(seed: int) -> Person:
    """A person who does not exist, in a passport picture, and without drift."""
    identity = world.sample_identity(np.random.default_rng(seed))
    return identity, NO_DRIFT, world.neutral_attributes()


def drifted(person: Person, age: float, weight: float) -> Person:
    """The same person with another state: the drift of Sec. 4.1."""
    identity, state, attributes = person
    return identity, replace(state, age=age, weight=weight), attributes


def traits_of(identity: world.Identity) -> dict[str, float | str]:
    """Where the sliders and menus of TRAITS and STYLES stand for an identity."""
    shape = dict(zip(world.PAIRED_SHAPES + world.SINGLE_SHAPES, identity.shape, strict=True))
    values = {
        name: shape.get(field, getattr(identity, field, None)) for name, (field, _, _) in TRAITS.items()
    }
    hues = {name: np.subtract(_hue(color), _hue(identity.hair)) for name, color in HAIR_COLORS.items()}
    nearest = min(hues, key=lambda name: np.abs(hues[name]).sum())
    return values | {"hair color": nearest, "beard": identity.beard_style}


def _hue(color) -> np.ndarray:
    return np.log(np.asarray(color))  # a drawn color is a named one times a factor


def with_traits(identity: world.Identity, values: Mapping[str, float | str]) -> world.Identity:
    """The identity with what was moved; what stands where `traits_of` has it stays as it was drawn."""
    before, shape, changes = traits_of(identity), list(identity.shape), {}
    for name in (name for name, value in values.items() if value != before[name]):
        if name == "hair color":
            changes["hair"] = HAIR_COLORS[values[name]]
        elif name == "beard":
            changes["beard_style"] = values[name]
        elif (field := TRAITS[name][0]) in world.PAIRED_SHAPES + world.SINGLE_SHAPES:
            shape[(world.PAIRED_SHAPES + world.SINGLE_SHAPES).index(field)] = values[name]
        else:
            changes[field] = values[name]
    return replace(identity, shape=tuple(shape), **changes)


def difference(x: Tensor, x_reference: Tensor) -> np.ndarray:
    """(H, W): the mean absolute difference of the three channels, in gray levels from 0 to 255."""
    return (x - x_reference).abs().mean(0).mul(GRAY_LEVELS).numpy()


def error_over_copying(done: Swapped) -> float:
    """Squared error to the true swap, over the target's: 0 is right, 1 is to hand back the target."""
    error, copying = ((x - done.x_true).square().mean().item() for x in (done.x_swap, done.x_target))
    return error / copying if copying else float("nan")


def swap_uploads(
    source: tuple[str, bytes], target: tuple[str, bytes], crops: bool = False, weights: str | Path = "swapper"
) -> MarkedSwap:
    """Two uploaded picture files, aligned, swapped, pasted back and marked; no file stays on the disk.

    Parameters
    ----------
    source, target : (name, content of the file)
    crops : both are face crops, of which the middle square is taken; otherwise a square picture counts as a
        crop, and in another one the face is looked for

    Raises
    ------
    LabError
        Which picture cannot be used, why, and what to do.
    """
    with TemporaryDirectory() as folder:
        files = {Path(folder) / "source": source, Path(folder) / "target": target}
        out = Path(folder) / "swap.png"
        for path, (_, content) in files.items():
            path.write_bytes(content)

        def named(text: str) -> str:
            for path, (name, _) in files.items():
                text = text.replace(str(path), f"the {path.name} ({name})")
            return text.replace("say --aligned", f"tick '{TICK}'")

        try:
            kind = "crops" if crops else "auto"
            done = photographs.swap_files(*files, out, faces=kind, weights=weights)
        except (OSError, ValueError, ModuleNotFoundError) as error:
            raise LabError(named(str(error))) from error
        done = replace(done, notes=tuple(map(named, done.notes)))
        return MarkedSwap(out.read_bytes(), marking.verify(out), done)
