"""Table 1 with known answers: swappers against the true swap, and by judges that took no part in training.

    python experiments/train_judges.py --out build/judges
    python experiments/measure_swappers.py --runs build/swappers/*-0 build/oracle --out data/swappers.json

Every person of the split's matrix is the source of one swap into each column, so 96 x 24 pairs on the test
split; target person and the source's column are random, the same for all systems. Rows "copy target", "copy
source" and "true swap" are measured like the others. Lower is better, but for cosines, PSNR and SSIM:

mse, psnr, ssim, error_over_copying     to the true swap; mse_REGION by the true swap's mask
cos_source_J, cos_target_J, identity_J, identity_r_J   by judge J: the training embedder (own), the shipped
        embedder supcon, which none of these swappers was trained with (judge), and with --photographs
        SFace, which knows real faces only (sface)
shape, expression, pose, colors, NAME_r   distance of the parameter judge's readings (pixels, degrees): shape
        and colors to the source's, expression and pose to the target's; _r is the paper's relative form
NAME_mediapipe      expression and pose by mediapipe, which knows photographs, too, of the pairs that it reads
cheat               cos_source_own - cos_source_judge: what pleases the training embedder alone
background_change   mean squared difference to the target over what is background in target and true swap
high_frequencies    energy above half of Nyquist's frequency over the true swap's
fid                 Frechet distance to the true swaps in that judge's features

What is measured of a run is kept in its folder (judged.json), what is measured of the floors in the judges'
(floors-SPLIT.json); both are read again, unless --again is given. Systems that stand in the file of --out and
are not among --runs stay there: runs need not all lie on one machine.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import scipy.linalg
import torch
import torch.nn.functional as F
from command import exit_code, parser_of
from embedding import BATCH
from results import kept_result, write_result
from swap_judges import groups, load_judge
from torch import Tensor
from tqdm import tqdm
from true_parameters import PARAMETERS, parameter_vectors

from smoothswap_lib import checkpoints, evaluation
from smoothswap_lib.datasets import TrueSwap, to_uint8
from smoothswap_lib.embedder import Embedder

DRAWS = 500  # of the bootstrap over people
BACKGROUND = evaluation.REGIONS["background"]
TO_SOURCE = {"shape": True, "colors": True, "expression": False, "pose": False}
JUDGES = ("identity", "parameters")
FLOORS = ("copy target", "copy source", "true swap")


class Pairs:
    """The swaps that are asked for, their answers, and who takes part in them.

    `among` are rows of the matrix, for a system that knows these people only (default: all).
    """

    def __init__(self, data: TrueSwap, seed: int = 0, count: int | None = None, among=None) -> None:
        rng, matrix = np.random.default_rng(seed), data.matrix_indices()
        among, columns = np.arange(len(matrix)) if among is None else np.asarray(among), matrix.shape[1]
        place, to_column = (part.ravel() for part in np.indices((len(among), columns)))
        source = among[place]
        target = among[(place + rng.integers(1, len(among), size=place.shape)) % len(among)]
        from_column = (to_column + rng.integers(1, columns, size=source.shape)) % columns
        some = slice(None) if count is None else rng.permutation(len(source))[:count]
        self.data, self.people = data, (source[some], target[some])
        rows = matrix[source, from_column], matrix[target, to_column], matrix[source, to_column]
        self.rows = tuple(part[some] for part in rows)
        self.x_source, self.x_target, self.x_true = (data.image_batch(part) for part in self.rows)
        self.mask_target, self.mask = (data.masks[part] for part in self.rows[1:])
        self.landmarks = [data.landmarks(int(row)) for row in self.rows[2]]

    def swaps(self, generator, z_source: Tensor) -> Tensor:
        """(pairs, 3, H, W): a generator's answers to the sources' vectors, (pairs, dim)."""
        with torch.inference_mode():
            parts = zip(self.x_target.split(BATCH), z_source.split(BATCH))
            x = torch.cat([generator(target, z) for target, z in parts])
        return x.clone().clamp(-1, 1)

    def interval(self, numerator: np.ndarray, denominator: np.ndarray | None = None) -> list[float]:
        """95 % of a mean (or ratio of means) when whole people are redrawn; both ends of a pair count."""
        below = np.ones_like(numerator) if denominator is None else denominator
        return evaluation.ratio_interval(numerator, below, self.people, DRAWS, np.random.default_rng(0))


def to_truth(pairs: Pairs, x: Tensor) -> dict:
    """Errors to the true swap, over all and by region."""
    error, copying = ((y - pairs.x_true).square().mean(1).double() for y in (x, pairs.x_target))  # (n, H, W)
    table = evaluation.error_to_truth(x, pairs.x_true, pairs.mask)
    own, copied = (e.mean((1, 2)).numpy() for e in (error, copying))
    scores = {
        "mse": float(own.mean()),
        "psnr": float(table.psnr["all"]) if own.any() else None,  # of equal pictures it would be infinite
        "ssim": float(table.ssim["all"]),
        "error_over_copying": float(own.mean() / copied.mean()),
        "error_over_copying_interval": pairs.interval(own, copied),
        "nearer_to_truth_than_target": float((own < copied).mean()),
    }
    for name, value in evaluation.REGIONS.items():
        inside = pairs.mask == value
        scores[f"mse_{name}"] = float(error[inside].mean())
        scores[f"error_over_copying_{name}"] = float(error[inside].mean() / copying[inside].mean())
    still = (pairs.mask == BACKGROUND) & (pairs.mask_target == BACKGROUND)
    scores["background_change"] = float((x - pairs.x_target).square().mean(1).double()[still].mean())
    scores["high_frequencies"] = high_energy(x) / high_energy(pairs.x_true)
    return scores


def high_energy(x: Tensor) -> float:
    """Mean energy of the spatial frequencies above half of Nyquist's."""
    spectrum = torch.fft.fft2(x).abs().square()  # (n, 3, H, W)
    fy, fx = torch.fft.fftfreq(x.shape[2]), torch.fft.fftfreq(x.shape[3])
    high = (fy[:, None] ** 2 + fx**2).sqrt() > 0.25  # (H, W); Nyquist's is .5
    return float(spectrum[..., high].double().mean())


