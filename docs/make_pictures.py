"""Draw the pictures that the README shows: `python docs/make_pictures.py [NAME ...]`.

They come from the shipped weights, the shipped test split and the renderer, and from nothing else. Who is in
them is drawn with SEED; no pair was chosen by its looks. The moving ones take about four minutes.
"""

import argparse
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

from smoothswap_lib import datasets, figures, load_embedder, load_generator, swap
from smoothswap_lib.render import render
from smoothswap_lib.smoothness import slerp

SEED = 0
IMAGES = Path(__file__).resolve().parent / "images"
TEXT = "Synthetic: swaps by a neural network, of rendered faces of nobody"
NUM_STILL = 10  # columns of the still
NUM_TURNING = 5  # columns of the turning heads
TURN_FRAMES, TURN_MILLISECONDS = 30, 90
NUM_SOURCES, NUM_TARGETS = 4, 6  # of the walk
STEPS_PER_LEG, WALK_MILLISECONDS = 12, 110
TILE = 1.28  # inches: at 100 dots an inch two screen pixels a pixel


def draw_people(columns: int) -> tuple[datasets.TrueSwap, np.ndarray, np.ndarray]:
    """The test split; people and pictures of sources and targets, (2, columns) each; nobody comes twice."""
    test = datasets.TrueSwap("test", size=64)
    people, pictures = test.matrix_indices().shape
    rng = np.random.default_rng(SEED)
    drawn = rng.permutation(people)[: 2 * columns].reshape(2, -1)
    return test, drawn, rng.integers(pictures, size=(2, columns))


def still() -> None:
    """Ten swaps beside their true swaps; the first pair as files of their own, to try the command with."""
    test, (source, target), (from_picture, to_picture) = draw_people(NUM_STILL)
    matrix = test.matrix()  # (people, pictures, 3, H, W)
    x_source, x_target = matrix[source, from_picture], matrix[target, to_picture]  # (B, 3, H, W)
    figure = figures.swap_figure(x_source, x_target, swap(x_source, x_target), matrix[source, to_picture])
    figure.savefig(IMAGES / "swaps.png", dpi=110, metadata={"Description": TEXT})
    for name, x in (("source", x_source[0]), ("target", x_target[0])):
        Image.fromarray(figures.to_pixels(x)).save(IMAGES / f"{name}.png", optimize=True)


def turned(scene, phase: float):
    """A picture's attributes with the head turned: one round of `phase` in [0, 1) ends where it began."""
    yaw, pitch = 30 * np.sin(2 * np.pi * phase), 8 * np.sin(4 * np.pi * phase)
    return dataclasses.replace(scene, yaw=float(yaw), pitch=float(pitch))


def clip(identity, state, scene) -> torch.Tensor:
    """(TURN_FRAMES, 3, 64, 64) in [-1, 1]: one rendered person turns the head once around."""
    scenes = [turned(scene, k / TURN_FRAMES) for k in range(TURN_FRAMES)]
    frames = np.stack([render(identity, state, scene, 64, 64) for scene in scenes])
    return datasets.to_float(torch.from_numpy(frames).permute(0, 3, 1, 2))


def turning() -> None:
    """Targets turn their heads; every frame is swapped alone; the true clips are rendered beside them."""
    test, (source, target), (from_picture, to_picture) = draw_people(NUM_TURNING)
    rows = test.matrix_indices()
    x_source = test.image_batch(rows[source, from_picture])
    columns = []
    for k, x in enumerate(x_source):
        who, person = test.parameters(int(rows[source[k], from_picture[k]])), rows[target[k], to_picture[k]]
        identity, state, scene = test.parameters(int(person))
        x_target = clip(identity, state, scene)
        x_swap = swap(x.expand(TURN_FRAMES, -1, -1, -1), x_target)
        columns.append((x.expand_as(x_target), x_target, x_swap, clip(*who[:2], scene)))
    grids = torch.stack([torch.stack(column) for column in columns]).transpose(
        0, 2
    )  # (frames, 4, columns, 3, H, W)
    names = ["source", "target", "swap", "true swap"]
    save_moving("turning", [list(grid) for grid in grids], names, TURN_MILLISECONDS)


def walk_frames() -> Iterator[list[list]]:
    """One grid a frame: one source turns into the next along Slerp, and all targets get the same vector."""
    test, people, pictures = draw_people(max(NUM_SOURCES, NUM_TARGETS))
    x_source, x_target = (test.image_batch(test.matrix_indices()[p, k]) for p, k in zip(people, pictures))
    x_source, x_target = x_source[:NUM_SOURCES], x_target[:NUM_TARGETS]
    embedder, generator = load_embedder(), load_generator()
    with torch.no_grad():
        z = embedder(x_source)  # (NUM_SOURCES, dim)
    for leg in range(NUM_SOURCES):
        for r in np.arange(STEPS_PER_LEG) / STEPS_PER_LEG:
            z_between = slerp(z[[leg]], z[[(leg + 1) % NUM_SOURCES]], float(r)).expand(NUM_TARGETS, -1)
            with torch.no_grad():
                made = generator(x_target, z_between).clamp(-1, 1)
            yield [sources_row(x_source, leg, r), list(x_target), list(made)]


def sources_row(x_source, leg: int, r: float) -> list:
    """The sources, each as bright as it counts in the mixture at `r`; empty places after them."""
    weights = np.zeros(NUM_SOURCES)
    weights[leg] += 1 - r
    weights[(leg + 1) % NUM_SOURCES] += r
    shown = [x * float(w) + (1 - float(w)) * (0.25 * x + 0.75) for x, w in zip(x_source, weights)]
    return shown + [None] * (NUM_TARGETS - NUM_SOURCES)


def walking() -> None:
    """The paper's Fig. 9 as moving faces: the source walks along Slerp, the targets stand still."""
    names = ["source", "target", "swap"]
    save_moving("walking", walk_frames(), names, WALK_MILLISECONDS)


def save_moving(name: str, grids: Iterable[list], row_names: list[str], milliseconds: int) -> None:
    """Write image grids as the frames of an endless WebP, which says of itself that it is synthetic."""
    frames = []
    for grid in grids:
        figure = figures.show_grid(grid, row_names, tile=TILE)
        figure.canvas.draw()
        frames.append(Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()))
        plt.close(figure)
    exif = Image.Exif()
    exif[0x010E] = TEXT  # ImageDescription
    path = IMAGES / f"{name}.webp"
    options = {"duration": milliseconds, "loop": 0, "quality": 80, "method": 4, "exif": exif.tobytes()}
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    print(f"{path.name}: {len(frames)} frames of {frames[0].size}, {path.stat().st_size / 1e6:.2f} MB")


def main() -> None:
    pictures = {"still": still, "turning": turning, "walking": walking}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(pictures)}; none: all")
    names = parser.parse_args().names
    if unknown := sorted(set(names) - set(pictures)):
        parser.error(f"no picture is called {', '.join(unknown)}: there are {', '.join(pictures)}")
    matplotlib.use("Agg")
    figures.use_style()
    IMAGES.mkdir(exist_ok=True)
    for name in names or pictures:
        pictures[name]()


if __name__ == "__main__":
    main()
