"""Judging embedders (verification, Table 2) and swaps (Table 1, and the error to the true swap).

Images are float tensors in [-1, 1] throughout. A squared error is in these units, so it is four times what
[0, 1] images would give; the peak of PSNR and SSIM is 2, so those two do not depend on the range.
Depends on scikit-learn (ROC) and pandas (tables).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import normalize, pad

REGIONS = {"background": 0, "face": 1, "hair": 2, "clothes": 3}  # values of TrueSwap's mask
PEAK = 2.0  # images span [-1, 1]
MAX_PAIRS = 5_000_000  # about 3,000 images; more would take long, and gigabytes
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5  # Wang et al. 2004
SSIM_BATCH = 32  # images at a time: their double precision maps stay in the cache


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


def verification_accuracy(z: Tensor, first, second, same, folds: int = 10) -> tuple[float, float]:
    """LFW's protocol: each fold is judged with the threshold that was best on the others.

    Parameters
    ----------
    first, second, same : (pairs,), in the order of the folds (LFW: 10 blocks of 300 same, 300 different)

    Returns
    -------
    mean accuracy over the folds, and its standard error
    """
    cosine, same = pair_cosines(z, first, second), np.asarray(same, dtype=bool)
    if len(same) < 2 * folds:
        raise ValueError(f"{folds} folds need at least {2 * folds} pairs, got {len(same)}")
    accuracies = []
    for fold in np.array_split(np.arange(len(same)), folds):
        if same[fold].all() or not same[fold].any():
            raise ValueError(
                "a fold holds one kind of pair only; list the pairs fold by fold, both kinds in each"
            )
        others = np.setdiff1d(np.arange(len(same)), fold)
        threshold = best_threshold(cosine[others], same[others])
        accuracies.append(np.mean((cosine[fold] > threshold) == same[fold]))
    return float(np.mean(accuracies)), float(np.std(accuracies, ddof=1) / np.sqrt(folds))


def _gaussian_rows(length: int) -> Tensor:
    """The window at each place in turn, (length - 10, length): a product with it blurs, quickly on a CPU."""
    window = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
    window = normalize(torch.exp(-(window**2) / (2 * SSIM_SIGMA**2)), p=1, dim=0)
    return torch.stack(
        [pad(window, (start, length - SSIM_WINDOW - start)) for start in range(length - SSIM_WINDOW + 1)]
    )


def ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity of each pixel's 11 x 11 Gaussian window (sigma 1.5), mean of the three channels.

    SSIM = (2 m_x m_y + C1)(2 s_xy + C2) / ((m_x^2 + m_y^2 + C1)(s_x^2 + s_y^2 + C2)), Wang et al. 2004.

    Parameters
    ----------
    x, y : (B, C, H, W) in [-1, 1]

    Returns
    -------
    (B, H - 10, W - 10); only windows that lie inside the image count
    """
    if min(x.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(
            f"SSIM needs images of at least {SSIM_WINDOW} pixels a side, got {tuple(x.shape[-2:])}"
        )
    if len(x) > SSIM_BATCH:
        return torch.cat(
            [ssim_map(a, b) for a, b in zip(x.split(SSIM_BATCH), y.split(SSIM_BATCH), strict=True)]
        )
    x, y = x.double(), y.double()  # variances are small differences of large squares
    down, across = _gaussian_rows(x.shape[2]).to(x.device), _gaussian_rows(x.shape[3]).to(x.device)

    def blur(image: Tensor) -> Tensor:
        return down @ image @ across.T  # (B, C, H - 10, W - 10)

    mean_x, mean_y = blur(x), blur(y)  # (B, C, H - 10, W - 10)
    variance_x = blur(x * x) - mean_x**2
    variance_y = blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    # SSIM is defined for values from 0 to the peak: lift the means from [-1, 1] to [0, 2].
    mean_x, mean_y = mean_x + PEAK / 2, mean_y + PEAK / 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity = similarity / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))
    return similarity.mean(1)  # (B, H - 10, W - 10)


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Mean of `ssim_map`, one number an image: (B,)."""
    return ssim_map(x, y).mean((1, 2))


def _check_images(**images: Tensor) -> None:
    """All of one shape (B, 3, H, W), floating point and in [-1, 1]."""
    shape = next(iter(images.values())).shape
    for name, x in images.items():
        if x.ndim != 4 or x.shape != shape:
            raise ValueError(
                f"{name} must be (B, 3, H, W) like the others, {tuple(shape)}; got {tuple(x.shape)}"
            )
        if not x.is_floating_point() or not bool(torch.isfinite(x).all()):
            raise ValueError(f"{name} must hold finite floating point numbers in [-1, 1], got {x.dtype}")


def psnr_of(mse: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error between images in [-1, 1]."""
    return float(10 * np.log10(PEAK**2 / mse)) if mse > 0 else float("inf")


