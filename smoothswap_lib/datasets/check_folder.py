"""What a folder of photographs holds, before anybody trains on it: layout, counts, sizes, broken files.

    python -m smoothswap_lib.datasets check PATH

Depends on folders, images, workers, tqdm.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from smoothswap_lib.datasets import folders
from smoothswap_lib.datasets.images import ImageError, read_picture
from smoothswap_lib.processes.workers import in_parallel

FFHQ_IMAGES = 70_000
WANTED = 4  # images of each person in a batch (Sec. 5.1)
SHOWN = 10  # broken files that are named; all are counted


@dataclass
class FolderReport:
    """What was found; `broken` and `missing` hold one sentence each."""

    path: Path
    layout: str
    files: int
    people: int | None  # None: faces without identities
    images_a_person: tuple[int, float, int] | None  # fewest, median, most
    sizes: Counter = field(default_factory=Counter)  # (width, height) -> images that could be read
    broken: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)  # over: how many of what, and why

    @property
    def fine(self) -> bool:
        return not self.broken and not self.missing

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.layout}", f"images       {self.files:,}"]
        if self.people is not None:
            fewest, median, most = self.images_a_person
            lines += [
                f"people       {self.people:,}",
                f"images each  {fewest} to {most}, median {median:g}",
            ]
        common = ", ".join(f"{w} x {h} ({n:,})" for (w, h), n in self.sizes.most_common(3))
        more = f" and {len(self.sizes) - 3} other sizes" if len(self.sizes) > 3 else ""
        lines.append(f"sizes        {common or 'none could be read'}{more}")
        lines += [f"broken       {text}" for text in self.broken[:SHOWN]]
        if len(self.broken) > SHOWN:
            lines.append(f"broken       and {len(self.broken) - SHOWN:,} more")
        lines += [f"missing      {text}" for text in self.missing]
        lines += [f"passed over  {text}" for text in self.passed]
        lines += [f"note         {text}" for text in self.notes]
        return "\n".join([*lines, "fine" if self.fine else "NOT fine"])


def check_folder(path: str | Path, processes: int | None = None, progress: bool = True) -> FolderReport:
    """Look at every image of a folder.

    Parameters
    ----------
    path : FFHQ, VGGFace2, CelebA, CASIA-WebFace, DigiFace-1M, LFW, any folder a person, or any faces
    processes : that decode images; None: one a core

    Raises
    ------
    FileNotFoundError
        The path is no folder, or holds no image.
    """
    faces = folders.FaceFolder(path, size=8, use_index=False)  # only lists the files
    layout, people_of, missing, notes = _layout(faces)
    report = FolderReport(
        faces.path, layout, len(faces), None, None, missing=missing, notes=notes, passed=faces.passed.lines()
    )
    if people_of is not None:
        counts = np.array(list(Counter(people_of).values()))
        report.people = len(counts)
        report.images_a_person = int(counts.min()), float(np.median(counts)), int(counts.max())
        few = int((counts < WANTED).sum())
        if few:
            report.notes.append(
                f"{few:,} people have fewer than {WANTED} images: a batch of {WANTED} each leaves them out"
            )
    with tqdm(total=len(faces), desc="reading", unit="image", disable=not progress) as bar:
        for file, (size, error) in in_parallel(_look, faces.files, processes):
            bar.update()
            if error:
                report.broken.append(f"{file.relative_to(faces.path)}: {error}")
            else:
                report.sizes[size] += 1
    oblong = sum(n for (w, h), n in report.sizes.items() if w != h)
    if oblong:
        report.notes.append(
            f"{oblong:,} images are not square, of which training takes the middle: align them first "
            "(python -m smoothswap_lib.datasets align)"
        )
    return report


def _look(file: Path) -> tuple[tuple[int, int] | None, str | None]:
    """Width and height of an image that can be decoded to its end, or what is wrong."""
    try:
        return read_picture(file).size, None
    except ImageError as error:
        return None, error.reason
    except FileNotFoundError:
        return None, "it is gone"


def _layout(faces: folders.FaceFolder) -> tuple[str, list[str] | None, list[str], list[str]]:
    """Name of the layout, the person of each file (None: no identities), what is missing, notes."""
    root, parents = faces.path, [file.parent.name for file in faces.files]
    inside = {part.name for part in root.iterdir()}
    if "img_align_celeba" in inside or "identity_CelebA.txt" in inside:
        return _celeba(faces, inside)
    if all(re.fullmatch(r"\d{5}", name) for name in parents) and all(
        file.stem.isdigit() and int(file.stem) // 1000 * 1000 == int(file.parent.name) for file in faces.files
    ):
        numbers = {int(file.stem) for file in faces.files}
        gaps = sorted(set(range(max(numbers) + 1)) - numbers)
        missing = [f"image {n:05d} (and {len(gaps) - 1:,} others below {max(numbers):05d})" for n in gaps[:1]]
        notes = [] if len(numbers) == FFHQ_IMAGES else [f"{len(numbers):,} of FFHQ's {FFHQ_IMAGES:,} images"]
        return "FFHQ's layout, faces without identities", None, missing, notes
    if root.resolve() in {file.parent.resolve() for file in faces.files}:
        loose = sum(file.parent == root for file in faces.files)
        if loose == len(faces):
            return "faces without identities", None, [], []
        return "faces without identities", None, [], [f"{loose:,} images lie outside of the folders"]
    owners = [file.parent.relative_to(root).as_posix() for file in faces.files]
    known = list(dict.fromkeys(owners))
    people, doubt = folders.people_of(root, known)
    people, doubts = [*map(dict(zip(known, people)).get, owners)], [doubt] if doubt else []
    if all(re.fullmatch(r"n\d{6}", name) for name in parents):
        splits = [name for name in ("train", "test") if name not in inside]
        notes = [f"VGGFace2 has a folder {name}/ as well" for name in splits] if len(splits) == 1 else []
        return "VGGFace2's layout", people, [], doubts + notes
    listed = any((folder / "pairs.txt").exists() for folder in (root, root.parent))
    if listed or "lfw-deepfunneled" in inside:
        notes = [] if listed else ["no pairs.txt: LFW's protocol needs it, training does not"]
        return "LFW's layout", people, [], doubts + notes
    return "a folder a person", people, [], doubts


def _celeba(faces, inside):
    listing = faces.path / "identity_CelebA.txt"
    if not listing.exists():
        return "CelebA's layout", None, ["identity_CelebA.txt: without it nobody has an identity"], []
    people = folders.celeba_list(listing)
    names = {file.name for file in faces.files}
    unlisted, absent = sorted(names - set(people)), sorted(set(people) - names)
    missing = [f"a line for {n} (and {len(unlisted) - 1:,} others) in {listing.name}" for n in unlisted[:1]]
    missing += [f"{n} (and {len(absent) - 1:,} others) of {listing.name}" for n in absent[:1]]
    notes = [] if "list_eval_partition.txt" in inside else ["no list_eval_partition.txt: no official split"]
    return "CelebA's layout", [people.get(file.name, "?") for file in faces.files], missing, notes
