"""Measure trained embedders: Table 2, Fig. 9's count, and the control that rendered faces allow.

    python experiments/train_embedders.py --out build/embedders --ship
    python experiments/render_probes.py --out build/probes
    python experiments/measure_embedders.py --runs build/embedders --probes build/probes \\
        --out data/embedders.json

Queries are the test split's images, the gallery is the whole train split. What was measured of a run is kept
in RUN/measured.json and not measured again (--again does). Intervals redraw whole people.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from command import exit_code, parser_of
from embedding import BATCH, embed_rows
from results import kept_result, write_result
from swap_judges import Components, landmark_table
from tqdm import tqdm

from smoothswap_lib import checkpoints, evaluation, smoothness
from smoothswap_lib.datasets import TrueSwap, to_float
from smoothswap_lib.evaluation import probes
from smoothswap_lib.smoothness import draw_pairs

PAIRS = 4000
RATIOS = (0.0, 0.25, 0.5)  # 0: how far a real test face is from the gallery, where nothing is interpolated
GALLERIES = (100, 300, 1000, 3000, 10_000)  # and the whole one
KEPT = {  # what a ridge probe looks for
    "colors": ("identity.melanin", "identity.hair.red", "identity.hair.blue"),
    "identity": ("identity.gender", "identity.age", "identity.weight"),
    "shape": (
        "identity.shape.head-fat-incr", "identity.shape.head-scale-horiz-incr",
        "identity.shape.chin-width-incr", "identity.shape.nose-scale-vert-incr",
        "identity.shape.eye-scale-incr",
    ),
    "state": ("state.age", "state.weight", "state.tan", "state.dye"),
    "attributes": ("attributes.yaw", "attributes.pitch", "attributes.actions.jawOpen",
                   "attributes.actions.mouthSmileLeft", "attributes.hair_length"),
}  # fmt: skip
PGD_IMAGES, PGD_LEVELS = 192, (1, 2, 4)
POOLS = (1, 4, 8)
SHAPES = 4  # principal components of the frontal landmarks, of which a supervised reader reads these


class Faces:
    """All images that embedders are asked about, and what is known about them."""

    def __init__(self, train: TrueSwap, test: TrueSwap, folder: Path) -> None:
        self.train, self.test = train, test
        self.walks, self.between, self.steps = (
            dict(np.load(folder / f"{name}.npz")) for name in ("walks", "between", "steps")
        )
        self.free = np.flatnonzero(test.attribute_sets < 0)
        shapes = [
            landmark_table(data, folder / f"landmarks_{data.folder.name}.npz")[0] for data in (train, test)
        ]
        components = Components.of(shapes[0], SHAPES)
        self.shape_train, self.shape_test = (components.coordinates(shape) for shape in shapes)


def floats(images: np.ndarray) -> torch.Tensor:
    """(..., H, W, 3) uint8 -> (n, 3, H, W) in [-1, 1]."""
    flat = images.reshape(-1, *images.shape[-3:])
    return to_float(torch.from_numpy(flat).permute(0, 3, 1, 2))


def interval(value: smoothness.SmoothnessScore | probes.Interval) -> dict:
    """Mean and interval as plain numbers."""
    return {"mean": value.mean, "low": value.low, "high": value.high}


def effective_dimension(z: torch.Tensor) -> float:
    """In how many directions embeddings spread: (sum of variances)^2 / sum of squares, on main axes."""
    variances = torch.linalg.eigvalsh(torch.cov(z.double().T))
    return float(variances.sum() ** 2 / variances.square().sum())


def table_2(test: TrueSwap, z_test, z_gallery, seed: int) -> dict:
    """AUC, d_smooth with samples, unique images on the way, d_smooth by size of the gallery."""
    people, free = test.identities, test.attribute_sets < 0
    result = {
        "auc_pairs": evaluation.verification_auc_pairs(z_test, *test.pairs()),
        "auc_free": evaluation.verification_auc(z_test[free], people[free]),
        "gallery": len(z_gallery),
        "effective_dimension": effective_dimension(z_gallery),
        "cos_two_people": float(
            evaluation.pair_cosines(z_test, *draw_pairs(len(people), PAIRS, seed, people)).mean()
        ),
    }
    for r in RATIOS:
        found = smoothness.smoothness_score(z_test, z_gallery, r, PAIRS, seed, people)
        result[f"d_smooth_r{r}"] = interval(found)
    unique = smoothness.unique_per_interpolation(z_test, z_gallery, 64, 9, seed, people)
    result["unique_of_9"] = {"mean": unique.mean, "deviation": unique.standard_deviation}
    order = np.random.default_rng(seed).permutation(len(z_gallery))
    result["d_smooth_by_gallery"] = {
        size: smoothness.smoothness_score(z_test, z_gallery[order[:size]], 0.5, PAIRS, seed, people).mean
        for size in GALLERIES
        if size < len(z_gallery)
    }
    return result


def with_renderer(faces: Faces, embedder, z_test) -> dict:
    """d_smooth whose z_C is the rendered mean: of two people in one picture, and of two whole pictures."""
    result = {}
    for name, prefix in (("identity", ""), ("everything", "all_")):
        rows = faces.between[f"{prefix}rows"]
        z_mean = evaluation.embed(floats(faces.between[f"{prefix}images"]).split(BATCH), embedder)
        z_path = torch.stack([z_test[rows[:, 0]], z_mean, z_test[rows[:, 1]]], dim=1)
        result[name] = interval(smoothness.smoothness_score_path(z_path, 0.5)) | {"pairs": len(rows)}
    return result


def kept(faces: Faces, z_test, z_gallery) -> dict:
    """R2 of a ridge probe on held-out people: parameters as they are, and state within a person."""
    result = {}
    train_people, test_people = faces.train.identities, faces.test.identities[faces.free]
    z_free = z_test[faces.free]
    shape = probes.ridge_predict(z_gallery, faces.shape_train, z_free, train_people)
    shares = probes.r2_shares(faces.shape_test[faces.free], shape)
    for k in range(SHAPES):
        result[f"face shape {k + 1}"] = interval(probes.mean_interval(shares[:, k], test_people))
    for kind, names in KEPT.items():
        y_train, y_test = (
            np.stack([data.table[name].to_numpy()[rows].astype(np.float64) for name in names], axis=1)
            for data, rows in ((faces.train, slice(None)), (faces.test, faces.free))
        )
        tables = (z_gallery, y_train, z_free, y_test)
        if kind == "state":
            people = (train_people, train_people, test_people, test_people)
            tables = [probes.within_identity(values, who) for values, who in zip(tables, people)]
        predicted = probes.ridge_predict(*tables[:3], train_people)
        shares = probes.r2_shares(tables[3], predicted)
        for k, name in enumerate(names):
            key = f"{name} within a person" if kind == "state" else name
            result[key] = interval(probes.mean_interval(shares[:, k], test_people))
    return result


def along_walks(faces: Faces, embedder, unit: float) -> dict:
    """Each kind of walk: how even, straight and monotone its embeddings are, and how far they get."""
    images, result = faces.walks["images"], {}
    z = evaluation.embed(floats(images).split(BATCH), embedder).reshape(*images.shape[:3], -1)
    for k, name in enumerate(faces.walks["names"]):
        scores = probes.walk_scores(z[:, k])
        result[str(name)] = {key: interval(value) for key, value in scores.summary().items()}
        away = torch.linalg.vector_norm(z[:, k] - z[:, k, :1], dim=-1) / unit  # (people, points)
        result[str(name)]["distance_over_random_pair"] = away.mean(0).tolist()
    return result


def gradients(faces: Faces, embedder, z_test) -> dict:
    """Cosine of the identity loss' -gradient with the true change: a small step, and the whole swap."""
    first, second = faces.steps["rows"].T
    x = floats(faces.steps["images"])
    small = (floats(faces.steps["stepped"]) - x) / float(faces.steps["step"])
    whole = faces.test.image_batch(second) - faces.test.image_batch(first)
    gradient = -probes.identity_gradient(embedder, x, z_test[second])
    result = {"pairs": len(x)}
    for name, direction in (("small_step", small), ("whole_swap", whole)):
        for pool in POOLS:
            own = probes.image_cosine(gradient, direction, pool)
            others = probes.image_cosine(gradient, direction.roll(1, 0), pool)
            result[f"{name}_pool{pool}"] = interval(probes.mean_interval(own)) | {
                "other_pairs_direction": float(others.mean())
            }
    return result


