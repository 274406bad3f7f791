"""The swapper's step and loop: every parameter trained once, the embedder frozen, R1, average, batches."""

import copy
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from tiny_runs import TINY, FakeFaces, assert_same_run, fixed_embedder, train
from torch import nn

from smoothswap_lib import checkpoints, datasets, layers, profiles, training
from smoothswap_lib.training import swapper as loop

pytestmark = pytest.mark.usefixtures("small_networks")


def one_step(step=0, accelerator=None, watched=True, **config):
    """A swapper after one step, its values, and each gradient as it was when its optimizer used it."""
    profile, accelerator = TINY.override("swapper", config), accelerator or Accelerator(cpu=True)
    torch.manual_seed(0)
    generator, discriminator, _ = training.build_swapper(profile, 8)
    frozen, _ = training.frozen_embedder(fixed_embedder())
    networks = {"generator": generator, "discriminator": discriminator}
    gradients: dict[str, torch.Tensor] = {}

    def adam(name):
        optimizer = torch.optim.Adam(networks[name].parameters(), 1e-3, (0.0, 0.99))

        def keep(*_):
            named = networks[name].named_parameters()
            gradients.update({f"{name}.{key}": p.grad.clone() for key, p in named if p.grad is not None})

        optimizer.register_step_pre_hook(keep)
        return accelerator.prepare(optimizer)

    prepared = [accelerator.prepare(network) for network in networks.values()]
    ema = copy.deepcopy(generator)
    optimizers = [adam(name) for name in networks]
    swapper = training.Swapper(*prepared, frozen, ema, *optimizers, profile.swapper, accelerator)
    images = FakeFaces().images
    asked = []
    frozen.register_forward_hook(lambda *_: asked.append(1))
    values = training.swapper_step(swapper, images[:4], images[20:24], step, watched)
    assert len(asked) == 2 + watched  # source and swap; the target for the curve only
    return networks | {"embedder": frozen}, values, gradients


def test_a_step_that_nobody_watches_asks_the_embedder_no_more_than_the_loss_does():
    (_, watched, _), (_, unwatched, _) = one_step(), one_step(watched=False)
    assert set(watched) - set(unwatched) == {"cos_target"}
    assert all(torch.equal(unwatched[name], watched[name]) for name in unwatched)


def test_each_parameter_gets_a_gradient_in_its_own_half_and_the_embedder_none():
    networks, _, gradients = one_step()
    halves = ("generator", "discriminator")
    trained = [f"{n}.{key}" for n in halves for key, _ in networks[n].named_parameters()]
    assert sorted(gradients) == sorted(trained)
    assert [name for name, gradient in gradients.items() if not gradient.abs().sum() > 0] == []
    for network in (networks["generator"], networks["discriminator"]):
        assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert not any(p.requires_grad for p in networks["embedder"].parameters())
    same = checkpoints.tensor_hash(fixed_embedder().state_dict())
    assert checkpoints.tensor_hash(networks["embedder"].state_dict()) == same


