"""One step: every parameter trained once, the embedder frozen, R1, moving average, rates, batches."""

import dataclasses

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tiny_runs import TINY, FakeFaces, fixed_embedder, train
from torch import nn

from smoothswap_lib import checkpoints, training
from smoothswap_lib.embedder import Embedder
from smoothswap_lib.training import accelerator as engine

pytestmark = pytest.mark.usefixtures("small_networks")


def one_swapper_step(profile=TINY, accelerator=None, with_r1=True):
    """Networks, optimizers and values of a single step, with the gradients that it used kept aside."""
    accelerator = accelerator or Accelerator(cpu=True)
    torch.manual_seed(0)
    generator, discriminator, _ = training.build_swapper(profile, 8)
    frozen, _ = training.frozen_embedder(fixed_embedder())
    networks = {"generator": generator, "discriminator": discriminator}
    prepared = {name: accelerator.prepare(network) for name, network in networks.items()}
    gradients: dict[str, torch.Tensor | None] = {}
    optimizers = {}
    for name, network in networks.items():
        adam = torch.optim.Adam(network.parameters(), 1e-3, (0.0, 0.99))
        adam.register_step_pre_hook(
            lambda *_, name=name, network=network: gradients.update(
                {
                    f"{name}.{key}": p.grad.clone() if p.grad is not None else None
                    for key, p in network.named_parameters()
                }
            )
        )
        optimizers[name] = accelerator.prepare(adam)
    images = FakeFaces().images
    x_target, x_source = images[:4], images[20:24]
    numbers = profile.swapper
    x_swap, values = training.generator_step(
        prepared["generator"],
        discriminator,
        frozen,
        optimizers["generator"],
        x_target,
        x_source,
        numbers,
        accelerator,
    )
    values |= training.discriminator_step(
        prepared["discriminator"],
        optimizers["discriminator"],
        x_target,
        x_swap,
        with_r1,
        numbers,
        accelerator,
    )
    return {**networks, "embedder": frozen}, optimizers, gradients, values


def test_each_parameter_is_in_one_optimizer_and_gets_a_gradient():
    networks, optimizers, gradients, _ = one_swapper_step()
    held = [
        p for optimizer in optimizers.values() for group in optimizer.param_groups for p in group["params"]
    ]
    trained = [p for name in ("generator", "discriminator") for p in networks[name].parameters()]
    assert sorted(map(id, held)) == sorted(map(id, trained))
    assert len(gradients) == len(trained)
    assert [name for name, g in gradients.items() if g is None or not g.abs().sum() > 0] == []
    assert all(p.requires_grad for p in trained)
    assert not any(p.requires_grad for p in networks["embedder"].parameters())


@pytest.mark.parametrize("loss", ("supcon", "ce_lin", "ce_arc"))
def test_each_embedder_parameter_gets_a_gradient(loss):
    accelerator = Accelerator(cpu=True)
    numbers = TINY.override("embedder", {"loss": loss}).embedder
    network, head = Embedder("resnet_small", 8), training.classifier_head(8, numbers)
    parameters = [p for module in (network, head) if module is not None for p in module.parameters()]
    adam = torch.optim.Adam(parameters)
    seen = []
    adam.register_step_pre_hook(lambda *_: seen.extend(bool(p.grad.abs().sum() > 0) for p in parameters))
    x, identity = FakeFaces().images[::3], torch.arange(8).repeat_interleave(2)
    training.embedder_step(network, head, accelerator.prepare(adam), x, identity, numbers, accelerator)
    assert len(seen) == len(parameters)
    assert all(seen)


def test_the_generator_step_leaves_the_discriminator_alone_and_frees_it_again():
    networks, _, _, _ = one_swapper_step()
    discriminator = networks["discriminator"]
    before = checkpoints.tensor_hash(discriminator.state_dict())
    accelerator = Accelerator(cpu=True)
    adam = accelerator.prepare(torch.optim.Adam(networks["generator"].parameters(), 1e-3))
    x = FakeFaces().images
    training.generator_step(
        networks["generator"],
        discriminator,
        networks["embedder"],
        adam,
        x[:4],
        x[8:12],
        TINY.swapper,
        accelerator,
    )
    assert checkpoints.tensor_hash(discriminator.state_dict()) == before
    assert all(p.grad is None and p.requires_grad for p in discriminator.parameters())


def test_the_embedder_does_not_change_by_a_byte(tmp_path, monkeypatch):
    used = []
    frozen = training.frozen_embedder
    monkeypatch.setattr(
        training.swapper, "frozen_embedder", lambda module: used.append(frozen(module)) or used[-1]
    )
    expected = checkpoints.tensor_hash(fixed_embedder().state_dict())
    train("swapper", tmp_path / "run")
    module, _ = used[0]
    assert checkpoints.tensor_hash(module.state_dict()) == expected
    assert not module.training
    assert not any(m.training for m in module.modules())


