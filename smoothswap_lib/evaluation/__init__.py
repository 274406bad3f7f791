"""Judging embedders and swaps. Images are float tensors in [-1, 1] throughout."""

from smoothswap_lib.evaluation.bootstrap import Interval, mean_interval, ratio_interval
from smoothswap_lib.evaluation.swaps import (
    PEAK,
    REGIONS,
    error_to_truth,
    over_seeds,
    overall_score,
    psnr_of,
    recolour,
    relative_distance,
    ssim,
    ssim_map,
    swap_report,
)
from smoothswap_lib.evaluation.verification import (
    best_threshold,
    embed,
    pair_cosines,
    verification_accuracy,
    verification_auc,
    verification_auc_pairs,
)

__all__ = [
    "PEAK",
    "REGIONS",
    "Interval",
    "best_threshold",
    "embed",
    "error_to_truth",
    "mean_interval",
    "over_seeds",
    "overall_score",
    "pair_cosines",
    "psnr_of",
    "ratio_interval",
    "recolour",
    "relative_distance",
    "ssim",
    "ssim_map",
    "swap_report",
    "verification_accuracy",
    "verification_auc",
    "verification_auc_pairs",
]
