"""The control of the smoothness claim: embeddings and their gradients against known truth (Sec. 4.1, 5.5).

The paper can only look at an embedding space from inside (d_smooth). Where each image's parameters are known,
four questions have answers: what an embedding keeps (ridge probe), whether it moves evenly when a face does
(walks), whether its gradient asks the pixels for what would really bring the identity closer, and how far
changes that nobody sees move it (PGD). Images, embeddings and parameters come in as tensors or arrays.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import rankdata
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from smoothswap_lib.evaluation.bootstrap import Interval, as_array, groups_of, mean_interval
from smoothswap_lib.losses import identity_loss

GRAY_LEVEL = 2 / 255  # one step of an 8-bit image, in units of [-1, 1]
# From hardly any shrinkage to hardly anything but the mean, for hundreds to 100,000s of images.
PENALTIES = tuple(10.0**k for k in range(-3, 7))
SAME = 1e-12  # a spread below this share of the values is rounding in float64, not a difference
CLOSED = 1e-6  # radians that embeddings of one image may lie apart in float32
STEP = 2.5  # PGD's steps in all, over epsilon: enough to cross the ball and turn (Madry et al. 2018)


def _constant(y: np.ndarray) -> np.ndarray:
    """Which columns of (N, K) hold one value only, up to rounding: (K,) bool."""
    return np.ptp(y, axis=0) <= SAME * np.abs(y).max(axis=0)


def within_identity(values, identity) -> np.ndarray:
    """What is left of embeddings or parameters when each identity's own mean is taken away.

    A probe between such tables sees only the drift of state (Sec. 4.1): a vector that names the person says
    nothing here. A difference that is rounding becomes 0, so that a parameter of the identity is constant.
    An identity of one image is refused: it is its own mean.

    Parameters
    ----------
    values : (N,) or (N, K), finite
    identity : (N,)

    Returns
    -------
    (N,) or (N, K) float64
    """
    columns = as_array(values, "values", 2)
    group = groups_of(identity, len(columns))
    count = np.bincount(group)
    if count.min() < 2:
        lonely = np.unique(np.asarray(identity))[count < 2][:10].tolist()
        raise ValueError(f"an identity of one image shows no drift; leave these out: {lonely} ...")
    sums = np.zeros((len(count), columns.shape[1]))
    np.add.at(sums, group, columns)
    mean = (sums / count[:, None])[group]  # (N, K)
    drift = columns - mean
    drift[np.abs(drift) <= SAME * np.abs(mean)] = 0.0
    return drift.reshape(np.shape(values))


def ridge_predict(z_train, y_train, z_test, identity_train, penalties=PENALTIES, folds=5) -> np.ndarray:
    """Predict parameters of test images from their embeddings, with ridge regression.

    Each dimension of z is brought to mean 0 and deviation 1 over the training images. Each parameter gets the
    penalty (on squared weights, against the sum of squared errors) whose predictions have the smallest error
    over `folds` folds, none of which shares an identity with the images it is judged on: within an identity
    the probe could recognize the person and recall the answer.

    Parameters
    ----------
    z_train, z_test : (N, dim), (M, dim)
    y_train : (N, K) or (N,)
    identity_train : (N,); at least `folds` different ones

    Returns
    -------
    (M, K); a column that is constant in y_train is NaN, there was nothing to learn
    """
    z_train, z_test = as_array(z_train, "z_train", 2), as_array(z_test, "z_test", 2)
    y_train = as_array(y_train, "y_train", 2)
    group, penalties = groups_of(identity_train, len(z_train)), np.asarray(penalties, dtype=float)
    width = y_train.shape[1]
    if not penalties.size or not (penalties > 0).all():
        raise ValueError(f"penalties must be numbers greater than 0, got {penalties}")

    def probe(penalty):
        # One decomposition of z serves all columns and all their penalties.
        return make_pipeline(StandardScaler(), Ridge(alpha=penalty, solver="svd"))

    # Columns: all parameters with the first penalty, all with the second, ...
    tried, repeated = np.repeat(penalties, width), np.tile(y_train, len(penalties))
    guess = cross_val_predict(probe(tried), z_train, repeated, groups=group, cv=GroupKFold(folds))
    error = np.square(guess.reshape(repeated.shape) - repeated).sum(0).reshape(len(penalties), width)
    best = penalties[error.argmin(axis=0)]  # (K,)
    predicted = probe(best).fit(z_train, y_train).predict(z_test).reshape(len(z_test), width)
    predicted[:, _constant(y_train)] = np.nan
    return predicted


def r2_shares(y_test, predicted) -> np.ndarray:
    """1 - (error / deviation of y_test)^2 of each image: (M, K), whose mean over the images is R2.

    `mean_interval(shares[:, k], identity_test)` is the R2 of column k with its interval. Both inputs are
    (M, K) or (M,). A column that is constant here, or was so in training, is NaN.
    """
    y_test, predicted = as_array(y_test, "y_test", 2), np.asarray(predicted, dtype=float)
    predicted = predicted.reshape(len(predicted), -1)
    if y_test.shape != predicted.shape:
        raise ValueError(f"y_test must be {predicted.shape} as the prediction, got {y_test.shape}")
    variance = np.where(_constant(y_test), np.nan, y_test.var(axis=0))
    return 1 - np.square(predicted - y_test) / variance


def ridge_r2(z_train, y_train, z_test, y_test, identity_train, penalties=PENALTIES, folds=5) -> np.ndarray:
    """How much of each parameter an embedding keeps, linearly: R2 of `ridge_predict` on test images, (K,).

    1 is all of it, 0 no better than the mean of the test images, a little below 0 chance. Test images must be
    of other identities than the training images. For the drift of state alone, pass all four tables through
    `within_identity`. Columns constant in either part are NaN.
    """
    predicted = ridge_predict(z_train, y_train, z_test, identity_train, penalties, folds)
    return r2_shares(y_test, predicted).mean(axis=0)


@dataclass(frozen=True)
class WalkScores:
    """One number a walk in each array; all depend on `steps`, so compare walks of equally many."""

    span: np.ndarray  # angle from the first embedding to the last, radians in (0, pi]
    length: np.ndarray  # sum of the steps over the span, >= 1; 1 on the shortest arc (Slerp's)
    largest_step: np.ndarray  # over the mean step, 1 (even) to `steps` (one jump)
    monotonicity: np.ndarray  # in [-1, 1]; 1: each step leads further from the start
    steps: int

    def summary(self, identity=None, seed: int = 0) -> dict[str, Interval]:
        """Mean of each with its bootstrap interval over walks, or over identities (walks,) when given."""
        names = ("span", "length", "largest_step", "monotonicity")
        return {name: mean_interval(getattr(self, name), identity, seed) for name in names}


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle between unit vectors (..., dim); unlike the arc cosine it keeps its digits near 0 and pi."""
    return 2 * np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1))


