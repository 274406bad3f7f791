"""The judge of swaps that is trained on TrueSwap: it reads what the renderer was told.

`JudgeTrunk` is a plain stack of convolutions. It reads head pose, expression, shape of face and colors.
Shape and expression are principal components of what they do to the 68 landmarks of a frontal face in FFHQ's
crop, so their units are pixels of a 64 px image.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from smoothswap_lib import checkpoints
from smoothswap_lib.datasets import TrueSwap
from smoothswap_lib.datasets.alignment import ffhq_quad
from smoothswap_lib.files import atomic, data_folder
from smoothswap_lib.layers import channels_last
from smoothswap_lib.render.head import HeadModel, load_head
from smoothswap_lib.world.traits import ACTIONS, Attributes, Identity, State

SIZE = 64  # pixels of the crop that shapes and expressions are measured in
SHAPES, EXPRESSIONS = 8, 8  # principal components
POSE = ("attributes.yaw", "attributes.pitch", "attributes.roll")  # degrees
COLORS = ("identity.melanin", "identity.hair.red", "identity.hair.green", "identity.hair.blue")
WIDTHS = (32, 64, 128, 192)


class JudgeTrunk(nn.Module):
    """Image -> features: strided convolutions, two a resolution, then the mean over the last map."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in WIDTHS:
            for stride in (2, 1):
                kernel = 5 if channels == 3 else 3
                layers += [
                    nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                ]
                channels = width
        self.trunk = nn.Sequential(*layers)
        self.fc0 = nn.Linear(channels * 16, 256)  # 4 x 4: where something is matters
        self.fc1 = nn.Linear(256, outputs)
        channels_last(self)

    def features(self, x: Tensor) -> Tensor:
        """(B, 3, 64, 64) in [-1, 1] -> (B, 256): what the last layer sees."""
        return F.relu(self.fc0(self.trunk(x).flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 64, 64) in [-1, 1] -> (B, outputs)."""
        return self.fc1(self.features(x))


class ParameterJudge(JudgeTrunk):
    """Image -> what the renderer was told, in the units of `targets`."""

    def __init__(self, outputs: int) -> None:
        super().__init__(outputs)
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("deviation", torch.ones(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 64, 64) in [-1, 1] -> (B, outputs)."""
        return self.standardized(x) * self.deviation + self.mean

    def standardized(self, x: Tensor) -> Tensor:
        """The same with mean 0 and variance 1, as it is trained."""
        return super().forward(x)


def names() -> list[str]:
    """What the parameter judge puts out, in order."""
    shapes = [f"shape {k}" for k in range(SHAPES)]
    return [*POSE, *(f"expression {k}" for k in range(EXPRESSIONS)), *shapes, *COLORS]


def groups() -> dict[str, slice]:
    """Which outputs make which score."""
    ends = np.cumsum([0, len(POSE), EXPRESSIONS, SHAPES, len(COLORS)])
    return {
        name: slice(int(a), int(b))
        for name, a, b in zip(("pose", "expression", "shape", "colors"), ends[:-1], ends[1:])
    }


@dataclass(frozen=True)
class Components:
    """Principal components of a set of landmark displacements."""

    mean: np.ndarray  # (136,)
    axes: np.ndarray  # (components, 136)
    share: float  # of the variance

    @staticmethod
    def of(displacements: np.ndarray, count: int) -> Components:
        """The first `count` components of (N, 136)."""
        mean = displacements.mean(0)
        _, singular, axes = np.linalg.svd(displacements - mean, full_matrices=False)
        share = float((singular[:count] ** 2).sum() / (singular**2).sum())
        return Components(mean, axes[:count], share)

    def coordinates(self, displacements: np.ndarray) -> np.ndarray:
        """(N, 136) -> (N, components), pixels: the root of the sum of squares over all landmarks."""
        return (displacements - self.mean) @ self.axes.T


def frontal_landmarks(
    head: HeadModel, identity: Identity, state: State, attributes: Attributes
) -> tuple[np.ndarray, np.ndarray]:
    """A face from the front, in FFHQ's crop: its shape, and what its expression adds, (136,) pixels each."""
    neutral = dataclasses.replace(attributes, actions=(0.0,) * len(ACTIONS))
    points = [
        head.deform(identity, state, a)[head.landmarks][:, [0, 2]] * [1e4, -1e4]
        for a in (neutral, attributes)
    ]
    top_left, _, bottom_right, _ = ffhq_quad(points[0])
    scale = SIZE / (bottom_right - top_left)
    shape, moved = ((p - top_left) * scale for p in points)
    return shape.ravel(), (moved - shape).ravel()


def landmark_table(data: TrueSwap, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Shapes and expressions of all images of a split, (images, 136) each; computed once, then read."""
    if not cache.exists():
        shape, expression = _landmark_table(data, cache.stem)
        with atomic(cache) as path, open(path, "wb") as file:
            np.savez(file, shape=shape, expression=expression)
    with np.load(cache) as arrays:
        return arrays["shape"], arrays["expression"]


def _landmark_table(data: TrueSwap, title: str) -> tuple[np.ndarray, ...]:
    head = load_head(str(data_folder() / "head_model.npz")).only_landmarks()
    found = [
        frontal_landmarks(head, *data.parameters(index))
        for index in tqdm(range(len(data)), desc=title, unit="image")
    ]
    return tuple(np.stack(part) for part in zip(*found))


def targets(
    data: TrueSwap, shape: np.ndarray, expression: np.ndarray, shapes: Components, expressions: Components
) -> np.ndarray:
    """What the parameter judge should say of each image, (images, outputs); landmarks of `landmark_table`."""

    def columns(chosen) -> np.ndarray:
        return np.stack([data.table[name].to_numpy() for name in chosen], axis=1)

    parts = [columns(POSE), expressions.coordinates(expression), shapes.coordinates(shape), columns(COLORS)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def load_judge(folder: Path) -> ParameterJudge:
    """The judge that `train_judges.py` wrote, in eval mode."""
    path = folder / "parameters.safetensors"
    judge = ParameterJudge(int(checkpoints.read_metadata(path)["outputs"]))
    checkpoints.load_weights(path, judge)
    return judge.eval()
