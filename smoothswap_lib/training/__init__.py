"""Training the identity embedder (`embedder`) and the swapper (`swapper`): the same loop with every profile.

python -m smoothswap_lib.training embedder|swapper --profile P --out DIR [--resume] [--seed S]
    [--set NAME=VALUE ...]
"""

from smoothswap_lib.runs.folder import (
    Interrupted,
    NonFiniteError,
    Run,
    RunError,
    StoppedError,
    TrainingResult,
)
from smoothswap_lib.runs.previews import NUM_PREVIEWS, preview, write_preview
from smoothswap_lib.runs.settings import apply_settings, data_metadata, open_data
from smoothswap_lib.runs.shipping import export, ship
from smoothswap_lib.training.accelerator import make_accelerator
from smoothswap_lib.training.embedder import decayed_learning_rate, train_embedder
from smoothswap_lib.training.swapper import (
    Swapper,
    build_swapper,
    ema_decay_at,
    frozen_embedder,
    prepare_swapper,
    swapper_batch,
    swapper_step,
    train_swapper,
    update_ema,
)