def walk_scores(z_walk) -> WalkScores:
    """How evenly embeddings follow a face that changes in equal steps of its parameters.

    Distances are angles, as on Slerp's path (Sec. 5.5): a chord would call the shortest way on the sphere
    bent. Monotonicity is Spearman's correlation of the step's number with the distance from the start; in the
    share of growing steps a wobble of rounding would count as much as a turn back.

    Parameters
    ----------
    z_walk : (walks, P, dim) embeddings in the order of the parameter, P >= 3; scaled to unit length here

    Raises
    ------
    ValueError
        For wrong shapes, fewer than 3 points, a zero embedding, or a walk that ends where it began.
    """
    z = as_array(z_walk, "z_walk", 3)
    points = z.shape[1]
    if points < 3:
        raise ValueError(f"a walk has at least 3 points, got z_walk of shape {z.shape}: (walks, P, dim)")
    norm = np.linalg.norm(z, axis=-1, keepdims=True)
    if not norm.all():
        raise ValueError("z_walk holds a zero embedding, which has no direction")
    z = z / norm
    step, away = _angle(z[:, 1:], z[:, :-1]), _angle(z, z[:, :1])  # (walks, P - 1), (walks, P)
    span = away[:, -1]
    if (span < CLOSED).any():
        walks = np.flatnonzero(span < CLOSED)[:10].tolist()
        raise ValueError(f"walks end where they began: the space is blind here, leave out {walks} ...")
    rank = rankdata(away, axis=1) - (points + 1) / 2  # (walks, P), mean 0
    order = np.arange(points) - (points - 1) / 2
    spearman = rank @ order / (np.linalg.norm(rank, axis=1) * np.linalg.norm(order))
    largest = step.max(1) / step.mean(1)
    return WalkScores(span, step.sum(1) / span, largest, spearman.clip(-1, 1), points - 1)


