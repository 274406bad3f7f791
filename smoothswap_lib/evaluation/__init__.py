"""Judging embedders and swaps. Images are float tensors in [-1, 1] throughout."""

from smoothswap_lib.evaluation.bootstrap import Interval, mean_interval, ratio_interval
from smoothswap_lib.evaluation.swaps import (
    PEAK,
    REGIONS,
    error_to_truth,
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
