"""Every picture that somebody brings is read here, once and in one way: upright, sRGB, 8 bits, no alpha.

Depends on Pillow.
"""

import io
import os
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "PPM", "TIFF")  # Pillow's others stay closed
IMAGE_SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".pgm", ".ppm", ".webp", ".avif", ".bmp", ".tif", ".tiff",
}  # fmt: skip
MOST_PIXELS = 120_000_000  # some hundred MB while it is read
BACKGROUND = (128, 128, 128)  # under transparent pixels: mid gray, the networks' 0
# What Pillow raises for bytes that are no image; its AVIF decoder raises RuntimeError.
BROKEN_IMAGE = (OSError, SyntaxError, ValueError, RuntimeError, Image.DecompressionBombError)


class ImageError(ValueError):
    """A file that cannot be used as a picture; `reason` without its name."""

    def __init__(self, path, reason) -> None:
        super().__init__(f"{path} cannot be read as an image ({reason}); remove or replace it")
        self.reason = str(reason)

    def __reduce__(self):  # from one process to another
        return _again, (str(self), self.reason)


def _again(text: str, reason: str) -> ImageError:
    error = ImageError.__new__(ImageError, text)
    error.args, error.reason = (text,), reason
    return error


def read_picture(path: str | Path | io.BytesIO, size: int | None = None) -> Image.Image:
    """A file as an upright RGB picture in sRGB.

    EXIF's orientation is applied, a color profile that fits is converted to sRGB (one that does not is left
    aside, as viewers do), 16 bits and floats are scaled to 8 bits, transparent pixels show BACKGROUND. Of the
    several pictures that some phones put into one JPEG the first is taken.

    Parameters
    ----------
    size : pixels a side: the middle square of the picture, resized (default: the picture as it is)

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ImageError
        Names a file that is damaged, animated, too large, or of none of FORMATS.
    """
    if not isinstance(path, io.BytesIO) and not os.path.isfile(path):  # a pipe would wait for ever
        if os.path.exists(path):
            raise ImageError(path, "it is a folder, a pipe or a device, not a file")
        raise FileNotFoundError(f"{path} is no file; check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limit is lower than ours, and only a warning
            with Image.open(path, formats=FORMATS) as file:
                return _normal(file, size)
    except UnidentifiedImageError:
        kinds = ", ".join(FORMATS)
        raise ImageError(path, f"not a known kind, which are {kinds}") from None
    except BROKEN_IMAGE as error:
        raise ImageError(path, str(error) or type(error).__name__) from None


def read_image(path: str | Path, size: int | None = None) -> np.ndarray:
    """`read_picture` as (H, W, 3) uint8."""
    return np.asarray(read_picture(path, size))


def _normal(file: Image.Image, size: int | None) -> Image.Image:
    pixels = file.width * file.height
    if pixels > MOST_PIXELS:
        raise ValueError(f"{pixels / 1e6:.0f} million pixels, more than {MOST_PIXELS / 1e6:.0f}: shrink it")
    if getattr(file, "n_frames", 1) > 1 and file.format != "MPO":
        raise ValueError(f"{file.n_frames} pictures in one file: save the one that counts")
    if size:
        file.draft(None, (2 * size, 2 * size))  # a large JPEG is decoded small, which is many times faster
    profile, alpha = file.info.get("icc_profile"), None
    file.load()
    ImageOps.exif_transpose(file, in_place=True)
    picture = file
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture, alpha = picture.convert("RGB"), picture.getchannel("A")
    elif picture.mode.startswith("I") or picture.mode == "F":
        picture = Image.fromarray(_to_8_bits(np.asarray(picture), picture.mode))
    elif picture.mode not in ("L", "CMYK", "LAB"):  # of which profiles speak
        picture = picture.convert("RGB")
    picture = _to_srgb(picture, profile)
    if alpha is not None:
        picture = Image.composite(picture, Image.new("RGB", picture.size, BACKGROUND), alpha)
    if size and picture.size != (size, size):
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS)
    return picture


def _to_8_bits(values: np.ndarray, mode: str) -> np.ndarray:
    """Gray of 16 or 32 bits or of floats: the range is that of the format, or the one that the values fit."""
    if not np.isfinite(values).all() or values.min() < 0:
        raise ValueError("its gray levels are negative, infinite or no numbers")
    tops = {"F": (1, 255, 65535), "I": (65535, 2**31 - 1)}.get(mode, (65535,))
    top = next((top for top in tops if values.max() <= top), None)
    if top is None:
        raise ValueError(f"its gray levels reach {values.max():g}; save it with 0 to 1 or 0 to 255")
    return np.rint(values.astype(np.float64) * (255 / top)).astype(np.uint8)


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    if profile:
        try:
            return ImageCms.applyTransform(picture, _transform(profile, picture.mode))
        except (ImageCms.PyCMSError, OSError, ValueError):  # damaged, or of other channels
            pass
    return picture if picture.mode == "RGB" else picture.convert("RGB")


@lru_cache(maxsize=16)  # a folder's images share a few
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