@contextmanager
def _judging(embedder) -> Iterator[torch.device | None]:
    """Eval mode and gradients meanwhile, each part's own mode afterwards; gives the embedder's device."""
    modules = list(embedder.modules()) if isinstance(embedder, nn.Module) else []
    training = [module.training for module in modules]
    parameter = next(embedder.parameters(), None) if modules else None
    try:
        if modules:
            embedder.eval()  # batch norm would mix the images of a batch
        with torch.inference_mode(False), torch.enable_grad():
            yield None if parameter is None else parameter.device
    finally:
        for module, was_training in zip(modules, training, strict=True):
            module.training = was_training


def _check_batches(x: Tensor, z_goal: Tensor | None, batch_size: int) -> None:
    if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[1] != 3 or not x.numel():
        raise ValueError(f"x must be a tensor of images (B, 3, H, W), got {np.shape(x)}")
    if not x.is_floating_point() or not bool(torch.isfinite(x).all()):
        raise ValueError(f"x must hold finite floating point numbers in [-1, 1], got {x.dtype}")
    if z_goal is not None:
        if not isinstance(z_goal, Tensor) or z_goal.ndim != 2 or len(z_goal) != len(x):
            raise ValueError(f"z_goal must be (B, dim) with B = {len(x)} as x, got {np.shape(z_goal)}")
        if not bool(torch.isfinite(z_goal).all() & z_goal.any(dim=1).all()):
            raise ValueError("z_goal holds a zero or non-finite embedding, which has no direction")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")


def _pull(embedder, x: Tensor, z_goal: Tensor) -> tuple[Tensor, Tensor]:
    """cos(z, z_goal) of each image (B,) float64, and the gradient of its identity loss, as x."""
    x = x.detach().requires_grad_()
    z = embedder(x).cpu().double()  # cosines near 1 need the digits
    loss = len(x) * identity_loss(z, z_goal.cpu().double())  # times B undoes the mean
    # For x only: the parameters' .grad stays as it was.
    gradient = torch.autograd.grad(loss, x, allow_unused=True)[0] if loss.requires_grad else None
    if gradient is None:
        raise ValueError("the embeddings do not depend on the pixels: this embedder detaches its input")
    return F.cosine_similarity(z.detach(), z_goal.cpu().double()), gradient


def identity_gradient(
    embedder: Callable[[Tensor], Tensor], x: Tensor, z_goal: Tensor, batch_size: int = 64
) -> Tensor:
    """Gradient of each image's identity loss 1 - cos(f(x), z_goal) with respect to its pixels (Sec. 4.2).

    Its opposite is what the loss asks the pixels to do. The embedder is in eval mode meanwhile; its own
    gradients are not touched.

    Parameters
    ----------
    x : (B, 3, H, W) in [-1, 1]
    z_goal : (B, dim) of any length

    Returns
    -------
    (B, 3, H, W) on the CPU, per unit of [-1, 1]
    """
    _check_batches(x, z_goal, batch_size)
    with _judging(embedder) as device:
        parts = zip(x.split(batch_size), z_goal.split(batch_size))
        return torch.cat([_pull(embedder, a.clone().to(device), b.clone())[1].cpu() for a, b in parts])


def image_cosine(a: Tensor, b: Tensor, pool: int = 1) -> Tensor:
    """Cosine of each pair of images or gradients as vectors, (B,) float64; 0 where `a` is all zero.

    Parameters
    ----------
    a, b : (B, 3, H, W); no image of b may be zero
    pool : both are averaged over pool x pool pixels first, which must divide H and W; it takes away what
        differs from pixel to pixel only
    """
    if a.ndim != 4 or a.shape != b.shape:
        raise ValueError(f"both must have one shape (B, 3, H, W), got {tuple(a.shape)} and {tuple(b.shape)}")
    if pool < 1 or a.shape[2] % pool or a.shape[3] % pool:
        raise ValueError(f"pool must be a divisor of the image's sides {tuple(a.shape[2:])}, got {pool}")
    a, b = (F.avg_pool2d(part.detach().cpu().double(), pool).flatten(1) for part in (a, b))  # (B, D)
    length_a, length_b = a.norm(dim=1), b.norm(dim=1)
    if not bool((torch.isfinite(length_b) & (length_b > 0)).all()):
        raise ValueError(f"a direction is zero or not finite (pool = {pool}); leave this image out")
    return (a * b).sum(1) / torch.where(length_a > 0, length_a, 1.0) / length_b