def error_to_truth(x_swap: Tensor, x_true: Tensor, mask: Tensor | None = None) -> pd.DataFrame:
    """How far swaps are from the true swaps, overall and in each region of the true swap.

    A row pools the pixels of all images: PSNR is that of the pooled error, so one perfect image does not make
    it infinite. SSIM counts windows by their center pixel. A region that is nowhere in the masks has NaN.

    Parameters
    ----------
    x_swap, x_true : (B, 3, H, W) in [-1, 1]
    mask : (B, H, W) uint8 of the true swaps, optional: background 0, face 1, hair 2, clothes 3

    Returns
    -------
    DataFrame with rows all, background, face, hair, clothes and columns mse (of [-1, 1] values), psnr (dB),
    ssim, share (of all pixels)
    """
    _check_images(x_swap=x_swap, x_true=x_true)
    regions = {"all": torch.ones_like(x_true[:, 0], dtype=torch.bool)}
    if mask is not None:
        mask = torch.as_tensor(mask)
        if mask.shape != x_true[:, 0].shape:
            raise ValueError(f"mask must be (B, H, W) = {tuple(x_true[:, 0].shape)}, got {tuple(mask.shape)}")
        regions |= {name: mask.to(x_true.device) == value for name, value in REGIONS.items()}
    error = (x_swap.double() - x_true.double()).square().mean(1)  # (B, H, W)
    similarity = ssim_map(x_swap, x_true)  # (B, H - 10, W - 10)
    edge = SSIM_WINDOW // 2
    rows = {}
    for name, inside in regions.items():
        mse = error[inside].mean().item()
        center = inside[:, edge:-edge, edge:-edge]
        rows[name] = {"mse": mse, "psnr": psnr_of(mse) if mse == mse else np.nan}
        rows[name] |= {"ssim": similarity[center].mean().item(), "share": inside.double().mean().item()}
    return pd.DataFrame.from_dict(rows, orient="index")


def relative_distance(z_swap: Tensor, z_source: Tensor, z_target: Tensor) -> Tensor:
    """dist-R = d(swap, source) / (d(swap, source) + d(swap, target)), Euclidean, (B,) (Sec. 5.2).

    0 is the source, 1 the target; NaN where all three are one point.
    """
    to_source = torch.linalg.vector_norm(z_swap - z_source, dim=1)
    to_target = torch.linalg.vector_norm(z_swap - z_target, dim=1)
    return to_source / (to_source + to_target)


def _identity_columns(z_swap: Tensor, z_source: Tensor, z_target: Tensor, name: str) -> dict[str, float]:
    return {
        f"cos_source_{name}": torch.cosine_similarity(z_swap, z_source).mean().item(),
        f"cos_target_{name}": torch.cosine_similarity(z_swap, z_target).mean().item(),
        f"identity_r_{name}": relative_distance(z_swap, z_source, z_target).nanmean().item(),
    }


def _truth_columns(x: Tensor, x_true: Tensor, mask: Tensor | None, copying: float) -> dict[str, float]:
    error = error_to_truth(x, x_true, mask)
    columns = {"mse_true": error.mse["all"]}
    columns |= {f"mse_true_{region}": error.mse[region] for region in error.index if region != "all"}
    columns["error_over_copying"] = error.mse["all"] / copying if copying > 0 else np.nan
    return columns | {"psnr": error.psnr["all"], "ssim": error.ssim["all"]}


