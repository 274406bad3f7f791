"""One photograph: its face found and cut out as FFHQ's are."""

import numpy as np
from PIL import Image, ImageOps

from smoothswap_lib.datasets import align_folder
from smoothswap_lib.datasets.alignment import align

FACES = ("auto", "crops", "photographs")  # what the images are; auto: a square one is a crop
LEAST_SIDE = 16  # pixels of a crop that can show a face
LARGEST_CROP = 1024  # pixels, FFHQ's: a larger square is a photograph
LEAST_TO_DETECT = 128  # pixels of a crop in which the detector finds its face
FLAT = 2.0  # gray levels of deviation: less shows nothing
MEND = (
    "give a picture that shows one from the front, upright and not tiny (python -m smoothswap_lib.datasets "
    "align cuts out the faces of a folder), or say --aligned if it is a face crop already"
)


def face_crop(photograph: Image.Image, size: int, faces: str = "auto", name="the photograph"):
    """The face as the networks want it, and where it lies.

    Parameters
    ----------
    size : pixels a side
    faces : one of FACES; of a crop that is not square the middle is taken
    name : for messages

    Returns
    -------
    (size, size, 3) uint8; the transform (2, 3) of `alignment.align`, None for a crop; and how many faces the
    picture shows, of which the largest is taken

    Raises
    ------
    ModuleNotFoundError, ValueError
        A face must be found and no detector is installed; or there is none in the picture.
    """
    if faces not in FACES:
        raise ValueError(f"faces must be one of {', '.join(FACES)}, got {faces!r}")
    sides = f"{photograph.width} x {photograph.height} pixels"
    if min(photograph.size) < LEAST_SIDE:
        raise ValueError(
            f"{name} is too small to show a face ({sides}); give one of {LEAST_SIDE} or more a side"
        )
    deviation = np.std(np.asarray(photograph.resize((64, 64))), axis=(0, 1))  # of each channel alone
    if deviation.max() < FLAT:
        raise ValueError(f"{name} shows no face, only one color ({sides}); {MEND}")
    square = photograph.width == photograph.height <= LARGEST_CROP
    if faces == "auto" and square and (photograph.width < LEAST_TO_DETECT or not _detects()):
        faces = "crops"
    if faces == "crops":
        return _middle(photograph, size), None, 1
    if not _detects():
        raise ModuleNotFoundError(
            f"{name} is not a square face crop of {LARGEST_CROP} pixels or fewer, and finding its face needs "
            f"{align_folder.INSTALL}; or cut it square around the face; or say --aligned to take its middle"
        )
    found = align_folder.find_faces(photograph)
    if not found:
        raise ValueError(f"no face was found in {name}; {MEND}")
    if faces == "auto" and square:
        return _middle(photograph, size), None, 1
    return *align(photograph, found[0], size), len(found)


def _detects() -> bool:
    return align_folder.detector_installed()


def _middle(photograph: Image.Image, size: int) -> np.ndarray:
    return np.asarray(ImageOps.fit(photograph, (size, size), Image.Resampling.LANCZOS))
