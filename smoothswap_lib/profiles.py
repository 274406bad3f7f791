"""Every number of a run, in one place: quick, laptop, gpu64, gpu128, paper.

One code and one loop serve all profiles (Sec. 5.1); a profile changes numbers, and names the embedder's trunk
and the discriminator. Imports nothing.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

BACKBONES = ("plain", "resnet50")
EMBEDDER_LOSSES = ("printed", "supcon", "ce_lin", "ce_arc")
DISCRIMINATORS = ("stylegan2", "strided")
PRECISIONS = ("no", "bf16", "fp16", "auto")
SMALLEST_MAP = 4  # pixels; both networks end at 4 x 4 at 256 px
LOWEST_TEMPERATURE = 1e-3  # below it float32 loses the loss's digits
# Said wherever the reader meets what only a GPU can show. A report of experiments/gpu_check.sh replaces it.
GPU_RECORD = "not yet run on a GPU"
KINDS = {"int": int, "float": float, "str": str, "bool": bool}


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _check_scalars(config: Any, may_be_zero: tuple[str, ...] = (), **choices: tuple[str, ...]) -> None:
    """Each scalar has its declared type, is one of its choices, and above 0 (or 0, where that means off)."""
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{type(config).__name__}.{field.name}"
        kind = KINDS.get(field.type)
        if kind is None:
            continue
        accepted = (int, float) if kind is float else (kind,)  # whole numbers pass as floats
        right = isinstance(value, accepted) and (kind is bool or not isinstance(value, bool))
        _require(right, f"{name} must be of type {kind.__name__}, got {value!r}")
        if field.name in choices:
            known = choices[field.name]
            _require(value in known, f"{field.name} must be one of {known}, got {value!r}")
        if kind in (int, float):
            _require(math.isfinite(value), f"{name} must be finite, got {value!r}")
            least = "0 or more" if field.name in may_be_zero else "more than 0"
            right = value > 0 or (value == 0 and field.name in may_be_zero)
            _require(right, f"{name} must be {least}, got {value!r}")


@dataclass(frozen=True)
class EmbedderProfile:
    """The identity embedder and its training (Sec. 4.1, 5.1).

    `loss` is "printed" (the paper's equation), "supcon" (Khosla et al.'s, which it cites), "ce_lin" or
    "ce_arc" (Table 2's baselines). At the fractions `decay_at` of `steps` the learning rate is multiplied by
    `decay_factor`.
    `arc_scale` and `arc_margin` (radians) belong to "ce_arc" only. `color_jitter` and `gray_share` are those
    of `training.augmentation.color_factors`; 0 leaves the images as they are. `epsilon`, in gray levels of
    255, is how far `training.embedder.adversarial` may move a pixel; 0 is the paper's training. The first
    `clean_share` of the steps see pictures as they are, and the next as many raise epsilon to its full value.
    """

    backbone: str
    dim: int
    steps: int
    loss: str = "printed"
    temperature: float = 0.07
    arc_scale: float = 64.0
    arc_margin: float = 0.5
    identities_per_batch: int = 32
    images_per_identity: int = 4
    learning_rate: float = 1e-3
    decay_at: tuple[float, ...] = (0.6, 0.75, 0.9)
    decay_factor: float = 0.1
    color_jitter: float = 0.0
    gray_share: float = 0.0
    epsilon: float = 0.0
    clean_share: float = 0.3

    def __post_init__(self) -> None:
        zero = ("arc_margin", "color_jitter", "gray_share", "epsilon", "clean_share")
        _check_scalars(self, zero, backbone=BACKBONES, loss=EMBEDDER_LOSSES)
        for name in ("color_jitter", "gray_share", "decay_factor", "clean_share"):
            _require(getattr(self, name) <= 1, f"{name} must be at most 1, got {getattr(self, name)}")
        for name, lack in (("identities_per_batch", "negatives"), ("images_per_identity", "positive")):
            value = getattr(self, name)
            _require(value >= 2, f"{name} must be 2 or more (one has no {lack}), got {value}")
        lowest = f"temperature must be {LOWEST_TEMPERATURE:g} or more, got {self.temperature:g}"
        _require(self.temperature >= LOWEST_TEMPERATURE, lowest)
        ends = self.decay_at if isinstance(self.decay_at, tuple) else ()
        rising = bool(ends) and all(0 < a < b <= 1 for a, b in zip(ends, (*ends[1:], 1.0), strict=True))
        wanted = "decay_at must be rising fractions of the steps between 0 and 1"
        _require(rising, f"{wanted}, one or more, got {self.decay_at!r}")
        _require(self.arc_margin < math.pi, f"arc_margin is in radians, below pi, got {self.arc_margin}")

    @property
    def batch_size(self) -> int:
        """Images in a batch: identities x images of each (128 in the paper)."""
        return self.identities_per_batch * self.images_per_identity


@dataclass(frozen=True)
class SwapperProfile:
    """Generator, discriminator and their training (Sec. 4.2, 5.1).

    `r1_gamma` is StyleGAN2's: gamma / 2 x squared gradient norm is the penalty, every `r1_interval` steps.
    `discriminator` is "stylegan2" (the paper's) or "strided" (DCGAN's form, see `discriminator.py`).
    `self_pairs` is the number of (x_target, x_target) pairs in a batch. `max_grad_norm` 0 clips nothing.
    """

    generator_width: int
    channel_multipliers: tuple[int, ...]
    blocks_per_level: int
    attention_resolutions: tuple[int, ...]
    discriminator_base: int
    discriminator_max: int
    steps: int
    generator_learning_rate: float
    discriminator_learning_rate: float
    r1_gamma: float
    ema_decay: float
    discriminator: str = "stylegan2"
    lambda_id: float = 4.0
    lambda_chg: float = 1.0
    lambda_adv: float = 1.0
    batch_size: int = 8
    self_pairs: int = 1
    adam_betas: tuple[float, float] = (0.0, 0.99)
    r1_interval: int = 16
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        weights = ("lambda_id", "lambda_chg", "lambda_adv", "r1_gamma")
        zero = (*weights, "self_pairs", "ema_decay", "max_grad_norm")
        _check_scalars(self, zero, discriminator=DISCRIMINATORS)
        for name in ("channel_multipliers", "attention_resolutions"):
            values = getattr(self, name)
            whole = isinstance(values, tuple) and all(type(v) is int and v > 0 for v in values)
            _require(whole, f"{name} must be a tuple of positive whole numbers, got {values!r}")
        _require(len(self.channel_multipliers) >= 1, "channel_multipliers needs one number a level, got none")
        _require(
            self.self_pairs < self.batch_size,
            f"self_pairs ({self.self_pairs}) must be below batch_size ({self.batch_size}): none would swap",
        )
        _require(self.ema_decay < 1, f"ema_decay must be below 1, got {self.ema_decay}")
        betas = self.adam_betas
        pair = isinstance(betas, tuple) and len(betas) == 2
        right = pair and all(isinstance(b, float) and 0 <= b < 1 for b in betas)  # Adam refuses (0, 0.99)
        _require(right, f"adam_betas must be two floats from 0.0 to below 1.0, got {betas!r}")


@dataclass(frozen=True)
class Profile:
    """One way to run the course: image size, precision, how often to log and save, and the two trainings.

    `mixed_precision` "auto" is bf16 or fp16, as the GPU has it, and fp32 on a CPU. `compile` lets torch fuse
    generator and embedder: minutes at the start, then faster steps, so it is for long runs.
    `gradient_checkpointing` saves a GPU's memory: a generator's block keeps only its input for later.

    Raises
    ------
    ValueError
        At construction, if a number is impossible or two numbers contradict each other.
    """

    name: str
    size: int
    mixed_precision: str
    log_every: int
    save_every: int
    preview_every: int
    embedder: EmbedderProfile
    swapper: SwapperProfile
    save_every_seconds: float = 60.0  # what a runtime that is taken away may cost
    gradient_checkpointing: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        _check_scalars(self, mixed_precision=PRECISIONS)
        _require(
            self.size >= 8 and self.size & (self.size - 1) == 0,
            f"size must be a power of two from 8 on (the networks halve it), got {self.size}",
        )
        levels = len(self.swapper.channel_multipliers)
        resolutions = tuple(self.size >> level for level in range(levels))
        lowest = f"{levels} channel_multipliers halve {self.size} px to below {SMALLEST_MAP} px"
        _require(resolutions[-1] >= SMALLEST_MAP, lowest)
        for resolution in self.swapper.attention_resolutions:
            known = f"attention resolution {resolution} is none of the generator's {resolutions}"
            _require(resolution in resolutions, known)

    def override(self, task: str, changes: dict[str, Any]) -> Profile:
        """Return a copy with other numbers, checked like any profile.

        Parameters
        ----------
        task : "embedder", "swapper" or "profile" (its own fields: size, mixed_precision, ...)
        changes : field -> value; text, as from a command line, is read: "40", "1e-3", "1,2,2,2"

        Raises
        ------
        ValueError
            For an unknown task or field, unreadable text, or an impossible value.
        """
        return self.override_all({task: changes})

    def override_all(self, changes: dict[str, dict[str, Any]]) -> Profile:
        """`override` of several parts at once, checked together: a size and the levels that fit it."""
        parts = {}
        for task, values in changes.items():
            known = ("embedder", "swapper", "profile")
            _require(task in known, f"task must be 'embedder', 'swapper' or 'profile', got {task!r}")
            old = self if task == "profile" else getattr(self, task)
            fields = [f.name for f in dataclasses.fields(old) if f.name not in known]
            for name in values:
                _require(name in fields, f"{task} has no number {name!r}; it has {', '.join(fields)}")
            new = {name: _read(value, getattr(old, name), name) for name, value in values.items()}
            parts |= new if task == "profile" else {task: dataclasses.replace(old, **new)}
        return dataclasses.replace(self, **parts)


def _read(value: Any, old: Any, name: str) -> Any:
    """Text becomes the kind of the old value; lists become tuples; anything else stays."""
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, str) or isinstance(old, str):
        return value
    try:
        if isinstance(old, bool):
            return {"true": True, "false": False}[value.strip().lower()]
        if isinstance(old, tuple):
            kind = type(old[0]) if old else int
            return tuple(kind(part) for part in value.strip("()[] ").split(",") if part.strip())
        return type(old)(value)
    except (ValueError, KeyError):
        raise ValueError(f"{name}: cannot read {value!r} as {type(old).__name__}, such as {old!r}") from None


def _laptop() -> Profile:
    return Profile(
        name="laptop",
        size=64,
        mixed_precision="no",
        log_every=10,
        save_every=250,
        preview_every=250,
        # ArcFace's 64 and 0.5 are for thousands of identities; with hundreds the loss starts too steep.
        embedder=EmbedderProfile("plain", dim=128, steps=3000, arc_scale=32.0, arc_margin=0.3),
        swapper=SwapperProfile(
            generator_width=16,
            channel_multipliers=(1, 2, 4, 4),
            blocks_per_level=1,
            attention_resolutions=(16,),
            discriminator_base=2048,
            discriminator_max=256,
            steps=10_000,
            generator_learning_rate=5e-4,
            discriminator="strided",  # in short trainings StyleGAN2's filters hide what gives a swap away
            discriminator_learning_rate=8e-3,
            r1_gamma=0.01,  # StyleGAN2 has 0.0002 x 64^2 / 16 = 0.05; the discriminator is the weak one
            ema_decay=0.998,
            batch_size=16,
        ),
    )


def _quick() -> Profile:
    """The laptop's networks at half their width, for tens of steps; the average must forget its start."""
    laptop = _laptop()
    quick = dataclasses.replace(laptop, name="quick", log_every=1, save_every=10, preview_every=10)
    narrow = {"generator_width": 8, "discriminator_base": 1024, "discriminator_max": 128}
    few = {"steps": 20, "ema_decay": 0.9, "batch_size": 8}
    return quick.override("embedder", {"steps": 20}).override("swapper", narrow | few)


def _gpu64() -> Profile:
    """The laptop's recipe at twice its width, with larger batches.

    Sized for a T4 by `experiments/costs.py` with assumed constants; not yet run on a GPU.
    """
    laptop = _laptop()
    embedder = {"steps": 10_000}  # not with ResNet-50: at 64 px it ends in 2 x 2 and forgets where a nose is
    swapper = {
        "generator_width": 32,
        "channel_multipliers": (1, 2, 2, 2),
        "blocks_per_level": 2,
        "steps": 20_000,
        "batch_size": 32,
        "self_pairs": 4,
        "r1_gamma": 0.0256,  # StyleGAN2: 0.0002 x 64^2 / 32
        "ema_decay": 0.999,
    }
    often = {"log_every": 20, "save_every": 500, "preview_every": 500}
    gpu = dataclasses.replace(laptop, name="gpu64", mixed_precision="auto", **often)
    return gpu.override("embedder", embedder).override("swapper", swapper)


def _gpu128() -> Profile:
    """The same at 128 px: one level more, half the batch, an embedder of its own.

    One that learned from 64 px tells people apart with an AUC of .80 at 128 px (.99 at 64; 600 test pairs).
    """
    swapper = {"channel_multipliers": (1, 2, 2, 2, 2), "steps": 40_000, "batch_size": 16, "self_pairs": 2}
    swapper |= {"discriminator_base": 4096, "r1_gamma": 0.2}  # StyleGAN2: 0.0002 x 128^2 / 16
    embedder = {"backbone": "resnet50", "dim": 512, "steps": 15_000}
    gpu = _gpu64().override("profile", {"name": "gpu128", "size": 128})
    return gpu.override("embedder", embedder).override("swapper", swapper)


def _paper() -> Profile:
    """Sec. 5.1. Inferred: the vector's 512 numbers, betas, EMA, R1 (StyleGAN2), gradient clip (score_sde)."""
    return Profile(
        name="paper",
        size=256,
        mixed_precision="auto",
        log_every=50,
        save_every=5000,
        preview_every=5000,
        save_every_seconds=600.0,  # a state has 0.6 GB
        embedder=EmbedderProfile("resnet50", dim=512, steps=101_000),
        swapper=SwapperProfile(
            generator_width=64,
            channel_multipliers=(1, 1, 2, 2, 2, 2, 2),
            blocks_per_level=2,
            attention_resolutions=(16,),
            discriminator_base=32_768,
            discriminator_max=512,
            steps=800_000,
            generator_learning_rate=1e-3,
            discriminator_learning_rate=4e-3,
            r1_gamma=1.64,  # StyleGAN2: 0.0002 x 256^2 / 8
            ema_decay=0.999,
        ),
    )


_MAKERS = {"quick": _quick, "laptop": _laptop, "gpu64": _gpu64, "gpu128": _gpu128, "paper": _paper}


def names() -> tuple[str, ...]:
    """Return the profiles' names, from the smallest to the paper's."""
    return tuple(_MAKERS)


def get(name: str) -> Profile:
    """Return the profile of that name; ValueError if there is none."""
    if name not in _MAKERS:
        raise ValueError(f"there is no profile {name!r}; choose one of {', '.join(names())} (profiles.py)")
    return _MAKERS[name]()
