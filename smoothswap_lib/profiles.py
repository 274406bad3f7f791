"""Every number of a run, in one place: quick, laptop, colab, paper.

One code and one loop serve all profiles (Sec. 5.1); a profile changes numbers, and names the embedder's trunk
and the discriminator. Imports nothing.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

BACKBONES = ("resnet_small", "resnet50")
EMBEDDER_LOSSES = ("supcon", "khosla", "ce_lin", "ce_arc")
DISCRIMINATORS = ("stylegan2", "strided")
PRECISIONS = ("no", "bf16", "fp16")
SMALLEST_MAP = 4  # pixels; both networks end at 4 x 4 at 256 px


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _require_type(value: Any, expected: type, name: str) -> None:
    """Whole numbers pass as floats; nothing else is taken for something that it is not."""
    accepted = (int, float) if expected is float else (expected,)
    wrong_bool = isinstance(value, bool) and expected is not bool
    if wrong_bool or not isinstance(value, accepted):
        raise ValueError(f"{name} must be of type {expected.__name__}, got {value!r}")
    if isinstance(value, float):
        _require(math.isfinite(value), f"{name} must be finite, got {value!r}")


def _check_numbers(section: Any, may_be_zero: tuple[str, ...] = ()) -> None:
    """Check each scalar of a section: of its declared type, and more than 0 (or 0, where that means off)."""
    kinds = {"int": int, "float": float, "str": str, "bool": bool}
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        name = f"{type(section).__name__}.{field.name}"
        if field.type not in kinds:
            continue
        _require_type(value, kinds[field.type], name)
        if field.type in ("str", "bool"):
            continue
        if field.name in may_be_zero:
            _require(value >= 0, f"{name} must be 0 or more, got {value!r}")
        else:
            _require(value > 0, f"{name} must be more than 0, got {value!r}")


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


@dataclass(frozen=True)
class EmbedderProfile:
    """The identity embedder and its training (Sec. 4.1, 5.1).

    `loss` is "supcon" (the paper's equation), "khosla" (Khosla et al.'s), "ce_lin" or "ce_arc" (Table 2's
    baselines). At the fractions `decay_at` of `steps` the learning rate is multiplied by `decay_factor`.
    `arc_scale` and `arc_margin` (radians) belong to "ce_arc" only. `color_jitter` and `gray_share` are those
    of `training.augmentation.color_factors`; 0 leaves the images as they are.
    """

    backbone: str
    dim: int
    steps: int
    loss: str = "supcon"
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

    def __post_init__(self) -> None:
        _check_numbers(self, may_be_zero=("arc_margin", "color_jitter", "gray_share"))
        for name in ("color_jitter", "gray_share"):
            _require(getattr(self, name) <= 1, f"{name} must be at most 1, got {getattr(self, name)}")
        _require(self.backbone in BACKBONES, f"backbone must be one of {BACKBONES}, got {self.backbone!r}")
        _require(self.loss in EMBEDDER_LOSSES, f"loss must be one of {EMBEDDER_LOSSES}, got {self.loss!r}")
        _require(
            self.identities_per_batch >= 2,
            f"identities_per_batch must be 2 or more (one has no negatives), got {self.identities_per_batch}",
        )
        _require(
            self.images_per_identity >= 2,
            f"images_per_identity must be 2 or more (one has no positive), got {self.images_per_identity}",
        )
        _require(
            isinstance(self.decay_at, tuple)
            and all(0 < a < b <= 1 for a, b in zip(self.decay_at, (*self.decay_at[1:], 1.0), strict=True)),
            f"decay_at must be rising fractions of the steps between 0 and 1, got {self.decay_at!r}",
        )
        _require(self.decay_factor <= 1, f"decay_factor must be at most 1, got {self.decay_factor}")
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
    `self_pairs` is the number of (x_target, x_target) pairs in a batch. `warmup_steps` 0 means none.
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
    warmup_steps: int = 0
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        weights = ("lambda_id", "lambda_chg", "lambda_adv", "r1_gamma")
        _check_numbers(self, may_be_zero=(*weights, "self_pairs", "ema_decay", "warmup_steps"))
        for name in ("channel_multipliers", "attention_resolutions"):
            values = getattr(self, name)
            whole = isinstance(values, tuple) and all(type(v) is int and v > 0 for v in values)
            _require(whole, f"{name} must be a tuple of positive whole numbers, got {values!r}")
        _require(
            self.discriminator in DISCRIMINATORS,
            f"discriminator must be one of {DISCRIMINATORS}, got {self.discriminator!r}",
        )
        _require(len(self.channel_multipliers) >= 1, "channel_multipliers needs one number a level, got none")
        _require(
            self.self_pairs <= self.batch_size,
            f"self_pairs ({self.self_pairs}) cannot be more than batch_size ({self.batch_size})",
        )
        _require(self.ema_decay < 1, f"ema_decay must be below 1, got {self.ema_decay}")
        _require(
            isinstance(self.adam_betas, tuple)
            and len(self.adam_betas) == 2
            and all(isinstance(b, float) and 0 <= b < 1 for b in self.adam_betas),
            f"adam_betas must be two floats from 0.0 up to, but not including, 1.0, got {self.adam_betas!r}",
        )


@dataclass(frozen=True)
class Profile:
    """One way to run the course: image size, precision, how often to log, and the two trainings.

    The last four say how a machine does the work (`training.accelerator`). `micro_batches` is the number of
    parts that a process takes its share of a batch in, one after the other, adding up gradients (gradient
    accumulation). `recompute` saves memory: of a generator's block only the input is kept for the backward
    pass (gradient checkpointing). `compile_networks` is torch.compile's, for generator and embedder.
    `loader_workers` is the number of processes that read images beside each training process, on GPUs only.

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
    micro_batches: int = 1
    recompute: bool = False
    compile_networks: bool = False
    loader_workers: int = 0

    def __post_init__(self) -> None:
        _check_numbers(self, may_be_zero=("loader_workers",))
        _require(isinstance(self.embedder, EmbedderProfile), "embedder must be an EmbedderProfile")
        _require(isinstance(self.swapper, SwapperProfile), "swapper must be a SwapperProfile")
        _require(
            self.mixed_precision in PRECISIONS,
            f"mixed_precision must be one of {PRECISIONS}, got {self.mixed_precision!r}",
        )
        _require(
            _is_power_of_two(self.size) and self.size >= 8,
            f"size must be a power of two from 8 on (the networks halve it), got {self.size}",
        )
        resolutions = tuple(self.size >> level for level in range(len(self.swapper.channel_multipliers)))
        _require(
            resolutions[-1] >= SMALLEST_MAP,
            f"{len(resolutions)} channel_multipliers halve {self.size} px to below {SMALLEST_MAP} px",
        )
        for resolution in self.swapper.attention_resolutions:
            _require(
                resolution in resolutions,
                f"attention resolution {resolution} is none of the generator's {resolutions}",
            )

    def override(self, section: str, changes: dict[str, Any]) -> Profile:
        """Return a copy with other numbers, checked like any profile.

        Parameters
        ----------
        section : "embedder", "swapper" or "profile" (its own fields: size, mixed_precision, ...)
        changes : field -> value; text, as from a command line, is read: "40", "1e-3", "1,2,2,2"

        Raises
        ------
        ValueError
            For an unknown section or field, unreadable text, or an impossible value.
        """
        return self.override_all({section: changes})

    def override_all(self, changes: dict[str, dict[str, Any]]) -> Profile:
        """`override` of several sections at once, checked together: a size and the levels that fit it."""
        parts = {}
        for section, values in changes.items():
            _require(
                section in ("embedder", "swapper", "profile"),
                f"section must be 'embedder', 'swapper' or 'profile', got {section!r}",
            )
            old = self if section == "profile" else getattr(self, section)
            fields = [f.name for f in dataclasses.fields(old) if f.name not in ("embedder", "swapper")]
            for name in values:
                _require(name in fields, f"{section} has no number {name!r}; it has {', '.join(fields)}")
            new = {name: _read(value, getattr(old, name), name) for name, value in values.items()}
            parts |= new if section == "profile" else {section: dataclasses.replace(old, **new)}
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
        mixed_precision="no",  # bf16 is 7-8 times slower than fp32 on a CPU without AVX-512
        log_every=10,
        save_every=250,
        preview_every=250,
        # ArcFace's 64 and 0.5 are for thousands of identities; with hundreds the loss starts too steep.
        embedder=EmbedderProfile(
            backbone="resnet_small",
            dim=128,
            steps=3000,
            arc_scale=32.0,
            arc_margin=0.3,
        ),
        swapper=SwapperProfile(
            generator_width=16,
            channel_multipliers=(1, 2, 2, 2),
            blocks_per_level=1,
            attention_resolutions=(16,),
            discriminator_base=1024,
            discriminator_max=128,
            steps=10_000,
            generator_learning_rate=5e-4,
            discriminator="strided",  # in short trainings StyleGAN2's filters hide what gives a swap away
            discriminator_learning_rate=8e-3,
            r1_gamma=0.1,  # StyleGAN2: 0.0002 x 64^2 / 8
            ema_decay=0.998,
            lambda_chg=5.0,  # at 1 backgrounds pay for the identity; the paper does not say its loss's unit
        ),
    )