def gradient_cosine(
    embedder, x: Tensor, direction: Tensor, z_goal: Tensor, pool: int = 1, batch_size: int = 64
) -> Tensor:
    """Does the identity loss ask the pixels for the true change? Cosine of -gradient with it, (B,).

    Random directions give 0 with a deviation of 1 / sqrt(D), D = 3 H W / pool^2: 0.009 for 64 px. Faces
    change alike, so compare with another image's direction too: `direction.roll(1, 0)`. For several values of
    `pool`, take one `identity_gradient` and `image_cosine`.

    Parameters
    ----------
    x : (B, 3, H, W) in [-1, 1]
    direction : (B, 3, H, W), the true change of each image toward the goal (a difference of two renderings)
    z_goal : (B, dim)
    """
    return image_cosine(-identity_gradient(embedder, x, z_goal, batch_size), direction, pool)


def pgd_shift(
    embedder, x: Tensor, epsilon: float, steps: int = 20, z_goal=None, seed: int = 0, batch_size: int = 64
) -> tuple[Tensor, Tensor]:
    """How far a change that nobody sees moves an embedding: projected gradient descent (Madry et al. 2018).

    From a random start in the ball, steps of 2.5 epsilon / steps by the gradient's sign, each brought back to
    at most `epsilon` a value and to [-1, 1]; the strongest image met on the way counts. Without a goal the
    embedding is driven from where it was; with one it is drawn there: a swapper's cheat at the identity loss.

    Parameters
    ----------
    x : (B, 3, H, W) in [-1, 1]
    epsilon : largest change of a value, in units of [-1, 1]: `2 * GRAY_LEVEL` is two of 255 gray levels
    steps : 0 leaves the random start: the control, what noise of this size does
    z_goal : (B, dim), optional

    Returns
    -------
    cosine to the clean embedding or to the goal (B,) float64; the images (B, 3, H, W); both on the CPU
    """
    _check_batches(x, z_goal, batch_size)
    if x.min() < -1 or x.max() > 1:
        raise ValueError(f"x must lie in [-1, 1], got {x.min():g} to {x.max():g}; clip it first")
    if not epsilon >= 0 or steps < 0:
        raise ValueError(f"epsilon and steps must be at least 0, got {epsilon} and {steps}")
    step_size = STEP * epsilon / max(steps, 1)
    # Drawn for all images at once, so that the batch size changes nothing.
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    results = []
    with _judging(embedder) as device:
        for rows in torch.arange(len(x)).split(batch_size):
            clean = x[rows].clone().to(device)
            low, high = (clean - epsilon).clamp_min(-1), (clean + epsilon).clamp_max(1)
            start = (clean + epsilon * noise[rows].to(clean)).clamp(low, high)
            goal = None if z_goal is None else z_goal[rows].clone()
            best = _descend(embedder, clean, start, (low, high), goal, steps, step_size)
            results.append([part.cpu() for part in best])
    cosines, images = zip(*results, strict=True)
    return torch.cat(cosines), torch.cat(images)


def _descend(embedder, clean, x, bounds, z_goal, steps, step_size) -> tuple[Tensor, Tensor]:
    """The best cosine (to the goal or the clean embedding) of `steps` + 1 images from x on, and its image."""
    away = z_goal is None
    with torch.no_grad():
        z_clean = embedder(clean)
    z_goal = z_clean if away else z_goal
    best, best_x = F.cosine_similarity(z_clean.cpu().double(), z_goal.cpu().double()), clean
    sign = 1 if away else -1  # up or down the identity loss
    for step in range(steps + 1):
        cosine, gradient = _pull(embedder, x, z_goal)
        better = sign * cosine < sign * best
        best = torch.where(better, cosine, best)
        best_x = torch.where(better.to(x.device)[:, None, None, None], x, best_x)
        if step < steps:
            x = (x + sign * step_size * gradient.sign()).clamp(*bounds)
    return best, best_x
