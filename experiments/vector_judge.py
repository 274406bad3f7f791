"""What an identity vector holds, and where its gradient points: the numbers of an embedder's learning curve.

A linear reader (ridge) of train people's vectors is asked about people it never saw: R2 of the face's shape
(principal components of the frontal landmarks), of gender, age and weight, of colors, and of yaw, which no
identity vector should hold.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from embedding import embed_rows
from swap_judges import Components, landmark_table
from torch import Tensor, nn

from smoothswap_lib import evaluation
from smoothswap_lib.datasets import TrueSwap
from smoothswap_lib.evaluation import probes

SHAPES = 8  # principal components
MAIN = 4
READ = ("gender", "age", "weight", "skin", "hair", "yaw")
READERS = 3000  # train images that the linear reader is fitted on
PULLS, LEVELS, STEPS = 96, 2, 10  # pairs; gray levels and steps of the invisible change


def drawn(data: TrueSwap) -> np.ndarray:
    """(images, 6) what `READ` names; age and weight as they are in the picture."""

    def column(name: str) -> np.ndarray:
        return data.table[name].to_numpy()

    red, green, blue = (column(f"identity.hair.{color}") for color in ("red", "green", "blue"))
    columns = [
        column("identity.gender"),
        column("identity.age") + column("state.age"),
        column("identity.weight") + column("state.weight"),
        column("identity.melanin"),
        np.log(0.3 * red + 0.6 * green + 0.1 * blue),
        column("attributes.yaw"),
    ]
    return np.stack(columns, axis=1)


class VectorJudge:
    """Asks an embedder about test people and twins; `cache` is a folder for the landmarks' tables."""

    def __init__(self, train: TrueSwap, test: TrueSwap, twins: TrueSwap, cache: Path) -> None:
        self.train, self.test, self.twins = train, test, twins
        cache.mkdir(parents=True, exist_ok=True)
        shape_train, shape_test = (
            landmark_table(data, cache / f"landmarks_{data.folder.name}.npz")[0] for data in (train, test)
        )
        components = Components.of(shape_train, SHAPES)
        self.readers = np.random.default_rng(0).permutation(len(train))[:READERS]
        self.free = np.flatnonzero(test.attribute_sets < 0)
        y_train, y_test = (
            np.concatenate([components.coordinates(shape), drawn(data)], axis=1)
            for shape, data in ((shape_train, train), (shape_test, test))
        )
        self.y_train, self.y_test = y_train[self.readers], y_test[self.free]
        self.weights = self.y_train[:, :SHAPES].var(axis=0)
        self.source, self.target, self.true = self._swaps()

    def _swaps(self) -> tuple[Tensor, Tensor, Tensor]:
        """Pairs of test people in the matrix, and the true swaps, (PULLS, 3, H, W) each."""
        rng, matrix = np.random.default_rng(0), self.test.matrix_indices()
        people, columns = matrix.shape
        source = rng.integers(people, size=PULLS)
        target = (source + rng.integers(1, people, size=PULLS)) % people
        column, other = rng.integers(columns, size=(2, PULLS))
        rows = matrix[source, other], matrix[target, column], matrix[source, column]
        return tuple(self.test.image_batch(part) for part in rows)

    def __call__(self, embedder: nn.Module) -> Mapping[str, float]:
        """All numbers, by name."""
        z = embed_rows(self.test, np.arange(len(self.test)), embedder)
        z_twins = embed_rows(self.twins, np.arange(len(self.twins)), embedder)
        return {
            "auc": evaluation.verification_auc_pairs(z, *self.test.pairs()),
            "auc_twins": evaluation.verification_auc_pairs(z_twins, *self.twins.pairs()),
            **self.read(z[self.free], embed_rows(self.train, self.readers, embedder)),
            **self.gradient(embedder),
        }

    def read(self, z_test: Tensor, z_train: Tensor) -> dict[str, float]:
        """R2 of a linear reader on unseen people."""
        people = self.train.identities[self.readers]
        r2 = probes.ridge_r2(z_train, self.y_train, z_test, self.y_test, people)
        shapes = {
            "r2_shape_main": r2[0],
            "r2_shape_4": np.average(r2[:MAIN], weights=self.weights[:MAIN]),
            "r2_shape_8": np.average(r2[:SHAPES], weights=self.weights),
        }
        named = {f"r2_{name}": value for name, value in zip(READ, r2[SHAPES:], strict=True)}
        return {name: float(value) for name, value in (shapes | named).items()}

    def gradient(self, embedder: nn.Module) -> dict[str, float]:
        """The pull, and how much of the way to the true swap an invisible change goes."""
        z_source, z_target, z_true = (
            evaluation.embed(x.split(64), embedder) for x in (self.source, self.target, self.true)
        )
        pull = probes.gradient_cosine(embedder, self.target, self.true - self.target, z_source, pool=8)
        cheat, _ = probes.pgd_shift(embedder, self.target, LEVELS * probes.GRAY_LEVEL, STEPS, z_goal=z_source)
        before, after = (torch.cosine_similarity(z, z_source).double().mean() for z in (z_target, z_true))
        return {
            "pull": float(pull.mean()),
            "cheat": float((cheat.mean() - before) / (after - before)),
            "cos_target": float(before),
            "cos_true": float(after),
        }
