"""The profiles: complete, consistent, and unwilling to hold impossible numbers."""

import dataclasses

import pytest
import torch

from smoothswap_lib import profiles
from smoothswap_lib.embedder import Embedder

NAMES = ("quick", "laptop", "gpu64", "gpu128", "paper")


def test_names_and_get():
    assert profiles.names() == NAMES
    for name in NAMES:
        assert profiles.get(name).name == name
    with pytest.raises(ValueError, match=r"no profile 'colab'.*quick, laptop, gpu64, gpu128, paper"):
        profiles.get("colab")


@pytest.mark.parametrize("name", NAMES)
def test_the_embedders_last_map_still_knows_where_a_nose_is(name):
    profile = profiles.get(name)
    trunk = Embedder(profile.embedder.backbone, profile.embedder.dim).trunk.eval()
    with torch.inference_mode():
        assert min(trunk(torch.zeros(1, 3, profile.size, profile.size)).shape[2:]) >= 4


def test_paper_profile_has_the_numbers_of_section_5_1():
    paper = profiles.get("paper")
    embedder, swapper = paper.embedder, paper.swapper
    assert paper.size == 256
    assert (embedder.backbone, embedder.loss, embedder.temperature) == ("resnet50", "printed", 0.07)
    assert (embedder.identities_per_batch, embedder.images_per_identity, embedder.batch_size) == (32, 4, 128)
    assert (embedder.learning_rate, embedder.steps) == (1e-3, 101_000)
    assert (embedder.decay_at, embedder.decay_factor) == ((0.6, 0.75, 0.9), 0.1)
    assert (swapper.lambda_id, swapper.lambda_chg, swapper.lambda_adv) == (4, 1, 1)
    assert (swapper.generator_learning_rate, swapper.discriminator_learning_rate) == (1e-3, 4e-3)
    assert (swapper.batch_size, swapper.self_pairs, swapper.steps) == (8, 1, 800_000)
    assert swapper.channel_multipliers == (1, 1, 2, 2, 2, 2, 2)
    assert (swapper.generator_width, swapper.blocks_per_level) == (64, 2)
    assert swapper.attention_resolutions == (16,)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("quick", "laptop")])
def test_r1_gamma_follows_stylegan2(name):
    profile = profiles.get(name)
    expected = 0.0002 * profile.size**2 / profile.swapper.batch_size
    assert profile.swapper.r1_gamma == pytest.approx(expected, rel=0.03)


def test_quick_has_the_laptop_networks_at_half_their_width_and_tens_of_steps():
    quick, laptop = profiles.get("quick"), profiles.get("laptop")
    short = {name: getattr(quick.swapper, name) for name in ("steps", "ema_decay", "batch_size")}
    widths = ("generator_width", "discriminator_base", "discriminator_max")
    halves = {name: getattr(laptop.swapper, name) // 2 for name in widths}
    assert dataclasses.replace(laptop.swapper, **short, **halves) == quick.swapper
    assert dataclasses.replace(laptop.embedder, steps=quick.embedder.steps) == quick.embedder
    assert 10 <= quick.embedder.steps < 100
    assert 10 <= quick.swapper.steps < 100


def test_every_profile_but_the_papers_trains_at_a_size_that_ships():
    sizes = {name: profiles.get(name).size for name in NAMES}
    assert sizes == {"quick": 64, "laptop": 64, "gpu64": 64, "gpu128": 128, "paper": 256}
    assert {profiles.get(name).mixed_precision for name in ("gpu64", "gpu128")} == {"auto"}


def test_override_returns_a_checked_copy():
    quick = profiles.get("quick")
    changed = quick.override("swapper", {"steps": 7, "attention_resolutions": [8, 16]})
    assert (changed.swapper.steps, changed.swapper.attention_resolutions) == (7, (8, 16))
    assert changed.embedder == quick.embedder
    assert quick == profiles.get("quick")
    assert quick.override("profile", {"size": 128}).size == 128


def test_override_reads_text_as_the_number_it_replaces():
    quick = profiles.get("quick")
    text = {"steps": "12", "r1_gamma": "1e-2", "channel_multipliers": "1,2,4", "adam_betas": "(0.5, 0.9)"}
    swapper = quick.override("swapper", text).swapper
    assert (swapper.steps, swapper.r1_gamma) == (12, 0.01)
    assert (swapper.channel_multipliers, swapper.adam_betas) == ((1, 2, 4), (0.5, 0.9))
    assert quick.override("embedder", {"loss": "ce_arc"}).embedder.loss == "ce_arc"
    assert quick.override("swapper", {"attention_resolutions": ""}).swapper.attention_resolutions == ()


IMPOSSIBLE = [
    ("profile", {"size": 96}, "power of two"),
    ("profile", {"mixed_precision": "int8"}, "mixed_precision must be one of"),
    ("profile", {"log_every": 0}, "log_every must be more than 0"),
    ("profile", {"size": 16}, "below 4 px"),
    ("swapper", {"attention_resolutions": (4,)}, "attention resolution 4 is none of"),
    ("swapper", {"channel_multipliers": ()}, "one number a level"),
    ("swapper", {"channel_multipliers": (1, 1.5)}, "positive whole numbers"),
    ("swapper", {"batch_size": 1}, r"self_pairs \(1\) must be below batch_size \(1\)"),
    ("swapper", {"self_pairs": -1}, "0 or more"),
    ("swapper", {"steps": -3}, "steps must be more than 0"),
    ("swapper", {"steps": 2.5}, "of type int"),
    ("swapper", {"steps": True}, "of type int"),
    ("swapper", {"generator_learning_rate": float("nan")}, "finite"),
    ("swapper", {"ema_decay": 1.0}, "below 1"),
    ("swapper", {"adam_betas": (0.0, 1.0)}, "adam_betas"),
    ("swapper", {"adam_betas": (0.9,)}, "adam_betas"),
    ("swapper", {"adam_betas": (0, 0.99)}, "two floats"),  # torch's Adam takes no mixture of int and float
    ("embedder", {"backbone": "vgg"}, "backbone must be one of"),
    ("embedder", {"loss": "triplet"}, "loss must be one of"),
    ("embedder", {"temperature": "1e-40"}, "temperature must be 0.001 or more, got 1e-40"),
    ("embedder", {"decay_at": ""}, "rising fractions of the steps between 0 and 1, one or more"),
    ("profile", {"gradient_checkpointing": "1"}, "cannot read '1' as bool"),
    ("embedder", {"identities_per_batch": 1}, "no negatives"),
    ("embedder", {"images_per_identity": 1}, "no positive"),
    ("embedder", {"decay_at": (0.9, 0.6)}, "decay_at"),
    ("embedder", {"decay_factor": 2.0}, "at most 1"),
    ("embedder", {"arc_margin": 4.0}, "radians"),
    ("embedder", {"step": 3}, "embedder has no number 'step'; it has backbone"),
    ("profile", {"swapper": None}, "has no number 'swapper'"),
    ("optimizer", {"steps": 3}, "task must be"),
    ("swapper", {"steps": "many"}, "steps: cannot read 'many' as int"),
]


@pytest.mark.parametrize(("task", "changes", "message"), IMPOSSIBLE)
def test_impossible_numbers_are_refused_in_words(task, changes, message):
    with pytest.raises(ValueError, match=message):
        profiles.get("quick").override(task, changes)
