"""Training the identity embedder (`embedder`) and the swapper (`swapper`): the same loop with every profile.

python -m smoothswap_lib.training embedder|swapper --profile P --out DIR [--resume] [--seed S]
    [--set NAME=VALUE ...]
"""

from smoothswap_lib.training.accelerator import make_accelerator
from smoothswap_lib.training.embedder import (
    classifier_head,
    decayed_learning_rate,
    embedder_loss,
    embedder_step,
    train_embedder,
)
from smoothswap_lib.training.run_folder import NonFiniteError, Run, RunError, TrainingResult, write_preview
from smoothswap_lib.training.settings import apply_settings, data_name, open_data
from smoothswap_lib.training.shipping import model_card, ship
from smoothswap_lib.training.swapper import (
    NUM_PREVIEWS,
    SwapperParts,
    build_swapper,
    discriminator_step,
    ema_decay_at,
    frozen_embedder,
    generator_step,
    preview,
    swapper_batch,
    swapper_step,
    train_swapper,
    update_ema,
    warm_up,
)

__all__ = [
    "NUM_PREVIEWS",
    "NonFiniteError",
    "Run",
    "RunError",
    "SwapperParts",
    "TrainingResult",
    "apply_settings",
    "build_swapper",
    "classifier_head",
    "data_name",
    "decayed_learning_rate",
    "discriminator_step",
    "ema_decay_at",
    "embedder_loss",
    "embedder_step",
    "frozen_embedder",
    "generator_step",
    "make_accelerator",
    "model_card",
    "open_data",
    "preview",
    "ship",
    "swapper_batch",
    "swapper_step",
    "train_embedder",
    "train_swapper",
    "update_ema",
    "warm_up",
    "write_preview",
]