def by_identity(pairs: Pairs, z: dict[str, Tensor], name: str) -> dict:
    """One judge's view of who is on the picture; z holds unit vectors of swap, source, target."""
    cos_source, cos_target = ((z["swap"] * z[end]).sum(1).double().numpy() for end in ("source", "target"))
    relative = evaluation.relative_distance(z["swap"], z["source"], z["target"]).double().numpy()
    return {
        f"cos_source_{name}": float(cos_source.mean()),
        f"cos_source_{name}_interval": pairs.interval(cos_source),
        f"cos_target_{name}": float(cos_target.mean()),
        f"identity_{name}": float((z["swap"] - z["source"]).norm(dim=1).double().mean()),
        f"identity_r_{name}": float(np.nanmean(relative)),
        f"nearer_to_source_{name}": float((cos_source > cos_target).mean()),
        f"moved_toward_source_{name}": float(
            (cos_source > (z["target"] * z["source"]).sum(1).double().numpy()).mean()
        ),
    }


def by_parameters(pairs: Pairs, said: dict[str, Tensor]) -> dict:
    """Shape, colors, expression and pose, in the parameter judge's units; said of swap, source, target."""
    scores = {}
    for name, part in groups().items():
        to = {end: (said["swap"] - said[end])[:, part].norm(dim=1).double() for end in ("source", "target")}
        right, wrong = (to["source"], to["target"]) if TO_SOURCE[name] else (to["target"], to["source"])
        relative = (right / (right + wrong).clamp(min=1e-12)).numpy()
        scores |= {name: float(right.mean()), f"{name}_r": float(relative.mean())}
        scores[f"{name}_r_interval"] = pairs.interval(relative)
    return scores


