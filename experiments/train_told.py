"""The swapper's last stretch: a discriminator that is told whose face it should see. Ours, not the paper's.

    python -m smoothswap_lib.training swapper --profile laptop --set steps=4000 --out build/begun
    python experiments/train_told.py --start build/begun --steps 21100 --keep 600 --out build/swapper

The paper's discriminator asks whether a picture could be a photograph. Here it also gets an identity vector
and asks whether the picture could be a photograph of *that* person (a projection discriminator, Miyato and
Koyama 2018). Real is a picture with the vector of another picture of the same person, so that nothing but the
person is shared; not real are a swap with its source's vector, and, at half the weight, a picture with
somebody else's vector (Reed et al. 2016). A change that pleases the embedder and is no face is told apart.

Generator, average and discriminator begin as the run of --start left them (its state), the discriminator
alone for WARM steps. Losses, weights and rates are the profile's. Over the last --anneal steps the rates fall
to 0; at the end of a long run that made the swaps worse (lab book, row 38). With --keep N the average of each
N-th step stays in OUT/averages, for `average_weights.py`. Stopped runs go on.
"""

import argparse
import copy
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from command import add_generator_options, exit_code, parser_of
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import Adam

from smoothswap_lib import checkpoints, losses, profiles, training
from smoothswap_lib.datasets import TrueSwap
from smoothswap_lib.discriminator import StridedDiscriminator
from smoothswap_lib.layers import EqualizedLinear, at_least_float32
from smoothswap_lib.training import Run, apply_settings, ship
from smoothswap_lib.training.accelerator import full_precision
from smoothswap_lib.training.swapper import draw_pairs

WARM = 150  # steps of the discriminator alone
MISMATCH = 0.5  # weight of pictures with somebody else's vector
TOLD = 4.0  # weight of what the vector says: entries of a unit vector are small


class ToldDiscriminator(StridedDiscriminator):
    """Image and identity vector -> logit of "this is a photograph of that person"."""

    def __init__(self, size: int, base_channels: int, max_channels: int, identity_dim: int) -> None:
        super().__init__(size, base_channels, max_channels)
        self.proj = EqualizedLinear(self.fc.weight.shape[1], identity_dim)
        nn.init.zeros_(self.proj.weight)  # begins as the discriminator that is told nothing

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """(B, 3, size, size) in [-1, 1] and (B, identity_dim) of unit length -> (B,) logits."""
        h = self.features(x)
        return at_least_float32(self.fc(h).squeeze(1) + TOLD * (self.proj(h) * z).sum(dim=1))  # (B,)


def two_pictures(members: list[np.ndarray], count: int, key: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Two different images of each of `count` people, drawn from `key` alone: indices (count,) twice."""
    rng = np.random.default_rng(key)
    people = rng.integers(len(members), size=count)
    drawn = np.stack([rng.choice(members[person], 2, replace=False) for person in people])
    return drawn[:, 0], drawn[:, 1]


def train_told(
    profile, start: Path, out: Path, data: TrueSwap, embedder: str, seed: int, anneal: int = 0, keep: int = 0
) -> Run:
    """The loop; a batch depends on (seed, step) only. Over the last `anneal` steps the rates fall to 0.

    The average of each `keep`-th step stays in OUT/averages; 0: of none.
    """
    config, accelerator = profile.swapper, training.make_accelerator(profile.mixed_precision)
    embedder, names = training.frozen_embedder(embedder)
    metadata = {**training.data_metadata(data), "start": str(start), **names}
    run = Run(out, "swapper", profile, seed, metadata, accelerator, resume=True)
    torch.manual_seed(seed)
    generator, _, arguments = training.build_swapper(profile, embedder.dim)
    about = {"network": "Generator", "arguments": json.dumps(arguments), **names}
    sizes = profile.size, config.discriminator_base, config.discriminator_max
    discriminator = ToldDiscriminator(*sizes, embedder.dim)
    ema = copy.deepcopy(generator).eval().requires_grad_(False)
    for name, module in {"generator": generator, "discriminator": discriminator, "ema": ema}.items():
        load_start(start, name, module)
    adam_g = Adam(generator.parameters(), config.generator_learning_rate, config.adam_betas)
    adam_d = Adam(discriminator.parameters(), config.discriminator_learning_rate, config.adam_betas)
    modules = {"generator": generator, "discriminator": discriminator, "ema": ema}
    networks = accelerator.prepare(generator, discriminator)
    frozen = accelerator.prepare_model(embedder, evaluation_mode=True)
    if profile.compile:
        networks, frozen = (torch.compile(networks[0]), networks[1]), torch.compile(frozen)
    members = [np.flatnonzero(data.identities == person) for person in np.unique(data.identities)]
    with run.opened(modules, {"generator": adam_g, "discriminator": adam_d}):
        pairs = draw_pairs(seed, training.NUM_PREVIEWS, len(data))
        shown = [data.image_batch(part) for part in pairs]
        for step in range(run.step, config.steps):
            share = min(1.0, (config.steps - step) / max(anneal, 1))  # of the profile's rates
            rates = config.generator_learning_rate, config.discriminator_learning_rate
            for adam, rate in zip((adam_g, adam_d), rates):
                adam.param_groups[0]["lr"] = share * rate
            target, source = training.swapper_batch(len(data), config, seed + 1, step)
            one, other = two_pictures(members, config.batch_size, [seed, 2, step])
            x_target, x_source, x_one, x_other = map(data.image_batch, (target, source, one, other))
            with torch.no_grad():
                z_source, z_other = frozen(x_source), frozen(x_other)  # (B, dim) each
            x_swap, values = generator_step(
                networks, frozen, adam_g, x_target, z_source, config, accelerator, step >= WARM
            )
            if step >= WARM:
                training.update_ema(ema, generator, config.ema_decay)
            values |= discriminator_step(
                networks[1], adam_d, (x_one, z_other), (x_swap, z_source), config, accelerator, step
            )
            run.record(step, values, share * config.generator_learning_rate)
            if run.due(profile.preview_every):
                training.preview(run, ema, embedder, *shown)
            if keep and run.step % keep == 0:
                kept = run.folder / "averages" / f"step_{run.step:06d}.safetensors"
                checkpoints.save_weights(kept, ema, about, half=True)
            run.log_and_save()
        run.finish(ema, about)
    return run


def load_start(start: Path, name: str, module: nn.Module) -> None:
    """A network of another run's state; what that one lacks keeps its first values."""
    path = start / "state" / "state.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: --start names the folder of a swapper's run")
    prefix = f"module.{name}."
    tensors = {key.removeprefix(prefix): v for key, v in load_file(path).items() if key.startswith(prefix)}
    try:
        lacking = set(module.load_state_dict(tensors, strict=False).missing_keys) - {
            "proj.weight",
            "proj.bias",
        }
    except RuntimeError as error:
        raise ValueError(f"{path} holds a {name} of other sizes than the profile's: {error}") from None
    if lacking:
        raise ValueError(f"{path} holds no {name}: {', '.join(sorted(lacking)[:3])} are missing")


