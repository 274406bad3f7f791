"""An invisible word in the pixels of a picture, which JPEG and resizing leave there.

Spread spectrum in the DCT domain (Cox et al. 1997), informed (Malvar and Florencio 2003). The picture's luma
is shrunk to a grid of 64 x 64, whatever its size, so that the reader need not know what size it once had.
Each bit of the word is the sign of a weighted sum over DCT coefficients of its own, drawn over the middle
frequencies. The writer looks at these sums first, and adds only what they lack.

Why it is written out: of the packages for this, invisible-watermark refuses pictures below 256 x 256 pixels,
trustmark fetches its networks when it is first used, and blind-watermark's word is lost when the picture is
resized; it also needs OpenCV, so that a plain installation could not mark what it writes.

It marks honest use. Whoever reads this file can take the mark off: a mark that resists its reader has a
secret key. A crop or a mirrored copy loses it too.
"""

import hashlib
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy.fft import dctn, idctn
from scipy.ndimage import uniform_filter
from scipy.stats import binom

WORD = b"SWAP"
BITS = np.unpackbits(np.frombuffer(WORD, np.uint8)).astype(float) * 2 - 1  # (32,) of -1 and 1
GRID = 64  # pixels a side, the size of the shipped swapper
BAND = (10, 32)  # distances from the DCT's origin: below lies the picture, above what resizing takes away
MARGIN = 16.0  # gray levels that each bit's sum exceeds 0 by; JPEG at quality 75 moves it by about 6
LEAST_BITS = 30  # right ones of 32 that count as marked: 29 was the most among 24,000 unmarked renders
# Contrast (deviation in 5 x 5, gray levels) between which a change is as large as the contrast: the eye
# sees it in smooth places first.
CONTRAST = (2.0, 16.0)
ROUNDS = 12  # contrast, clipping and rounding each take something: measure again and add what they took
LARGE = 4_000_000  # pixels: of a larger picture the grid is measured on a copy of about this size
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # JPEG's


def chance_of(least_bits: int = LEAST_BITS) -> float:
    """The share of unmarked pictures that would have so many right bits, if each were a fair coin.

    Faces are no fair coins, as they are alike: of 24,000 renders 1 has 29 bits, where coins would give .03.
    """
    return float(binom.sf(least_bits - 1, len(BITS), 0.5))


@lru_cache(maxsize=1)
def pattern() -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (32, n) of each bit and their weights (32, n), of unit length a bit."""
    distance = np.hypot(*np.mgrid[:GRID, :GRID]).ravel()
    inside = np.flatnonzero((distance >= BAND[0]) & (distance < BAND[1]))
    # a hash, not a random generator: the same in every version of numpy
    draw = np.frombuffer(hashlib.shake_256(b"smoothswap_lib").digest(8 * len(inside)), "<u8")
    places = inside[np.argsort(draw, kind="stable")]
    count = len(inside) // len(BITS)
    places = places[: count * len(BITS)].reshape(len(BITS), count)
    signs = np.where(draw[: places.size] & 1, 1.0, -1.0).reshape(places.shape)
    weights = signs * distance[places]  # a picture's spectrum falls like 1 / distance: this evens it out
    return places, weights / np.linalg.norm(weights, axis=1, keepdims=True)


def _resize(plane: np.ndarray, width: int, height: int, resampling) -> np.ndarray:
    if plane.shape == (height, width):
        return plane
    return np.asarray(Image.fromarray(plane.astype(np.float32)).resize((width, height), resampling))


def _luma(image: np.ndarray) -> np.ndarray:
    if len(image) * image.shape[1] > LARGE:
        image = _shrunk(image)
    return _resize(_check(image) @ LUMA, GRID, GRID, Image.Resampling.LANCZOS)  # (GRID, GRID)


def _shrunk(image: np.ndarray) -> np.ndarray:
    factor = int(np.ceil((len(image) * image.shape[1] / LARGE) ** 0.5))
    return np.asarray(Image.fromarray(_check(image)).reduce(factor))


def _contrast(luma: np.ndarray) -> np.ndarray:
    """Where the picture hides a change, (GRID, GRID) of mean 1."""
    variance = uniform_filter(luma**2, 5) - uniform_filter(luma, 5) ** 2
    contrast = np.clip(np.sqrt(np.maximum(variance, 0)), *CONTRAST)
    return contrast / contrast.mean()


def _check(image) -> np.ndarray:
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
    return image


def bit_sums(image: np.ndarray) -> np.ndarray:
    """(32,) sums, in gray levels, whose signs are the bits of (H, W, 3) uint8."""
    places, weights = pattern()
    return (dctn(_luma(image), norm="ortho").ravel()[places] * weights).sum(axis=1)


def right_bits(image: np.ndarray) -> int:
    """How many of the word's 32 bits (H, W, 3) uint8 carries; about 16 without a mark."""
    return int((bit_sums(image) * BITS > 0).sum())


def is_marked(image: np.ndarray) -> bool:
    """Whether (H, W, 3) uint8 carries the word."""
    return right_bits(image) >= LEAST_BITS


def embed(image: np.ndarray) -> np.ndarray:
    """The picture with the word in it, (H, W, 3) uint8.

    Raises
    ------
    ValueError
        A side is shorter than 64 pixels, or the picture cannot hold the word.
    """
    height, width = _check(image).shape[:2]
    if min(height, width) < GRID:
        raise ValueError(f"a mark needs {GRID} pixels a side, this picture has {width} x {height}")
    if height * width > LARGE:
        return _embed_large(image)
    places, weights = pattern()
    exact, marked, contrast = image.astype(np.float32), image, _contrast(_luma(image))
    for _ in range(ROUNDS):
        lacking = np.maximum(MARGIN - BITS * bit_sums(marked), 0)
        if lacking.max() < MARGIN / 50:
            break
        spectrum = np.zeros(GRID * GRID)
        spectrum[places] = (BITS * lacking)[:, None] * weights
        change = idctn(spectrum.reshape(GRID, GRID), norm="ortho") * contrast
        change = _resize(change, width, height, Image.Resampling.BICUBIC)
        exact = np.clip(exact + change[..., None], 0, 255)
        marked = np.rint(exact).astype(np.uint8)
    if not is_marked(marked):
        raise ValueError("this picture cannot hold a mark: almost all of its pixels are black or white")
    return marked


def _embed_large(image: np.ndarray) -> np.ndarray:
    """What a small copy needs, added to the picture strip by strip."""
    small = _shrunk(image)
    change = embed(small).astype(np.float32) - small  # (h, w, 3)
    change = Image.fromarray(change.mean(axis=2)).resize((GRID, GRID), Image.Resampling.BOX)
    marked, (height, width) = image.copy(), image.shape[:2]
    rows = max(LARGE // width, 1)
    for top in range(0, height, rows):
        strip = marked[top : top + rows]
        box = (0, top * GRID / height, GRID, (top + len(strip)) * GRID / height)
        added = np.rint(change.resize((width, len(strip)), Image.Resampling.BICUBIC, box)).astype(np.int16)
        np.clip(strip + added[..., None], 0, 255, out=strip, casting="unsafe")
    if not is_marked(marked):
        raise ValueError("this picture cannot hold a mark: almost all of its pixels are black or white")
    return marked
