"""Judging embedders: do the images of one person lie together (verification, Table 2)?"""

from collections.abc import Callable

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import normalize

MAX_PAIRS = 5_000_000  # about 3,000 images; more would take long, and gigabytes


def embed(images, embedder: Callable[[Tensor], Tensor], batch_size: int = 256) -> Tensor:
    """Embeddings of many images, in inference mode; the embedder is in eval mode only meanwhile.

    Parameters
    ----------
    images : (N, 3, H, W) tensor in [-1, 1], or an iterable of such batches

    Returns
    -------
    (N, dim) float32 on the CPU
    """
    module = embedder if isinstance(embedder, torch.nn.Module) else None
    was_training = module is not None and module.training
    parameter = next(module.parameters(), None) if module is not None else None
    batches = images.split(batch_size) if isinstance(images, Tensor) else images
    if module is not None:
        module.eval()
    try:
        with torch.inference_mode():
            z = [embedder(x if parameter is None else x.to(parameter.device)).float().cpu() for x in batches]
    finally:
        if was_training:
            module.train()
    # Inference tensors cannot enter a later graph; a copy outside can.
    return torch.cat(z).clone()


def pair_cosines(z: Tensor, first, second) -> np.ndarray:
    """Cosine of each listed pair of embeddings, (pairs,) in [-1, 1]."""
    z = normalize(z.double(), dim=1)
    first, second = torch.as_tensor(first).long(), torch.as_tensor(second).long()
    blocks = zip(first.split(65536), second.split(65536), strict=True)
    return torch.cat([(z[a] * z[b]).sum(1) for a, b in blocks]).clamp(-1, 1).cpu().numpy()


def verification_auc_pairs(z: Tensor, first, second, same) -> float:
    """Area under the ROC curve of cosine as a judge of "same identity?", over listed pairs (Table 2)."""
    return _auc(np.asarray(same, dtype=bool), pair_cosines(z, first, second))


def _auc(same: np.ndarray, cosine: np.ndarray) -> float:
    if same.all() or not same.any():
        raise ValueError(
            "verification needs pairs of both kinds, same and different; these are all of one kind"
        )
    return float(roc_auc_score(same, cosine))


def verification_auc(z: Tensor, identity) -> float:
    """`verification_auc_pairs` over all pairs of images.

    Parameters
    ----------
    z : (N, dim)
    identity : (N,) integers
    """
    identity = np.asarray(identity)
    if identity.shape != (len(z),):
        raise ValueError(
            f"identity must hold one value for each of the {len(z)} embeddings, got {identity.shape}"
        )
    if len(z) * (len(z) - 1) // 2 > MAX_PAIRS:
        raise ValueError(f"{len(z)} images make too many pairs; list some and call verification_auc_pairs")
    first, second = np.triu_indices(len(z), k=1)
    z = normalize(z.double(), dim=1)
    # Rounded, so that equal embeddings tie whatever the order of a sum.
    cosine = (z @ z.T).cpu().numpy()[first, second].round(12)
    return _auc(identity[first] == identity[second], cosine)


def best_threshold(cosine: np.ndarray, same: np.ndarray) -> float:
    """The cosine above which "same" is said, with the fewest errors; half-way between two scores."""
    order = np.argsort(-cosine, kind="stable")
    cosine, same = cosine[order], same[order]
    # right[k]: how many answers are right when the k highest cosines are called "same".
    right = np.concatenate([[0], np.cumsum(same)]) + np.concatenate([np.cumsum(~same[::-1])[::-1], [0]])
    right[1:-1][cosine[1:] == cosine[:-1]] = -1  # equal scores cannot be told apart
    between = np.concatenate([[cosine[0] + 1], (cosine[1:] + cosine[:-1]) / 2, [cosine[-1] - 1]])
    return float(between[right.argmax()])


def verification_accuracy(z: Tensor, first, second, same, folds=10) -> tuple[float, float]:
    """LFW's protocol: each fold is judged with the threshold that was best on the others.

    Parameters
    ----------
    first, second, same : (pairs,)
    folds : (pairs,) the fold of each pair (`TrueSwap.folds()`), or a number: so many even blocks, in the
        order of the pairs (LFW: 10 blocks of 300 same, 300 different). Uneven folds must be given, or people
        would stand on both sides of a border.

    Returns
    -------
    mean accuracy over the folds, and its standard error
    """
    cosine, same = pair_cosines(z, first, second), np.asarray(same, dtype=bool)
    if np.ndim(folds) == 0:
        if len(same) < 2 * folds:
            raise ValueError(f"{folds} folds need at least {2 * folds} pairs, got {len(same)}")
        folds = np.arange(len(same)) * folds // len(same)
    folds = np.asarray(folds)
    if folds.shape != same.shape:
        raise ValueError(f"folds must be one number, or one per pair ({len(same)}), got {folds.shape}")
    accuracies = []
    for fold in (np.flatnonzero(folds == number) for number in np.unique(folds)):
        if same[fold].all() or not same[fold].any():
            raise ValueError(
                "a fold holds one kind of pair only; list the pairs fold by fold, both kinds in each"
            )
        others = np.setdiff1d(np.arange(len(same)), fold)
        threshold = best_threshold(cosine[others], same[others])
        accuracies.append(np.mean((cosine[fold] > threshold) == same[fold]))
    return float(np.mean(accuracies)), float(np.std(accuracies, ddof=1) / np.sqrt(len(accuracies)))
