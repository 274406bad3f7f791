"""Telling swaps from pictures as they were: a small detector, its ROC with intervals, what it can look at.

The paper closes with the hope that swappers help to build good detectors ("Potential Negative Societal
Impact"); notebook 13 tries it. Depends on build, datasets, masks.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import affine_transform, gaussian_filter
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits

from smoothswap_lib.datasets import to_float, to_uint8
from smoothswap_lib.render.build import ENCODING
from smoothswap_lib.world import masks

FALSE_ALARMS = np.linspace(0, 1, 201)  # the axis on which ROC curves of redrawn people are averaged
DRAWS = 300  # of the bootstrap
INNER = slice(17, 68)  # landmarks of brows, nose, eyes and mouth: the jaw's are hidden on one side
FEATHER = 1.5  # pixels of the soft edge of a pasted face


class Detector(nn.Module):
    """Image -> logit of "this is a swap"; four strided convolutions, 137 thousand weights at width 24.

    It sees each picture twice: as it is, and what a small blur takes away, since swaps differ first in fine
    detail. The mean over places makes one number of any size of picture.
    """

    def __init__(self, width: int = 24):
        super().__init__()
        channels = (6, width, 2 * width, 4 * width, 4 * width)
        layers = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(4, after), nn.SiLU()]
        self.trunk, self.head = nn.Sequential(*layers), nn.Linear(channels[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B,) logits."""
        detail = x - avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        h = self.trunk(torch.cat([x, 4 * detail], dim=1))  # (B, 4 width, H / 16, W / 16)
        return self.head(h.mean(dim=(2, 3))).squeeze(1)  # (B,)


