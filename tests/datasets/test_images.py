"""One reader of pictures: the same face in every kind of file gives the same pixels, or one clear error."""

import io
import os

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.JpegImagePlugin import JpegImageFile

from smoothswap_lib.datasets import read_image
from smoothswap_lib.datasets.check_folder import check_folder
from smoothswap_lib.datasets.images import BACKGROUND, ImageError, read_picture

Y, X = np.mgrid[:64, :64]
FACE = np.stack([X * 3 + 20, Y * 3 + 30, 220 - X - Y], axis=2).astype(np.uint8)  # not alike when turned
GRAY = np.asarray(Image.fromarray(FACE).convert("L"))
WIDE_GAMUT = (  # Display P3's colorants and white, as fixed-point numbers of an ICC profile
    ("rXYZ", (0.51512, 0.24120, -0.00105)),
    ("gXYZ", (0.29198, 0.69225, 0.04189)),
    ("bXYZ", (0.15710, 0.06657, 0.78407)),
)


def wide_gamut_profile():
    """sRGB's own profile with the colorants of Display P3."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for number in range(int.from_bytes(profile[128:132], "big")):
        entry = 132 + 12 * number
        name, start = (
            profile[entry : entry + 4].decode(),
            int.from_bytes(profile[entry + 4 : entry + 8], "big"),
        )
        for value, place in zip(dict(WIDE_GAMUT).get(name, ()), (8, 12, 16)):
            fixed = round(value * 65536).to_bytes(4, "big", signed=True)
            profile[start + place : start + place + 4] = fixed
    return bytes(profile)


def in_wide_gamut(image):
    """sRGB pixels in Display P3, by its definition."""
    linear = np.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.43607, 0.38515, 0.14308], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
    p3 = np.linalg.inv(np.array([column for _, column in WIDE_GAMUT]).T) @ to_xyz
    linear = (linear @ p3.T).clip(0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer turns it clockwise by 90 degrees
    Image.fromarray(FACE).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)


def profiled(path):
    pixels = np.rint(in_wide_gamut(FACE / 255) * 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, icc_profile=wide_gamut_profile())


def cut_out(path):
    alpha = np.where(X < 32, 255, 0).astype(np.uint8)
    hidden = np.where(alpha[..., None] > 0, FACE, np.uint8([0, 255, 0]))
    Image.fromarray(np.dstack([hidden, alpha])).save(path)


def palette(path):
    image = Image.fromarray(np.where(X < 32, 1, 0).astype(np.uint8), "P")
    image.putpalette([0, 255, 0, 10, 20, 30])
    image.save(path, transparency=0)


def several(path):
    Image.fromarray(FACE).save(path, save_all=True, append_images=[Image.fromarray(FACE[::-1].copy())])


def right_half_covered(pixels):
    return np.where((X < 32)[..., None], pixels, np.uint8(BACKGROUND))


AS_GRAY = np.dstack([GRAY] * 3)
KINDS = {  # file: (what writes it, what must be read, how far off at most)
    "plain.png": (lambda path: Image.fromarray(FACE).save(path), FACE, 0),
    "plain.bmp": (lambda path: Image.fromarray(FACE).save(path), FACE, 0),
    "plain.ppm": (lambda path: Image.fromarray(FACE).save(path), FACE, 0),
    "plain.tiff": (lambda path: Image.fromarray(FACE).save(path), FACE, 0),
    "plain.webp": (lambda path: Image.fromarray(FACE).save(path, lossless=True), FACE, 0),
    "plain.avif": (lambda path: Image.fromarray(FACE).save(path, quality=95), FACE, 12),
    "turned.jpg": (turned, FACE, 12),
    "turned.png": (turned, FACE, 0),
    "gray.pgm": (lambda path: Image.fromarray(GRAY).save(path), AS_GRAY, 0),
    "gray_16.png": (lambda path: Image.fromarray(GRAY.astype(np.uint16) * 257).save(path), AS_GRAY, 0),
    "gray_16.pgm": (lambda path: Image.fromarray(GRAY.astype(np.uint16) * 257).save(path), AS_GRAY, 0),
    "to_one.tiff": (lambda path: Image.fromarray(GRAY.astype(np.float32) / 255).save(path), AS_GRAY, 0),
    "to_255.tiff": (lambda path: Image.fromarray(GRAY.astype(np.float32)).save(path), AS_GRAY, 0),
    "cut_out.png": (cut_out, right_half_covered(FACE), 0),
    "palette.png": (palette, right_half_covered(np.uint8([10, 20, 30])), 0),
    "profile.png": (profiled, FACE, 3),
    "profile.tiff": (profiled, FACE, 3),
    "no_profile.png": (lambda path: Image.fromarray(FACE).save(path, icc_profile=b"none"), FACE, 0),
    "cmyk.jpg": (lambda path: Image.fromarray(FACE).convert("CMYK").save(path, quality=98), FACE, 12),
    "two.mpo": (several, FACE, 20),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_same_face(tmp_path, kind):
    write, wanted, most = KINDS[kind]
    write(tmp_path / kind)
    assert np.abs(read_image(tmp_path / kind).astype(int) - wanted).max() <= most


BAD = {
    "empty.png": (lambda path: path.write_bytes(b""), "not a known kind, which are JPEG, PNG"),
    "text.jpg": (lambda path: path.write_text("hello"), "not a known kind"),
    "gif.png": (lambda path: Image.fromarray(FACE).save(path, format="GIF"), "not a known kind"),
    "moving.webp": (several, "2 pictures in one file"),
    "moving.png": (several, "2 pictures in one file"),
    "pages.tiff": (several, "2 pictures in one file"),
    "moving.avif": (several, "2 pictures in one file"),
    "negative.tiff": (lambda path: Image.fromarray(GRAY - np.float32(300)).save(path), "negative"),
    "nan.tiff": (lambda path: Image.fromarray(GRAY * np.float32(np.nan)).save(path), "no numbers"),
    "far.tiff": (lambda path: Image.fromarray(GRAY * np.float32(1e6)).save(path), "gray levels reach"),
    "huge.png": (lambda path: Image.new("1", (16000, 8000)).save(path), "128 million pixels, more than 120"),
    "pipe.png": (os.mkfifo, "a folder, a pipe or a device"),
    "folder.png": (os.mkdir, "a folder, a pipe or a device"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_picture_is_named_with_the_reason(tmp_path, kind):
    write, words = BAD[kind]
    write(tmp_path / kind)
    with pytest.raises(ImageError, match=f"{kind} cannot be read as an image .*{words}.*; remove or replace"):
        read_image(tmp_path / kind)


@pytest.mark.parametrize("suffix", ["png", "jpg", "avif"])
def test_a_file_that_was_cut_is_named(tmp_path, suffix):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, {"jpg": "jpeg"}.get(suffix, suffix))
    (tmp_path / f"cut.{suffix}").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(ImageError, match=f"cut.{suffix} cannot be read as an image"):
        read_image(tmp_path / f"cut.{suffix}")


def test_of_a_wide_picture_the_middle_square_is_taken_and_check_says_so(tmp_path):
    sides = np.full((64, 64, 3), 255, np.uint8)
    Image.fromarray(np.hstack([sides, FACE, sides])).save(tmp_path / "wide.png")
    assert (read_image(tmp_path / "wide.png", 64) == FACE).all()
    report = check_folder(tmp_path, processes=1, progress=False)
    assert "1 images are not square, of which training takes the middle" in str(report)


def test_a_large_jpeg_is_decoded_small_and_stays_the_same_picture(tmp_path, monkeypatch):
    Image.fromarray(FACE).resize((2048, 2048), Image.Resampling.BICUBIC).save(
        tmp_path / "large.jpg", quality=95
    )
    whole = read_picture(tmp_path / "large.jpg").resize((64, 64), Image.Resampling.LANCZOS)
    decoded, prepare = [], JpegImageFile.load_prepare
    monkeypatch.setattr(
        JpegImageFile, "load_prepare", lambda self: (decoded.append(self.size), prepare(self))[1]
    )
    small = read_image(tmp_path / "large.jpg", 64)
    assert decoded == [(256, 256)]  # an eighth, the most that JPEG offers
    assert np.abs(small.astype(int) - np.asarray(whole)).max() <= 3