def robustness(faces: Faces, embedder, z_test, seed: int) -> dict:
    """How far invisible changes move an embedding, away from its face and toward another one's."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(faces.free, PGD_IMAGES, replace=False)
    people = faces.test.identities[rows]
    goal = z_test[np.roll(rows, 1)]
    x = faces.test.image_batch(rows)
    before = torch.cosine_similarity(z_test[rows], goal).double()
    result = {"images": len(rows), "cos_to_goal_before": interval(probes.mean_interval(before, people))}
    for levels in PGD_LEVELS:
        away, _ = probes.pgd_shift(embedder, x, levels * probes.GRAY_LEVEL)
        toward, _ = probes.pgd_shift(embedder, x, levels * probes.GRAY_LEVEL, z_goal=goal)
        result[f"cos_to_itself_{levels}"] = interval(probes.mean_interval(away, people))
        result[f"cos_to_goal_{levels}"] = interval(probes.mean_interval(toward, people))
    return result


def measure(faces: Faces, embedder, seed: int = 0) -> dict:
    """All that is measured of one embedder."""
    z_test, z_gallery = (embed_rows(d, np.arange(len(d)), embedder) for d in (faces.test, faces.train))
    unit = smoothness.mean_pair_distance(z_test, seed=seed)
    return {
        "table_2": table_2(faces.test, z_test, z_gallery, seed),
        "renderer": with_renderer(faces, embedder, z_test),
        "kept_r2": kept(faces, z_test, z_gallery),
        "walks": along_walks(faces, embedder, unit),
        "gradients": gradients(faces, embedder, z_test),
        "robustness": robustness(faces, embedder, z_test, seed),
    }


def finished_runs(folder: Path) -> list[Path]:
    """The LOSS-SEED folders that hold weights."""
    runs = [run for run in sorted(folder.glob("*-*")) if (run / "weights.safetensors").exists()]
    if not runs:
        raise FileNotFoundError(f"{folder} holds no finished run; train_embedders.py makes them")
    return runs


def work(options: argparse.Namespace) -> None:
    """What the command does."""
    result = {}
    faces = Faces(TrueSwap(options.train), TrueSwap(options.test), options.probes)
    for run in tqdm(finished_runs(options.runs), desc="embedders", unit="run"):
        loss, _, seed = run.name.rpartition("-")
        result.setdefault(loss, {})[seed] = kept_result(
            run / "measured.json",
            options.again,
            lambda run=run: measure(faces, checkpoints.load_embedder(run)),
        )
    write_result(result, options.out)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--runs", type=Path, default=Path("build/embedders"), help="folder of LOSS-SEED runs")
    parser.add_argument("--probes", type=Path, default=Path("build/probes"))
    parser.add_argument("--train", default="train", help="the gallery")
    parser.add_argument("--test", default="test", help="the queries")
    parser.add_argument("--again", action="store_true", help="measure runs that were measured before, too")
    parser.add_argument("--out", type=Path, help="JSON to write (default: printed)")
    options = parser.parse_args(arguments)
    return exit_code(work, options)


if __name__ == "__main__":
    sys.exit(main())