def train_detector(
    x_real: Tensor,
    x_swap: Tensor,
    steps: int,
    seed: int = 0,
    batch_size: int = 32,
    learning_rate: float = 2e-3,
    doors: tuple[Callable[[Tensor], Tensor], ...] = (),
) -> tuple[Detector, list[float]]:
    """Cross-entropy on half swaps, half pictures as they were.

    Parameters
    ----------
    x_real, x_swap : (N, 3, H, W) in [-1, 1]
    doors : what pictures may go through, such as JPEG: each copy of the images is drawn from one of them

    Returns
    -------
    the detector in eval mode, and the loss of each step
    """
    copies = [tuple(door(x) for x in (x_real, x_swap)) for door in doors] or [(x_real, x_swap)]
    draw, losses = np.random.default_rng(seed), []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = Detector()
    optimizer = torch.optim.Adam(detector.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    is_swap = torch.arange(batch_size) < batch_size // 2
    for _ in range(steps):
        real, swap = copies[draw.integers(len(copies))]
        parts = [x[draw.integers(len(x), size=batch_size // 2)] for x in (swap, real)]
        x = torch.cat(parts)  # (batch_size, 3, H, W)
        x = x.flip(3) if draw.integers(2) else x
        loss = binary_cross_entropy_with_logits(detector(x), is_swap.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return detector.eval(), losses


@torch.no_grad()
def scores(detector: Detector, x: Tensor, batch_size: int = 128) -> np.ndarray:
    """(N,) logits of (N, 3, H, W)."""
    return torch.cat([detector(part) for part in x.split(batch_size)]).numpy()


@dataclass(frozen=True)
class Roc:
    """A ROC curve over FALSE_ALARMS and its area, each with a 95 % bootstrap interval over people."""

    tpr: np.ndarray
    low: np.ndarray
    high: np.ndarray
    auc: float
    auc_low: float
    auc_high: float


def roc_over_people(score_swap, score_real, people_swap, people_real, seed: int = 0) -> Roc:
    """How well scores part swaps from pictures as they were; people are redrawn, not pictures.

    Pictures of one person are not independent. A picture that shows several people (a swap: source and
    target) counts as often as all of them were drawn.

    Parameters
    ----------
    score_swap, score_real : (N,), (M,), higher for "swap"
    people_swap, people_real : (N, k), (M, j) int, who is in each picture
    """
    if not len(score_swap) or not len(score_real):
        raise ValueError("a ROC curve needs scores of swaps and of pictures as they were")
    people = [np.asarray(p).reshape(len(p), -1) for p in (people_swap, people_real)]
    if len(people[0]) != len(score_swap) or len(people[1]) != len(score_real):
        raise ValueError("people must hold one row a score")
    known, index = np.unique(np.concatenate([p.ravel() for p in people]), return_inverse=True)
    split = people[0].size
    index = [index[:split].reshape(people[0].shape), index[split:].reshape(people[1].shape)]
    draw, weights = np.random.default_rng(seed), []
    while len(weights) < DRAWS:
        count = np.bincount(draw.integers(len(known), size=len(known)), minlength=len(known))
        swap, real = (count[i].prod(axis=1) for i in index)
        if swap.any() and real.any():  # a draw without one of the two kinds has no curve
            weights.append(np.concatenate([swap, real]))
    weights = np.stack([np.ones_like(weights[0]), *weights])  # (1 + DRAWS, N + M), first as it is
    false_alarms, hits = _corners(score_swap, score_real, weights)
    curves = np.stack([np.interp(FALSE_ALARMS, x, y) for x, y in zip(false_alarms, hits)])
    areas = np.trapezoid(hits, false_alarms)
    low, high = np.quantile(curves[1:], [0.025, 0.975], axis=0)
    return Roc(curves[0], low, high, float(areas[0]), *map(float, np.quantile(areas[1:], [0.025, 0.975])))


def _corners(score_swap, score_real, weights) -> tuple[np.ndarray, np.ndarray]:
    """False alarms and hits of every threshold for each row of weights: twice (R, thresholds + 1)."""
    score = np.concatenate([score_swap, score_real])
    if not np.isfinite(score).all():
        raise ValueError("a score is not finite")
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # of each run of equal scores
    is_swap = order < len(score_swap)

    def share(counts):
        total = np.cumsum(counts, axis=1)[:, last]
        return np.pad(total, ((0, 0), (1, 0))) / total[:, -1:]

    weights = np.asarray(weights)[:, order]
    return share(weights * ~is_swap), share(weights * is_swap)


def radial_power(x: Tensor) -> np.ndarray:
    """Mean power of each frequency, whatever its direction, of (N, C, S, S): (N, S / 2 + 1).

    Entry k holds the frequencies from k - 1/2 to k + 1/2 cycles an image.
    """
    size = x.shape[-1]
    gray = x.double().mean(dim=1)  # (N, S, S)
    window = torch.hann_window(size, periodic=False, dtype=torch.double)
    gray = (gray - gray.mean(dim=(1, 2), keepdim=True)) * window[:, None] * window
    power = torch.fft.fft2(gray).abs().square().flatten(1)  # (N, S * S)
    frequency = torch.fft.fftfreq(size, 1 / size).double()
    ring = torch.hypot(frequency[:, None], frequency).round().long().flatten()
    inside = ring <= size // 2
    total = torch.zeros(len(x), size // 2 + 1, dtype=torch.double)
    total.index_add_(1, ring[inside], power[:, inside])
    return (total / torch.bincount(ring[inside])).numpy()


def through_file(x: Tensor, size: int | None = None, **options) -> Tensor:
    """Images after a file, resized before: (N, 3, H, W) in [-1, 1] -> the same, H and W `size` where given.

    Parameters
    ----------
    options : of Pillow's save, such as format="JPEG", quality=90
    """
    arrays = []
    for pixels in to_uint8(x).permute(0, 2, 3, 1).numpy():
        picture, file = Image.fromarray(pixels), io.BytesIO()
        if size is not None:
            picture = picture.resize((size, size), Image.Resampling.BICUBIC)
        picture.save(file, **options)
        with Image.open(file) as image:
            arrays.append(np.asarray(image.convert("RGB")))
    return to_float(torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2))


def through_trueswaps_file(x: Tensor) -> Tensor:
    """The compression that every render of TrueSwap has been through; its absence would give swaps away."""
    return through_file(x, **ENCODING)


def cut_and_paste(x_source, x_target, mask_source, mask_target, landmarks_source, landmarks_target) -> Tensor:
    """The oldest swap: the source's face, moved onto the target's by landmarks, in the target's mean color.

    Parameters
    ----------
    x_source, x_target : (3, H, W) in [-1, 1]
    mask_source, mask_target : (H, W), TrueSwap's codes: only face is pasted, and only onto face
    landmarks_source, landmarks_target : (68, 2) pixels

    Returns
    -------
    (3, H, W) in [-1, 1]
    """
    x_source, x_target = np.asarray(x_source), np.asarray(x_target)
    features = [np.asarray(points)[INNER] for points in (landmarks_source, landmarks_target)]  # (51, 2) each
    known = np.column_stack([features[1], np.ones(len(features[1]))])  # (51, 3)
    back, *_ = np.linalg.lstsq(known, features[0], rcond=None)  # (3, 2): target -> source
    # scipy counts (row, column), landmarks (x, y)
    matrix, shift = back[:2].T[::-1, ::-1], back[2, ::-1]

    def move(plane):
        return affine_transform(np.asarray(plane, dtype=np.float64), matrix, shift, order=1, mode="nearest")

    face = np.stack([move(plane) for plane in x_source])  # (3, H, W)
    allowed = np.asarray(mask_target) == masks.FACE
    weight = move(np.asarray(mask_source) == masks.FACE) * allowed
    inside = weight > 0.5
    weight = np.clip(2 * gaussian_filter(weight, FEATHER) - 1, 0, 1) * allowed  # soft toward the inside
    if inside.any():
        face += (x_target - face)[:, inside].mean(axis=1)[:, None, None]
    return torch.from_numpy(x_target + weight * (face - x_target)).float().clamp(-1, 1)