def test_r1_counts_interval_times_gamma_half_and_both_are_logged():
    """The gradient with R1 minus the one without is the penalty's own, times interval * gamma / 2."""
    config = {"max_grad_norm": 0.0, "r1_gamma": 0.7, "r1_interval": 5}
    _, values, with_r1 = one_step(step=10, **config)
    _, plain, without = one_step(step=11, **config)
    torch.manual_seed(0)
    _, discriminator, _ = training.build_swapper(TINY, 8)
    x = FakeFaces().images[:4].requires_grad_(True)
    (slope,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    penalty = slope.square().sum(dim=(1, 2, 3)).mean()
    assert values["r1"].item() == pytest.approx(penalty.item(), rel=1e-4)
    assert values["r1_loss"].item() == pytest.approx(5 * 0.7 / 2 * penalty.item(), rel=1e-4)
    assert "r1" not in plain
    (5 * 0.7 / 2 * penalty).backward()
    for name, parameter in discriminator.named_parameters():
        if parameter.grad is not None:
            difference = with_r1[f"discriminator.{name}"] - without[f"discriminator.{name}"]
            torch.testing.assert_close(difference, parameter.grad, rtol=1e-3, atol=1e-5)


def test_gradients_are_clipped_to_max_grad_norm_and_zero_means_not_at_all():
    _, values, free = one_step(max_grad_norm=0.0)
    _, _, clipped = one_step(max_grad_norm=0.1)
    norms = [
        torch.stack([g.norm() for name, g in gradients.items() if name.startswith("generator")]).norm().item()
        for gradients in (free, clipped)
    ]
    assert norms[0] == pytest.approx(values["grad_norm_generator"].item(), rel=1e-4)  # logged all the same
    assert norms[0] > 0.2 and norms[1] == pytest.approx(0.1, rel=1e-3)


def test_the_moving_average_has_its_closed_form():
    draw = torch.Generator().manual_seed(0)
    history = [torch.randn(4, generator=draw, dtype=torch.float64) for _ in range(31)]
    network, ema = nn.BatchNorm1d(4).double(), nn.BatchNorm1d(4).double()
    decays = [training.ema_decay_at(step, 0.9) for step in range(30)]
    with torch.no_grad():
        ema.weight.copy_(history[0])
        for decay, weight in zip(decays, history[1:], strict=True):
            network.weight.copy_(weight)
            network.running_mean.copy_(weight)
            training.update_ema(ema, network, decay)
    # weight k enters with (1 - d_k), then shrinks by all later decays
    weights = [np.prod(decays), *((1 - decays[k]) * np.prod(decays[k + 1 :]) for k in range(30))]
    expected = sum(weight * value for weight, value in zip(weights, history, strict=True))
    torch.testing.assert_close(ema.weight.detach(), expected)
    assert torch.equal(ema.running_mean, history[-1])
    assert weights[0] < 1e-6  # the untrained weights are forgotten within a quick run
    assert training.ema_decay_at(10**6, 0.999) == 0.999


def test_batches_depend_on_seed_and_step_and_start_with_self_pairs():
    config = dataclasses.replace(TINY.swapper, batch_size=64, self_pairs=2)
    target, source = training.swapper_batch(48, config, seed=3, step=7)
    again, _ = training.swapper_batch(48, config, seed=3, step=7)
    assert np.array_equal(target, again)
    assert np.array_equal(target[:2], source[:2]) and (target[2:] != source[2:]).mean() > 0.8
    for seed, step in ((3, 8), (4, 7)):
        assert not np.array_equal(target, training.swapper_batch(48, config, seed, step)[0])
    many = np.concatenate([training.swapper_batch(48, config, 0, step)[0] for step in range(100)])
    assert np.bincount(many, minlength=48).min() > 80  # uniform: 133 of each are expected


def test_sources_of_another_set_are_numbered_after_the_targets():
    target, source = training.swapper_batch(10, profiles.get("paper").swapper, seed=0, step=3, num_sources=5)
    assert target.max() < 10 and source[0] == target[0]
    assert source[1:].min() >= 10 and source[1:].max() < 15
    both = datasets.Joined(FakeFaces(), FakeFaces())
    assert len(both) == 96
    assert torch.equal(both.image_batch([50, 3, 95, 47]), FakeFaces().images[[2, 3, 47, 47]])


def test_self_pairs_do_not_count_as_swaps():
    z, swapped, accelerator = torch.eye(4), torch.tensor([False, True, True, False]), Accelerator(cpu=True)
    assert loop.mean_cosine(z, z[[0, 2, 1, 3]], swapped, accelerator) == 0.0
    assert loop.mean_cosine(z, z, swapped, accelerator) == 1.0
    assert loop.mean_cosine(z, z, swapped & False, accelerator) == 0.0


def test_the_given_embedder_and_the_callers_randomness_stay_as_they_were(tmp_path):
    given = fixed_embedder().train()
    before, random = copy.deepcopy(given.state_dict()), torch.get_rng_state()
    short = TINY.override("swapper", {"steps": 1})
    training.train_swapper(short, tmp_path / "run", FakeFaces(), given, progress=False)
    assert torch.equal(torch.get_rng_state(), random)
    assert given.training and all(p.requires_grad for p in given.parameters())
    assert all(torch.equal(value, before[name]) for name, value in given.state_dict().items())


def test_weights_are_the_moving_average_not_the_last_generator(finished):
    folder = finished["swapper"].folder
    weights, _ = checkpoints.read_tensors(folder / "weights.safetensors")
    state, _ = checkpoints.read_tensors(folder / "state" / "state.safetensors")
    assert all(torch.equal(w, state[f"module.ema.{n}"].to(w.dtype)) for n, w in weights.items())
    assert any(not torch.equal(w, state[f"module.generator.{n}"].to(w.dtype)) for n, w in weights.items())


def test_previews_show_their_rows_and_say_that_they_are_synthetic(finished):
    folder = finished["swapper"].folder / "previews"
    assert sorted(path.name for path in folder.iterdir()) == ["step_000005.png", "step_000010.png"]
    with Image.open(folder / "step_000010.png") as image:
        assert image.size == (training.NUM_PREVIEWS * 16, 3 * 16)
        assert (image.text["Synthetic"], image.text["Step"]) == ("true", "10")
        pixels = torch.tensor(np.array(image)[:16, :16]).permute(2, 0, 1) / 127.5 - 1
    first_source = np.random.default_rng(0).integers(48, size=(2, training.NUM_PREVIEWS))[1, 0]
    assert (pixels - FakeFaces().images[first_source]).abs().max() <= 1 / 255 + 1e-6


def kept_bytes(network, x, z):
    """Bytes that autograd keeps between forward and backward pass, the gradients, and the output."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
        x_swap = network(x, z)
    x_swap.square().sum().backward()
    return sum(kept), [p.grad for p in network.parameters()], x_swap


def test_gradient_checkpointing_gives_the_same_bits_from_less_memory(tmp_path, finished):
    torch.manual_seed(0)
    plain, _, _ = training.build_swapper(TINY, 12)
    for module in plain.modules():
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()  # no silent branches
    lean = copy.deepcopy(plain)
    loop.checkpoint_gradients(lean)
    x, z = torch.rand(4, 3, 16, 16) * 2 - 1, nn.functional.normalize(torch.randn(4, 12), dim=1)
    more, expected, x_swap = kept_bytes(plain, x, z)
    less, gradients, again = kept_bytes(lean, x, z)
    assert less < 0.35 * more and torch.equal(x_swap, again)
    assert all(torch.equal(a, b) for a, b in zip(expected, gradients))
    whole = dataclasses.replace(TINY, gradient_checkpointing=True)
    assert_same_run(train("swapper", tmp_path / "run", whole).folder, finished["swapper"].folder)


@pytest.mark.parametrize("batch, processes", [(8, 2), (16, 2), (16, 4), (24, 3), (64, 8)])
def test_the_discriminators_groups_of_4_do_not_depend_on_the_processes(batch, processes):
    x = torch.randn(batch, 5, 4, 4, dtype=torch.float64)
    whole, seen = layers.minibatch_stddev(x), []
    for rank in range(processes):
        mine = loop.shard(np.arange(batch), SimpleNamespace(process_index=rank, num_processes=processes))
        torch.testing.assert_close(layers.minibatch_stddev(x[mine]), whole[mine])
        seen += mine.tolist()
    assert sorted(seen) == list(range(batch))


def test_where_4_does_not_divide_a_processs_images_it_is_said():
    config = dataclasses.replace(TINY.swapper, batch_size=12)
    with pytest.warns(UserWarning, match="holds 6 images: the discriminator's minibatch standard deviation"):
        loop.warn_of_small_groups(config, SimpleNamespace(num_processes=2, is_main_process=True))
    with pytest.raises(training.RunError, match="5 processes cannot share batch_size 12 evenly"):
        loop.check_shards(12, "batch_size", SimpleNamespace(num_processes=5))