def _quick() -> Profile:
    """The laptop's networks at half their width, for tens of steps; the average must forget its start."""
    laptop = _laptop()
    quick = dataclasses.replace(laptop, name="quick", log_every=1, save_every=10, preview_every=10)
    narrow = {"generator_width": 8, "discriminator_base": 512, "discriminator_max": 64}
    few = {"steps": 20, "ema_decay": 0.9}
    return quick.override("embedder", {"steps": 20}).override("swapper", narrow | few)


def _colab() -> Profile:
    return Profile(
        name="colab",
        size=128,
        mixed_precision="fp16",  # a T4 has no bf16 units
        log_every=20,
        save_every=1000,
        preview_every=1000,
        embedder=EmbedderProfile(backbone="resnet50", dim=512, steps=10_000, arc_scale=32.0, arc_margin=0.3),
        swapper=SwapperProfile(
            generator_width=32,
            channel_multipliers=(1, 1, 2, 2, 2, 2),
            blocks_per_level=2,
            attention_resolutions=(16,),
            discriminator_base=8192,
            discriminator_max=256,
            steps=40_000,
            generator_learning_rate=1e-3,
            discriminator_learning_rate=4e-3,
            r1_gamma=0.41,  # StyleGAN2: 0.0002 x 128^2 / 8
            ema_decay=0.999,
        ),
        loader_workers=2,
    )


def _paper() -> Profile:
    """Sec. 5.1. Inferred: the vector's 512 numbers, betas, EMA, R1 (StyleGAN2), gradient clip (score_sde)."""
    return Profile(
        name="paper",
        size=256,
        mixed_precision="bf16",
        log_every=50,
        save_every=5000,
        preview_every=5000,
        embedder=EmbedderProfile(backbone="resnet50", dim=512, steps=101_000),
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
        loader_workers=4,
    )


_MAKERS = {"quick": _quick, "laptop": _laptop, "colab": _colab, "paper": _paper}


def names() -> tuple[str, ...]:
    """Return the profiles' names, from the smallest to the paper's."""
    return tuple(_MAKERS)


def get(name: str) -> Profile:
    """Return the profile of that name; ValueError if there is none."""
    if name not in _MAKERS:
        raise ValueError(f"there is no profile {name!r}; choose one of {', '.join(names())} (profiles.py)")
    return _MAKERS[name]()
