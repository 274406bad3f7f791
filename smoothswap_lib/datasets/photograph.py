"""One photograph: read as a viewer shows it, its face found and cut out as FFHQ's are."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from smoothswap_lib.datasets import align_folder
from smoothswap_lib.datasets.alignment import align
from smoothswap_lib.datasets.folders import BROKEN_IMAGE

FACES = ("auto", "crops", "photographs")  # what the images are; auto: a square one is a crop


def read_photograph(path: str | Path) -> Image.Image:
    """An image file as RGB, turned as a viewer turns it.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file, or it is no image that can be read to its end.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is no file; check the path")
    try:
        with Image.open(path) as file:
            return ImageOps.exif_transpose(file).convert("RGB")
    except BROKEN_IMAGE as error:
        reason = "not a known kind" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"{path} cannot be read as an image ({reason}); give another file") from None


def face_crop(photograph: Image.Image, size: int, faces: str = "auto", name="the photograph"):
    """The face as the networks want it, and where it lies.

    Parameters
    ----------
    size : pixels a side
    faces : one of FACES; of a crop that is not square the middle is taken
    name : for messages

    Returns
    -------
    (size, size, 3) uint8, and the transform (2, 3) of `alignment.align`, None for a crop

    Raises
    ------
    ModuleNotFoundError, ValueError
        A face must be found and no detector is installed; or there is none in the picture.
    """
    if faces not in FACES:
        raise ValueError(f"faces must be one of {', '.join(FACES)}, got {faces!r}")
    if faces == "crops" or (faces == "auto" and photograph.width == photograph.height):
        return np.asarray(ImageOps.fit(photograph, (size, size), Image.Resampling.LANCZOS)), None
    if not align_folder.detector_installed():
        raise ModuleNotFoundError(
            f"{name} is not a square face crop, and finding its face needs {align_folder.INSTALL}; "
            "or cut it square around the face first; or say --aligned to take its middle"
        )
    landmarks = align_folder.detect(np.asarray(photograph))
    if landmarks is None:
        raise ValueError(
            f"no face was found in {name}; give a picture that shows one from the front, upright and not "
            "tiny, or say --aligned if it is a face crop already"
        )
    return align(photograph, landmarks, size)
