"""Self-checks of the exercises: each `check_*` asks a student's function and says what is wrong with it.

A check compares the answer with the right one, then with what typical mistakes would give. A right answer is
printed, a wrong one raises `WrongAnswer`.
"""

from smoothswap_lib.checks.ablations import check_claim_verdict, check_steps_to_level
from smoothswap_lib.checks.base import WrongAnswer
from smoothswap_lib.checks.detection import check_auc, check_rings, check_share_of_alarms
from smoothswap_lib.checks.embedder import check_contrastive_loss
from smoothswap_lib.checks.faces import check_error_over_copying, check_psnr, check_true_swap
from smoothswap_lib.checks.generator import check_fir_downsample
from smoothswap_lib.checks.gpu import check_lost_share
from smoothswap_lib.checks.judging import check_redrawn_mean, check_relative_distance
from smoothswap_lib.checks.lab import check_difference, check_film
from smoothswap_lib.checks.losses import check_identity_loss, check_minibatch_stddev, check_r1_penalty
from smoothswap_lib.checks.rivals import check_adain, check_blend_by_mask
from smoothswap_lib.checks.scale import check_joined_gradient, check_r1_share, check_step_seconds
from smoothswap_lib.checks.smoothness import check_slerp, check_verdict
from smoothswap_lib.checks.training import check_ema_update, check_self_pairs
