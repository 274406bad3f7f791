"""Deepfakes (the program of 2017, as FaceForensics++ ran it): two people, one encoder, a decoder for each.

Pictures of both people, slightly warped, go through the shared encoder and their own decoder, which must give
the unwarped picture back: mean absolute error, nothing else. To swap, the target's code goes into the other
person's decoder, and the face is pasted into the hull of the target's landmarks. Nobody else can be swapped.

Not as in the program: channels are a quarter; the decoder draws the whole 64 px picture, where the program
cuts out the face; the edge is feathered, where FaceForensics++ used Poisson blending. The pictures are
rendered: the two people as they look in the test split (one state), in newly drawn attributes, which stand
for the frames of a film. No discriminator and no identity vector, as in the program.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from experiments.rivals.faceswap import hull_mask, soft_inside
from experiments.rivals.loop import Rival
from smoothswap_lib import render, world
from smoothswap_lib.datasets import to_float
from smoothswap_lib.files import atomic

ENCODER = (32, 64, 128, 256)  # channels at 32, 16, 8, 4 px
CODE = 256  # numbers between them
DECODER = (128, 64, 32, 16)  # channels at 8, 16, 32, 64 px
SAMPLES = 32  # light paths a pixel
GRID, SHIFT = 5, 2.0  # the warp's grid of points, and the deviation of a point's shift in pixels


class TwoPeople:
    """Pictures of two people of a split, rendered once into a file; what the loop asks of a data set."""

    def __init__(self, data, people: tuple[int, int], count: int, path: Path) -> None:
        rows = data.matrix_indices()[list(people), 0]
        if not path.exists():
            pictures = [
                _picture(data, int(row), n) for row in rows for n in tqdm(range(count), desc="render")
            ]
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, images=np.stack(pictures))
        with np.load(path) as file:
            self.images = torch.from_numpy(file["images"]).permute(0, 3, 1, 2)  # (2 count, 3, H, W) uint8
        self.size, self.identities = data.size, data.identities[rows].repeat(len(self.images) // 2)

    def __len__(self) -> int:
        return len(self.images)

    def image_batch(self, rows) -> Tensor:
        """(B, 3, H, W) in [-1, 1]."""
        return to_float(self.images[torch.as_tensor(rows)])


def _picture(data, row: int, number: int) -> np.ndarray:
    """(size, size, 3) uint8: the person and state of a row in attributes that no split has."""
    identity, state, _ = data.parameters(row)
    attributes = world.sample_attributes(np.random.default_rng([row, number]))
    return render.render(identity, state, attributes, data.size, SAMPLES, seed=number)


def _up(in_channels: int, out_channels: int) -> nn.Sequential:
    """(B, in, H, W) -> (B, out, 2 H, 2 W): each pixel becomes four."""
    conv = nn.Conv2d(in_channels, 4 * out_channels, 3, padding=1)
    return nn.Sequential(conv, nn.LeakyReLU(0.1), nn.PixelShuffle(2))


class Deepfakes(Rival):
    """A shared encoder and two decoders."""

    weights: ClassVar = {"reconstruction": 1.0}
    split = "test"
    people = (0, 1)  # their rows in the test split's matrix

    def __init__(self, size: int = 64, identity_dim: int = 128) -> None:
        super().__init__(size, identity_dim)
        convs = [nn.Conv2d(i, o, 5, 2, padding=2) for i, o in zip((3, *ENCODER), ENCODER)]
        last = size // 2 ** len(ENCODER)  # 4 px
        self.encoder = nn.Sequential(
            *(part for conv in convs for part in (conv, nn.LeakyReLU(0.1))), nn.Flatten(),
            nn.Linear(ENCODER[-1] * last**2, CODE), nn.Linear(CODE, ENCODER[-1] * last**2),
            nn.Unflatten(1, (ENCODER[-1], last, last)), _up(ENCODER[-1], DECODER[0]),
        )  # fmt: skip
        self.decoders = nn.ModuleList(
            nn.Sequential(*(_up(*channels) for channels in pairwise(DECODER)),
                          nn.Conv2d(DECODER[-1], 3, 5, padding=2), nn.Tanh())
            for _ in self.people
        )  # fmt: skip

    def training_data(self, data, folder, pictures):
        return TwoPeople(data, self.people, pictures, folder / f"deepfakes_{pictures}.npz")

    def draw(self, data, batch_size, step, rng):
        half = len(data) // 2
        rows = rng.integers(half, size=batch_size)
        rows[batch_size // 2 :] += half  # half of the batch is the second person
        return rows, rows, np.ones(batch_size, bool)

    def known(self, data, source, target, rng=None):
        """`person` (B,), whose decoder; in training the `warp` (B, 2, 5, 5), else the `hull` (B, 1, H, W)."""
        rows = -1 if isinstance(data, TwoPeople) else data.matrix_indices()[self.people[1], 0]
        known = {"person": torch.from_numpy(data.identities[source] == data.identities[rows]).long()}
        if rng is not None:
            shifts = rng.normal(0, 2 * SHIFT / data.size, (len(target), 2, GRID, GRID))
            return known | {"warp": torch.from_numpy(shifts).float()}
        hulls = [soft_inside(hull_mask(torch.from_numpy(data.landmarks(t)), data.size)) for t in target]
        return known | {"hull": torch.stack(hulls)[:, None]}

    def forward(self, x: Tensor, person: Tensor) -> Tensor:
        """Whole pictures (B, 3, size, size) in [-1, 1] as persons (B,), 0 or 1 -> the same shape."""
        code = self.encoder(x)  # (B, 128, size / 8, size / 8)
        drawn = torch.empty_like(x)
        for number, decoder in enumerate(self.decoders):
            if (chosen := person == number).any():
                drawn[chosen] = decoder(code[chosen]).to(x)  # (B', 3, size, size)
        return drawn

    def swap(self, pairs):
        drawn = self(pairs.x_target, pairs.known["person"])  # (B, 3, size, size)
        return pairs.x_target + pairs.known["hull"] * (drawn - pairs.x_target)

    def losses(self, pairs, embedder, discriminator):
        drawn = self(warped(pairs.x_target, pairs.known["warp"]), pairs.known["person"])
        return drawn, {"reconstruction": F.l1_loss(drawn, pairs.x_target)}


def warped(x: Tensor, shifts: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) whose points move by shifts (B, 2, 5, 5), in halves of the picture's width."""
    size = x.shape[-1]
    shifts = F.interpolate(shifts, (size, size), mode="bilinear", align_corners=True)  # (B, 2, H, W)
    unmoved = torch.eye(2, 3, device=x.device).expand(len(x), 2, 3)
    grid = F.affine_grid(unmoved, list(x.shape), align_corners=False) + shifts.permute(0, 2, 3, 1)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)  # (B, 3, H, W)
