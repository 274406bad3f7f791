"""TrueSwap's masks: which kind of surface each pixel shows."""

import numpy as np

BACKGROUND, FACE, HAIR, CLOTHES = 0, 1, 2, 3  # codes of the mask; skin, eyes and mouth are all FACE
MASK_NAMES = ("background", "face", "hair", "clothes")
SHIFTS = np.array([6, 4, 2, 0], np.uint8)  # four pixels a byte, the first in the highest bits


def pack(mask: np.ndarray) -> bytes:
    """(H, W) codes 0 to 3 -> 2 bits a pixel, row by row; the last byte is filled up with zeros.

    Raises
    ------
    ValueError
        A code is none of MASK_NAMES, and would be lost.
    """
    codes = np.asarray(mask).ravel()
    if codes.size and not 0 <= codes.min() <= codes.max() < len(MASK_NAMES):
        raise ValueError(f"a mask has codes 0 to {len(MASK_NAMES) - 1}, got {codes.min()} to {codes.max()}")
    codes = np.pad(codes.astype(np.uint8), (0, -codes.size % 4)).reshape(-1, 4)  # (bytes, 4)
    return np.bitwise_or.reduce(codes << SHIFTS, axis=1).astype(np.uint8).tobytes()


def unpack(data: bytes, size: int) -> np.ndarray:
    """2 bits a pixel -> (size, size) uint8 codes; the inverse of `pack` for a square mask.

    Raises
    ------
    ValueError
        The bytes are not as many as such a mask has.
    """
    expected = (size * size + 3) // 4
    if len(data) != expected:
        raise ValueError(f"a mask of {size} x {size} pixels has {expected} bytes, got {len(data)}")
    codes = np.frombuffer(data, np.uint8)[:, None] >> SHIFTS & 3  # (bytes, 4)
    return codes.ravel()[: size * size].reshape(size, size)


def halved(mask: np.ndarray) -> np.ndarray:
    """(2 H, 2 W) codes -> (H, W): what most of each 2 x 2 pixels show; of a tie, the lower code."""
    blocks = mask.reshape(len(mask) // 2, 2, -1, 2)
    votes = np.stack([(blocks == code).sum((1, 3)) for code in range(len(MASK_NAMES))])
    return votes.argmax(0).astype(np.uint8)