def by_mediapipe(said: dict[str, Tensor]) -> dict:
    """Expression and pose as mediapipe reads them, over the pairs in which it finds all three faces."""
    found = torch.stack(list(said.values())).isfinite().all(2).all(0)  # (pairs,)
    scores = {"share_mediapipe": float(found.double().mean())}
    for name, part in {"expression": slice(0, 52), "pose": slice(52, 54)}.items():
        swap, source, target = (said[who][found, part] for who in ("swap", "source", "target"))
        relative = evaluation.relative_distance(swap, target, source)  # the target is right here
        scores |= {f"{name}_mediapipe": float((swap - target).norm(dim=1).mean())}
        scores |= {f"{name}_r_mediapipe": float(relative.nanmean())}
    return scores


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance of two Gaussians with the samples' means and covariances (Heusel et al. 2017)."""
    cov_a, cov_b = (np.cov(v, rowvar=False) for v in (a, b))
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root))


def features(judge: Embedder, x: Tensor) -> np.ndarray:
    """(n, 256): the identity judge's features before its last layer."""
    with torch.inference_mode():
        parts = [F.relu(judge.fc0(judge.pool(judge.trunk(part)).flatten(1))) for part in x.split(BATCH)]
    return torch.cat(parts).double().numpy()


class Photographs:
    """SFace's vectors, aligned by the true swap's landmarks (whose face must be there, whoever's it is).

    And mediapipe's readings, of the faces that it finds.
    """

    def __init__(self) -> None:
        import judges  # needs the extra "judges"

        self.tools, self.judges = judges, judges.Judges()

    def embed(self, x: Tensor, landmarks) -> Tensor:
        """(n, 128) unit vectors."""
        vectors = []
        for padded, points in zip(self._padded(x, "SFace"), landmarks):
            face = self.tools.face_of_truth(self.tools.to_padded(points, x.shape[2]))
            vectors.append(self.judges.recognize(padded, face))
        return F.normalize(torch.from_numpy(np.stack(vectors)).float(), dim=1)

    def read(self, x: Tensor) -> Tensor:
        """(n, 54): mediapipe's 52 blendshapes, yaw and pitch in degrees; NaN where it finds no face."""
        readings = np.full((len(x), 54), np.nan)
        for row, padded in enumerate(self._padded(x, "mediapipe")):
            found = self.judges.read(padded, np.array([[0, 0], padded.shape[:2]]))
            if found is not None:
                readings[row] = [*found["blendshapes"].values(), found["yaw"], found["pitch"]]
        return torch.from_numpy(readings)

    def _padded(self, x: Tensor, title: str) -> Iterator[np.ndarray]:
        """Each image as both see it."""
        for image in tqdm(to_uint8(x).permute(0, 2, 3, 1).numpy(), desc=title, leave=False):
            yield self.judges.pad(self.tools.enlarge(image))


class Jury:
    """All judges, and what they say of sources, targets and true swaps, which no system changes."""

    def __init__(self, pairs: Pairs, data: TrueSwap, folder: Path, photographs: bool) -> None:
        self.pairs = pairs
        self.identity, self.parameters = checkpoints.load_embedder("supcon"), load_judge(folder)
        self.photographs = Photographs() if photographs else None
        self.true_features = features(self.identity, pairs.x_true)
        ends = {"source": (pairs.x_source, pairs.rows[0]), "target": (pairs.x_target, pairs.rows[1])}
        self._said = {
            name: self._ask(x, [data.landmarks(int(row)) for row in rows]) for name, (x, rows) in ends.items()
        }

    def _ask(self, x: Tensor, landmarks) -> dict[str, Tensor]:
        said = {name: evaluation.embed(x, net) for name, net in
                (("judge", self.identity), ("parameters", self.parameters))}  # fmt: skip
        if self.photographs is not None:
            said["sface"] = self.photographs.embed(x, landmarks)
            said["mediapipe"] = self.photographs.read(x)
        return said

    def scores(self, x: Tensor, own) -> dict:
        """All scores of one system's swaps; `own` is the embedder that it was trained with."""
        said = self._said | {"swap": self._ask(x, self.pairs.landmarks)}
        scores = to_truth(self.pairs, x)
        for name in self._said["source"]:
            if name not in ("parameters", "mediapipe"):
                scores |= by_identity(self.pairs, {end: v[name] for end, v in said.items()}, name)
        z = {"swap": x, "source": self.pairs.x_source, "target": self.pairs.x_target}
        scores |= by_identity(self.pairs, {e: evaluation.embed(v, own) for e, v in z.items()}, "own")
        scores["cheat"] = scores["cos_source_own"] - scores["cos_source_judge"]
        scores |= by_parameters(self.pairs, {end: v["parameters"] for end, v in said.items()})
        if self.photographs is not None:
            scores |= by_mediapipe({end: v["mediapipe"] for end, v in said.items()})
        return scores | {"fid": frechet(features(self.identity, x), self.true_features)}


