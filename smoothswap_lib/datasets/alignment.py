"""From a photograph to the FFHQ crop and back (the crop that Sec. 5.1 applies to VGGFace2).

Landmarks are pixel positions whose centers are whole numbers, (x, y), in the 68-point order of iBUG 300-W.
A transform is (2, 3) and maps the crop to the photograph, both measured from the corner of the image: the
center of the first pixel is (.5, .5). The crop is that of the FFHQ data set (Karras et al. 2019, appendix A).
"""

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

LEFT_EYE, RIGHT_EYE, MOUTH_CORNERS = slice(36, 42), slice(42, 48), [48, 54]
OVERSAMPLING = 4  # FFHQ warps to 4096 and shrinks to 1024; the same ratio at any size
STRIP = 2**20  # pixels that are pasted at a time
BLUR = 0.02  # of the crop's side, in the padded part


def _check_landmarks(landmarks) -> np.ndarray:
    landmarks = np.asarray(landmarks, dtype=np.float64)
    if landmarks.shape != (68, 2) or not np.isfinite(landmarks).all():
        raise ValueError(f"landmarks must be 68 finite (x, y) pixel positions, got shape {landmarks.shape}")
    return landmarks


def ffhq_quad(landmarks) -> np.ndarray:
    """Corners of FFHQ's oriented square around a face.

    Parameters
    ----------
    landmarks : (68, 2) pixels

    Returns
    -------
    (4, 2) pixels: top left, bottom left, bottom right, top right, as the face sees up and down
    """
    landmarks = _check_landmarks(landmarks)
    left, right = landmarks[LEFT_EYE].mean(0), landmarks[RIGHT_EYE].mean(0)
    eyes, between_eyes = (left + right) / 2, right - left
    down_to_mouth = landmarks[MOUTH_CORNERS].mean(0) - eyes
    # The face's own "right" is the eye line averaged with the line to the mouth, turned by 90 degrees.
    x = between_eyes - np.array([-down_to_mouth[1], down_to_mouth[0]])
    half_side = max(2.0 * np.linalg.norm(between_eyes), 1.8 * np.linalg.norm(down_to_mouth))
    if np.linalg.norm(x) < 1e-6 or half_side < 1:
        raise ValueError(
            "eyes and mouth fall on one point: these are no landmarks of a face; check the detector"
        )
    x = x / np.linalg.norm(x) * half_side
    y = np.array([-x[1], x[0]])
    center = eyes + 0.1 * down_to_mouth
    return np.stack([center - x - y, center - x + y, center + x + y, center + x - y])


def _pad(image: np.ndarray, pad: np.ndarray, side: float) -> np.ndarray:
    """Reflect beyond the photograph's edge, growing blurred and then flat with the distance from it."""
    left, top, right, bottom = pad
    image = np.pad(image.astype(np.float32), ((top, bottom), (left, right), (0, 0)), "reflect")
    height, width = image.shape[:2]
    y, x = np.ogrid[:height, :width]
    across = 1 - np.minimum(x / left, (width - 1 - x) / right)
    depth = np.maximum(across, 1 - np.minimum(y / top, (height - 1 - y) / bottom))[..., None]  # (H, W, 1)
    blurred = gaussian_filter(image, [BLUR * side, BLUR * side, 0])
    image = image + (blurred - image) * np.clip(3 * depth + 1, 0, 1)
    image = image + (np.median(image, axis=(0, 1)) - image) * np.clip(depth, 0, 1)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _shrink(photograph: Image.Image, factor: int) -> tuple[Image.Image, np.ndarray]:
    """A smaller copy, and the size of its pixels in the photograph's (uneven by a rounding)."""
    if factor <= 1:
        return photograph, np.ones(2)
    before = np.array(photograph.size)
    after = np.maximum(np.rint(before / factor).astype(int), 1)
    return photograph.resize(tuple(after.tolist()), Image.Resampling.LANCZOS), before / after


def _rgb(image) -> Image.Image:
    if not isinstance(image, Image.Image):
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"an image must be (H, W, 3) uint8 or a PIL image, got {image.shape} {image.dtype}"
            )
        image = Image.fromarray(image)
    return image.convert("RGB")