def generator_step(networks, frozen, adam, x_target, z_source, config, accelerator, moves: bool):
    """The library's generator step, with a discriminator that is told the source; `moves` False: none yet."""
    generator, discriminator = networks
    if not moves:
        with torch.no_grad():
            return generator(x_target, z_source), {}
    discriminator.requires_grad_(False)
    x_swap = generator(x_target, z_source)  # (B, 3, H, W)
    loss_id = losses.identity_loss(frozen(x_swap), z_source)
    loss_chg = losses.change_loss(x_swap, x_target)
    loss_adv = losses.generator_adversarial_loss(discriminator(x_swap, z_source))
    loss = config.lambda_id * loss_id + config.lambda_chg * loss_chg + config.lambda_adv * loss_adv
    accelerator.backward(loss)
    norm = accelerator.clip_grad_norm_(generator.parameters(), config.max_grad_norm or math.inf)
    adam.step()
    adam.zero_grad()
    discriminator.requires_grad_(True)
    values = {"identity": loss_id, "change": loss_chg, "adversarial": loss_adv, "grad_norm_generator": norm}
    return x_swap.detach(), values


def discriminator_step(discriminator, adam, real, fake, config, accelerator, step: int) -> dict[str, Tensor]:
    """`real` and `fake` are (images, vectors); R1 on the real images."""
    (x_real, z_real), (x_swap, z_swap) = real, fake
    r1 = 0.0
    if config.r1_gamma > 0 and step % config.r1_interval == 0:
        x_real = x_real.requires_grad_(True)
        with full_precision(discriminator, accelerator):
            logits = discriminator(x_real, z_real)
            r1 = config.r1_interval * config.r1_gamma / 2 * losses.r1_penalty(logits, x_real)
    else:
        logits = discriminator(x_real, z_real)
    loss_real = F.softplus(-logits).mean()
    loss_fake = F.softplus(discriminator(x_swap, z_swap)).mean()
    loss_other = F.softplus(
        discriminator(x_real.detach(), z_real.roll(1, 0))
    ).mean()  # somebody else's vector
    accelerator.backward(loss_real + loss_fake + MISMATCH * loss_other + r1)
    norm = accelerator.clip_grad_norm_(discriminator.parameters(), config.max_grad_norm or math.inf)
    adam.step()
    adam.zero_grad()
    values = {"discriminator_real": loss_real, "discriminator_fake": loss_fake}
    return values | {"discriminator_mismatch": loss_other, "grad_norm_discriminator": norm}


def work(options: argparse.Namespace) -> None:
    """What the command does."""
    profile = apply_settings(profiles.get(options.profile), "swapper", options.set)
    profile = profile.override("swapper", {"steps": options.steps})
    data = TrueSwap(options.train, size=profile.size)
    schedule = options.anneal, options.keep
    train_told(profile, options.start, options.out, data, options.embedder, options.seed, *schedule)
    if options.ship:
        begun = f"generator, average and discriminator of {options.start}"
        print(
            f"shipped {ship(options.out, options.ship, {'begun as': begun, 'trained by': 'train_told.py'})}"
        )


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--start", type=Path, default=Path("build/begun"), help="run of a swapper")
    parser.add_argument("--out", type=Path, default=Path("build/swapper"), help="folder of the run")
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--anneal", type=int, default=0, help="last steps, over which the rates fall to 0")
    parser.add_argument("--keep", type=int, default=0, metavar="N", help="keep the average of each N-th step")
    parser.add_argument("--train", default="train", help="a TrueSwap split or a built folder")
    add_generator_options(parser)
    options = parser.parse_args(arguments)
    return exit_code(work, options)


if __name__ == "__main__":
    sys.exit(main())