def swap_report(
    systems: Mapping[str, Tensor],
    x_source: Tensor,
    x_target: Tensor,
    x_true: Tensor | None = None,
    mask: Tensor | None = None,
    embedders: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    batch_size: int = 256,
) -> pd.DataFrame:
    """Table 1 with known answers: one row a system, between what copying gives and what a perfect swap gives.

    Parameters
    ----------
    systems : name -> swaps (B, 3, H, W) in [-1, 1]; rows "copy target", "copy source" and, where the truth is
        known, "true swap" are added
    x_source, x_target, x_true : (B, 3, H, W) in [-1, 1]; x_true is None for photographs
    mask : (B, H, W) uint8 of the true swaps (of the targets when there is no truth), optional
    embedders : name -> judge of identity

    Returns
    -------
    DataFrame indexed by system; lower is better unless said:
    cos_source_NAME (higher is better), cos_target_NAME, identity_r_NAME (dist-R, Sec. 5.2) an embedder;
    mse_true, mse_true_REGION (of [-1, 1] values), error_over_copying (mse_true over that of "copy target"),
    psnr (dB, higher), ssim (higher); background_change, the mean squared difference to the *target* over the
    mask's background: the "true swap" row shows how much of it is due, where the head's outline differs.
    """
    rows = {"copy target": x_target, "copy source": x_source} | dict(systems)
    if x_true is not None:
        rows["true swap"] = x_true
    if len(rows) != len(systems) + 2 + (x_true is not None):
        raise ValueError(
            "systems may not be called 'copy target', 'copy source' or 'true swap': these rows are added"
        )
    _check_images(x_source=x_source, **rows)
    embedders = embedders or {}
    z = {name: [embed(x, e, batch_size) for x in (x_source, x_target)] for name, e in embedders.items()}
    copying = None if x_true is None else (x_target.double() - x_true.double()).square().mean().item()
    report = {}
    for system, x in rows.items():
        columns = {}
        for name, embedder in embedders.items():
            columns |= _identity_columns(embed(x, embedder, batch_size), *z[name], name)
        if x_true is not None:
            columns |= _truth_columns(x, x_true, mask, copying)
        if mask is not None:
            background = torch.as_tensor(mask) == REGIONS["background"]
            change = (x.double() - x_target.double()).square().mean(1)  # (B, H, W)
            columns["background_change"] = change[background].mean().item()
        report[system] = columns
    return pd.DataFrame.from_dict(report, orient="index").rename_axis("system")


def overall_score(table: pd.DataFrame, among: Sequence[str] | None = None) -> pd.Series:
    """Table 1's Overall: the mean over columns of each system's standardized score; lower is better.

    The paper says "average of each score after standardization" but its printed Overall cannot be computed
    from its printed columns; ours standardizes by mean and deviation (of the population) over `among`.

    Parameters
    ----------
    table : a row a system, a column a score of which lower is better
    among : the rows that give mean and deviation (default: all); others are placed on their scale
    """
    reference = table if among is None else table.loc[list(among)]
    if len(reference) < 2:
        raise ValueError(f"standardizing needs two systems or more, got {len(reference)}")
    deviation = reference.std(ddof=0)
    return ((table - reference.mean()) / deviation.where(deviation > 0, 1)).mean(axis=1)


def over_seeds(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """Scores of runs named VARIANT-SEED: each variant's mean over its seeds, and how many those are.

    Parameters
    ----------
    table : a row a run, a column a score; rows with other names (floors, a shipped network) are left out
    """
    runs = table[table.index.str.fullmatch(r".+-\d+")].astype(float)
    by_variant = runs.groupby(runs.index.str.replace(r"-\d+$", "", regex=True))
    return by_variant.mean(), by_variant.size()


if __name__ == "__main__":
    from smoothswap_lib.ffpp import main

    raise SystemExit(main())
