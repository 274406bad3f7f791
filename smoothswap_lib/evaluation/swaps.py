"""Judging swaps: Table 1, and the error to the true swap.

Images are float tensors in [-1, 1] throughout. A squared error is in these units, so it is four times what
[0, 1] images would give; the peak of PSNR and SSIM is 2, so those two do not depend on the range.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from smoothswap_lib.evaluation.verification import embed

REGIONS = {"background": 0, "face": 1, "hair": 2, "clothes": 3}  # values of TrueSwap's mask
PEAK = 2.0  # images span [-1, 1]
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5  # Wang et al. 2004
SSIM_BATCH = 32  # images at a time: their double precision maps stay in the cache


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


def recolour(x_target: Tensor, mask_target: Tensor, x_true: Tensor, mask_true: Tensor) -> Tensor:
    """The paint bucket: the target with the true swap's mean colors of face and hair, and nothing else of it.

    What a swap that moves colors and no face can reach at best; a swapper has to beat it. A region gets one
    gain per channel of its values in [0, 1]; one that either picture lacks stays as it is.

    Parameters
    ----------
    x_target, x_true : (B, 3, H, W) in [-1, 1]
    mask_target, mask_true : (B, H, W), the codes of REGIONS

    Returns
    -------
    (B, 3, H, W) in [-1, 1]
    """
    _check_images(x_target=x_target, x_true=x_true)
    target, true = (x_target + 1) / 2, (x_true + 1) / 2  # (B, 3, H, W) in [0, 1]
    gain = torch.ones_like(target)
    for region in ("face", "hair"):
        inside, meant = ((torch.as_tensor(m) == REGIONS[region])[:, None] for m in (mask_target, mask_true))
        means = [
            (x * m).sum((2, 3), keepdim=True) / m.sum((2, 3), keepdim=True)  # (B, 3, 1, 1), NaN without one
            for x, m in ((target, inside), (true, meant))
        ]
        ratio = means[1] / means[0].clamp(min=1e-6)
        gain = torch.where(inside & ratio.isfinite(), ratio, gain)
    return (target * gain).clamp(0, 1) * 2 - 1


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