def test_r1_counts_interval_times_gamma_half():
    """The gradient with R1 minus the one without is the penalty's own, times interval * gamma / 2."""
    profile = TINY.override("swapper", {"max_grad_norm": 1e9, "r1_gamma": 0.7, "r1_interval": 5})
    _, _, with_r1, values = one_swapper_step(profile, with_r1=True)
    _, _, without, plain = one_swapper_step(profile, with_r1=False)
    torch.manual_seed(0)
    _, discriminator, _ = training.build_swapper(profile, 8)
    x = FakeFaces().images[:4].requires_grad_(True)
    (slope,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    penalty = slope.square().sum(dim=(1, 2, 3)).mean()
    assert values["r1"].item() == pytest.approx(penalty.item(), rel=1e-4)
    assert "r1" not in plain
    (5 * 0.7 / 2 * penalty).backward()
    for name, parameter in discriminator.named_parameters():
        if parameter.grad is not None:
            difference = with_r1[f"discriminator.{name}"] - without[f"discriminator.{name}"]
            torch.testing.assert_close(difference, parameter.grad, rtol=1e-3, atol=1e-5)


def test_r1_runs_in_fp32_under_mixed_precision():
    training.make_accelerator("no")
    accelerator = Accelerator(cpu=True)
    try:
        engine.AcceleratorState._reset_state()
        accelerator = Accelerator(cpu=True, mixed_precision="bf16")
        kinds = []
        network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
        network[0].register_forward_hook(lambda _module, _inputs, output: kinds.append(output.dtype))
        prepared = accelerator.prepare(network)
        prepared(torch.ones(2, 3))
        with training.swapper.full_precision(prepared, accelerator):
            prepared(torch.ones(2, 3))
        prepared(torch.ones(2, 3))
        assert kinds == [torch.bfloat16, torch.float32, torch.bfloat16]
        _, _, gradients, values = one_swapper_step(accelerator=accelerator)
        assert all(torch.isfinite(value) for value in values.values())
        assert all(g.dtype == torch.float32 and g.isfinite().all() for g in gradients.values())
    finally:
        engine.AcceleratorState._reset_state()


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
    shares = [np.prod(decays), *((1 - decays[k]) * np.prod(decays[k + 1 :]) for k in range(30))]
    assert sum(shares) == pytest.approx(1)
    expected = sum(share * weight for share, weight in zip(shares, history, strict=True))
    torch.testing.assert_close(ema.weight.detach(), expected)
    assert torch.equal(ema.running_mean, history[-1])
    assert shares[0] < 1e-6  # the untrained weights are forgotten within a quick run
    assert training.ema_decay_at(10**6, 0.999) == 0.999


def test_rates_follow_their_schedules():
    numbers = dataclasses.replace(TINY.embedder, steps=100)
    rates = [training.decayed_learning_rate(step, numbers) for step in (0, 59, 60, 74, 75, 89, 90, 99)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6])
    assert [training.warm_up(step, TINY.swapper) for step in (0, 1, 3, 9)] == [0.25, 0.5, 1.0, 1.0]
    assert training.warm_up(0, dataclasses.replace(TINY.swapper, warmup_steps=0)) == 1.0


def test_batches_depend_on_seed_and_step_and_start_with_self_pairs():
    numbers = dataclasses.replace(TINY.swapper, batch_size=64, self_pairs=2)
    target, source = training.swapper_batch(48, numbers, seed=3, step=7)
    again, _ = training.swapper_batch(48, numbers, seed=3, step=7)
    assert np.array_equal(target, again)
    assert np.array_equal(target[:2], source[:2])
    assert (target[2:] != source[2:]).mean() > 0.8
    for seed, step in ((3, 8), (4, 7)):
        assert not np.array_equal(target, training.swapper_batch(48, numbers, seed, step)[0])
    many = np.concatenate([training.swapper_batch(48, numbers, 0, step)[0] for step in range(100)])
    assert np.bincount(many, minlength=48).min() > 80  # uniform: 133 of each are expected


def test_self_pairs_do_not_count_as_swaps():
    z = torch.eye(4)
    values = training.swapper.swap_cosines(z_swap=z, z_source=z[[0, 2, 1, 3]], z_target=z)
    assert values["cos_source"].item() == 0.0  # images 1 and 2 swap; 0 and 3 are self pairs
    assert values["cos_target"].item() == 1.0
    assert all(value.item() == 0 for value in training.swapper.swap_cosines(z, z, z).values())