def align(image, landmarks, size: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """The FFHQ crop of one face.

    Parameters
    ----------
    image : (H, W, 3) uint8, or a PIL image
    landmarks : (68, 2) pixels
    size : side of the crop, pixels

    Returns
    -------
    crop (size, size, 3) uint8, and the transform (2, 3) from the crop to the photograph
    """
    photograph, quad = _rgb(image), ffhq_quad(landmarks)
    side = np.hypot(*(quad[3] - quad[0]))
    factor = max(int(side / (2 * size)), 1)
    photograph, pixel = _shrink(photograph, factor)
    quad, side = quad / factor, side / factor

    border = max(int(np.rint(0.1 * side)), 3)
    extent = np.array([photograph.width, photograph.height])
    low = np.maximum(np.floor(quad.min(0)).astype(int) - border, 0)
    high = np.minimum(np.ceil(quad.max(0)).astype(int) + border, extent)
    if (high - low < 2).any():
        raise ValueError(
            "the face lies outside of the photograph; check that the landmarks belong to this image"
        )
    part = np.asarray(photograph.crop((*low.tolist(), *high.tolist())))
    shift = -low

    missing_low = -np.floor(quad.min(0) + shift).astype(int) + border
    missing_high = np.ceil(quad.max(0) + shift).astype(int) - (high - low) + border
    missing = np.maximum(np.concatenate([missing_low, missing_high]), 0)  # left, top, right, bottom
    if missing.max() > border - 4:
        missing = np.maximum(missing, int(np.rint(0.3 * side)))
        part = _pad(part, missing, side)
        shift = shift + missing[:2]

    corners = quad + shift + 0.5
    fine = (OVERSAMPLING * size, OVERSAMPLING * size)
    crop = Image.fromarray(part).transform(
        fine, Image.Transform.QUAD, corners.ravel(), Image.Resampling.BILINEAR
    )
    crop = crop.resize((size, size), Image.Resampling.LANCZOS)
    origin, across, down = quad[0] + 0.5, (quad[3] - quad[0]) / size, (quad[1] - quad[0]) / size
    return np.asarray(crop), np.stack([across, down, origin], axis=1) * pixel[:, None]


def to_crop(points, transform: np.ndarray) -> np.ndarray:
    """Landmarks of the photograph, (N, 2) pixels, as pixels of the crop."""
    points = np.asarray(points, dtype=np.float64) + 0.5 - transform[:, 2]
    return np.linalg.solve(transform[:, :2], points.T).T - 0.5


def _edge_weight(x: np.ndarray, y: np.ndarray, feather: float) -> np.ndarray:
    """1 inside of the unit square, falling smoothly to 0 at its edge over `feather`."""
    depth = np.clip(np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y)) / feather, 0, 1)
    return depth * depth * (3 - 2 * depth)


def paste_back(photograph, aligned, transform: np.ndarray, feather: float = 0.15, mask=None) -> np.ndarray:
    """Put a crop, swapped meanwhile, back to where `align` took it from.

    Parameters
    ----------
    photograph : (H, W, 3) uint8, or a PIL image
    aligned : (size, size, 3) uint8
    transform : (2, 3), from `align`
    feather : width of the soft edge, in sides of the crop
    mask : (size, size) in [0, 1], optional: how much of each crop pixel to paste, such as the face only

    Returns
    -------
    (H, W, 3) uint8; pixels outside of the crop are the photograph's, byte for byte
    """
    base, crop = np.asarray(_rgb(photograph)), _rgb(aligned)
    if not 0 < feather <= 0.5:
        raise ValueError(f"feather must lie in (0, .5] sides of the crop, got {feather}")
    size = crop.width
    weight = np.ones((size, size), np.float32) if mask is None else np.asarray(mask, dtype=np.float32)
    if weight.shape != (crop.height, size) or crop.height != size:
        raise ValueError(
            f"crop and mask must be square and of one size, got {crop.size} and {weight.shape[::-1]}"
        )
    # Shrunk to its place's size first, so that fine detail does not alias.
    shown = min(max(int(np.rint(np.linalg.norm(transform[:, 0]) * size)), 1), size)
    crop = crop.resize((shown, shown), Image.Resampling.LANCZOS)
    weight = Image.fromarray(weight).resize((shown, shown), Image.Resampling.BILINEAR)

    height, width = base.shape[:2]
    inverse = np.linalg.inv(np.vstack([transform, [0, 0, 1]]))[:2] / size  # photograph -> unit square
    corners = (transform @ np.array([[0, 0, size, size], [0, size, size, 0], [1, 1, 1, 1]])).T
    left, top = np.clip(np.floor(corners.min(0)).astype(int), 0, [width, height])
    right, bottom = np.clip(np.ceil(corners.max(0)).astype(int), 0, [width, height])
    result = base.copy()
    if left >= right or top >= bottom:
        return result
    rows = max(STRIP // int(right - left), 1)
    for first in range(top, bottom, rows):  # in strips, so that a large picture takes little memory
        last = min(first + rows, bottom)
        y, x = np.ogrid[first:last, left:right]
        inside = (a * (x + 0.5) + b * (y + 0.5) + c for a, b, c in inverse)
        soft = _edge_weight(*(place.astype(np.float32) for place in inside), feather)  # (h, w)
        local = inverse * shown
        local[:, 2] += local[:, :2] @ [left, first]
        box, coefficients = (int(right - left), int(last - first)), local.ravel().tolist()
        affine = Image.Transform.AFFINE
        face = np.asarray(crop.transform(box, affine, coefficients, Image.Resampling.BICUBIC), np.float32)
        keep = np.asarray(weight.transform(box, affine, coefficients, Image.Resampling.BILINEAR), np.float32)
        soft = (soft * np.clip(keep, 0, 1))[..., None]  # (h, w, 1)
        under = result[first:last, left:right]
        result[first:last, left:right] = np.clip(np.rint(under + soft * (face - under)), 0, 255)
    return result