def about(pairs: Pairs, jury: Jury) -> dict:
    """What scores were measured on and by: those of other pairs or judges do not compare."""
    return {
        "pairs": len(pairs.x_true),
        "people": int(pairs.people[0].max()) + 1,
        "judges": {net: checkpoints.tensor_hash(getattr(jury, net).state_dict())[:16] for net in JUDGES},
    }


def measure(run: Path, pairs: Pairs, jury: Jury) -> dict:
    """All scores of one run's generator, with the embedder that it was trained with.

    An oracle that was told parameters had none: `robust` judges it in that place.
    """
    named = checkpoints.read_metadata(checkpoints.weights_path(run))
    if named["embedder"] == PARAMETERS:
        embedder = checkpoints.load_embedder("robust")
        z_source = parameter_vectors(pairs.data, TrueSwap("train"))[pairs.rows[0]]
    else:
        embedder = checkpoints.load_embedder(named["embedder"])
        z_source = evaluation.embed(pairs.x_source, embedder)
    x_swap = pairs.swaps(checkpoints.load_generator(run), z_source)
    return {"steps": int(named["steps"]), **jury.scores(x_swap, embedder)}


def work(options: argparse.Namespace) -> None:
    """What the command does."""
    data = TrueSwap(options.split)
    pairs = Pairs(data)
    jury = Jury(pairs, data, options.judges, options.photographs)
    own = checkpoints.load_embedder("robust")
    floors = zip(FLOORS, (pairs.x_target, pairs.x_source, pairs.x_true))
    result = about(pairs, jury)
    systems = earlier_systems(options.out, result)
    result["floors"] = kept_result(
        options.judges / f"floors-{Path(options.split).name}.json",
        options.again,
        lambda: {name: jury.scores(x, own) for name, x in floors},
    )
    for run in tqdm(options.runs, desc="swappers", unit="run"):
        systems[run.name] = kept_result(
            run / "judged.json", options.again, lambda run=run: measure(run, pairs, jury)
        )
    result["systems"] = dict(sorted(systems.items()))
    write_result(result, options.out)


def earlier_systems(path: Path | None, same: dict) -> dict:
    """What a file holds already; ValueError if it was measured on other pairs or by other judges."""
    if path is None or not path.exists():
        return {}
    earlier = json.loads(path.read_text(encoding="utf-8"))
    for name, value in same.items():
        if earlier.get(name) != value:
            raise ValueError(
                f"{path} was measured with other {name} ({earlier.get(name)}, now {value}): "
                "its systems cannot stand beside new ones; write to another file, or measure all runs anew."
            )
    return earlier["systems"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="folders of finished runs")
    parser.add_argument("--judges", type=Path, default=Path("build/judges"))
    parser.add_argument("--split", default="test", help="a split or a built folder with a matrix")
    parser.add_argument(
        "--photographs", action="store_true", help="SFace and mediapipe, too (needs the extra judges)"
    )
    parser.add_argument("--again", action="store_true", help="measure runs that were measured before, too")
    parser.add_argument("--out", type=Path, help="JSON to write (default: printed)")
    options = parser.parse_args(arguments)
    return exit_code(work, options)


if __name__ == "__main__":
    sys.exit(main())
