"""The two loops: exact resume after a kill, frozen parts, EMA, schedules, refusals. Tiny networks, 16 px."""

import copy
import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from torch import nn

from smoothswap_lib import checkpoints, embedder, profiles, runs, steps, training, training_cli
from smoothswap_lib.embedder import Embedder

ROOT = Path(training.__file__).parents[1]
TINY = profiles.Profile(
    name="tiny",
    size=16,
    mixed_precision="no",
    log_every=2,
    save_every=4,
    preview_every=5,
    embedder=profiles.EmbedderProfile("resnet_small", 8, 10, identities_per_batch=4, images_per_identity=2),
    swapper=profiles.SwapperProfile(
        generator_width=8,
        channel_multipliers=(1, 1),
        blocks_per_level=1,
        attention_resolutions=(8,),
        discriminator_base=64,
        discriminator_max=8,
        steps=10,
        generator_learning_rate=5e-4,
        discriminator_learning_rate=2e-3,
        r1_gamma=0.1,
        ema_decay=0.9,
        batch_size=4,
        r1_interval=3,
        warmup_steps=4,
    ),
)


class FakeFaces:
    """Eight identities, each a colored pattern, six noisy images of each."""

    size = 16

    def __init__(self) -> None:
        draw = np.random.default_rng(5)
        self.identities = np.repeat(np.arange(8) * 10 + 3, 6)
        coarse = draw.uniform(-0.8, 0.8, (8, 3, 4, 4)).repeat(4, 2).repeat(4, 3)
        noisy = coarse.repeat(6, 0) + draw.normal(0, 0.1, (48, 3, 16, 16))
        self.images = torch.tensor(noisy.clip(-1, 1), dtype=torch.float32)

    def __len__(self) -> int:
        return len(self.images)

    def image_batch(self, indices) -> torch.Tensor:
        return self.images[torch.as_tensor(indices)]


def fixed_embedder() -> Embedder:
    torch.manual_seed(1)
    return Embedder("resnet_small", 8)


def train(section: str, out: Path | str, profile=TINY, **options) -> runs.TrainingResult:
    options = {"data": FakeFaces(), "progress": False, **options}
    if section == "embedder":
        return training.train_embedder(profile, out, **options)
    return training.train_swapper(profile, out, embedder=fixed_embedder(), **options)


def make_small() -> None:
    """One thread (sums in another number of parts have other last bits) and a thin embedder."""
    torch.set_num_threads(1)
    embedder.TRUNKS["resnet_small"] = (4, (1, 1, 1, 1))


@pytest.fixture(scope="module", autouse=True)
def _small():
    threads, trunk = torch.get_num_threads(), embedder.TRUNKS["resnet_small"]
    make_small()
    yield
    torch.set_num_threads(threads)
    embedder.TRUNKS["resnet_small"] = trunk


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> dict[str, runs.TrainingResult]:
    """An uninterrupted run of each loop."""
    folder = tmp_path_factory.mktemp("finished")
    return {section: train(section, folder / section) for section in ("embedder", "swapper")}


def without_seconds(rows: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def assert_same_run(a: Path, b: Path) -> None:
    """Weights, whole states, rows and previews agree byte for byte; only the seconds may differ."""
    assert (a / "weights.safetensors").read_bytes() == (b / "weights.safetensors").read_bytes()
    states = [checkpoints.read_tensors(folder / "state" / "state.safetensors") for folder in (a, b)]
    assert states[0][1]["tensor_hash"] == states[1][1]["tensor_hash"]
    assert states[0][1]["optimizers"] == states[1][1]["optimizers"]
    rows = [pyarrow.parquet.read_table(folder / "metrics.parquet").to_pylist() for folder in (a, b)]
    assert without_seconds(rows[0]) == without_seconds(rows[1])
    previews = [{p.name: p.read_bytes() for p in (folder / "previews").glob("*")} for folder in (a, b)]
    assert previews[0] == previews[1]


KILL_AFTER_A_STEP = """
from smoothswap_lib.runs import Run
record = Run.record
def kill(self, *arguments):
    record(self, *arguments)
    if self.step == 7:
        os.kill(os.getpid(), signal.SIGKILL)
Run.record = kill
"""
# the second state (step 8) is complete under its temporary name, and metrics.parquet has its rows already
KILL_BEFORE_THE_RENAME = """
fsync, calls = os.fsync, []
def kill(file):
    calls.append(file)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(file)
os.fsync = kill
"""


@pytest.mark.parametrize(
    ("section", "kill", "rows"),
    (("embedder", KILL_AFTER_A_STEP, [2, 4]), ("swapper", KILL_BEFORE_THE_RENAME, [2, 4, 6, 8])),
)
def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path, finished, section, kill, rows):
    code = (
        f"import os, signal, sys\nsys.path.insert(0, {str(ROOT / 'tests')!r})\nimport test_training\n{kill}\n"
    )
    code += "test_training.make_small()\n"
    code += f"test_training.train({section!r}, sys.argv[1])"
    out = tmp_path / "run"
    killed = subprocess.run([sys.executable, "-c", code, str(out)], cwd=ROOT, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (out / "weights.safetensors").exists()
    kept = pyarrow.parquet.read_table(out / "metrics.parquet").to_pylist()
    assert [row["step"] for row in kept] == rows
    record = json.loads(checkpoints.read_metadata(out / "state" / "state.safetensors")["record"])
    assert record["step"] == 4

    result = train(section, out, resume=True)
    assert result.steps == 10
    assert [row["step"] for row in result.metrics] == [2, 4, 6, 8, 10]
    assert [path.name for path in (out / "state").iterdir()] == ["state.safetensors"]
    assert_same_run(out, finished[section].folder)


def test_the_seed_decides_everything(tmp_path, finished):
    assert_same_run(train("swapper", tmp_path / "again").folder, finished["swapper"].folder)
    other = train("swapper", tmp_path / "other", TINY.override("swapper", {"steps": 2}), seed=1)
    assert without_seconds(other.metrics)[0] != without_seconds(finished["swapper"].metrics)[0]


def test_a_finished_run_holds_what_it_should(finished):
    for section, result in finished.items():
        assert {path.name for path in result.folder.iterdir()} == {
            "weights.safetensors",
            "metrics.parquet",
            "profile.json",
            "state",
            *(["previews"] if section == "swapper" else []),
        }
        assert not result.module.training
        assert json.loads((result.folder / "profile.json").read_text())["profile"]["name"] == "tiny"
    assert set(finished["embedder"].metrics[-1]) == {
        "step",
        "seconds",
        "loss",
        "cos_positive",
        "cos_negative",
        "learning_rate",
    }
    assert set(finished["swapper"].metrics[0]) == {
        *("step", "seconds", "learning_rate", "identity", "change", "adversarial", "r1"),
        *("discriminator_real", "discriminator_fake", "grad_norm_generator", "grad_norm_discriminator"),
        *("cos_source", "cos_target"),
    }


def test_weights_are_the_moving_average_not_the_last_generator(finished):
    folder = finished["swapper"].folder
    weights, _ = checkpoints.read_tensors(folder / "weights.safetensors")
    state, _ = checkpoints.read_tensors(folder / "state" / "state.safetensors")
    assert all(torch.equal(value, state[f"module.ema.{name}"]) for name, value in weights.items())
    assert any(not torch.equal(value, state[f"module.generator.{name}"]) for name, value in weights.items())


def test_previews_show_their_rows_and_say_that_they_are_synthetic(finished):
    folder = finished["swapper"].folder / "previews"
    assert sorted(path.name for path in folder.iterdir()) == ["step_000005.png", "step_000010.png"]
    with Image.open(folder / "step_000010.png") as image:
        assert image.size == (training.NUM_PREVIEWS * 16, 3 * 16)
        assert image.text["Synthetic"] == "true"
        assert image.text["Step"] == "10"
        pixels = torch.tensor(np.array(image)[:16, :16]).permute(2, 0, 1) / 127.5 - 1
    first_source = np.random.default_rng(0).integers(48, size=(2, training.NUM_PREVIEWS))[1, 0]
    assert (pixels - FakeFaces().images[first_source]).abs().max() <= 1 / 255 + 1e-6


def test_the_embedder_learns_its_identities(tmp_path):
    profile = dataclasses.replace(TINY, log_every=10).override(
        "embedder", {"steps": 50, "identities_per_batch": 8, "images_per_identity": 4}
    )
    rows = train("embedder", tmp_path / "run", profile).metrics
    assert rows[-1]["loss"] < 0.3 * rows[0]["loss"]
    assert rows[-1]["cos_positive"] - rows[-1]["cos_negative"] > 0.5


@pytest.mark.parametrize("loss", ("khosla", "ce_lin", "ce_arc"))
def test_each_embedder_loss_falls_and_ships_no_classifier(tmp_path, loss):
    profile = dataclasses.replace(TINY, log_every=5).override(
        "embedder", {"loss": loss, "steps": 30, "arc_scale": 8.0, "arc_margin": 0.1}
    )
    result = train("embedder", tmp_path / "run", profile)
    assert result.metrics[-1]["loss"] < result.metrics[0]["loss"]
    names, _ = checkpoints.read_tensors(result.folder / "weights.safetensors")
    assert set(names) == set(Embedder("resnet_small", 8).state_dict())


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
    x_swap, values = steps.generator_step(
        prepared["generator"],
        discriminator,
        frozen,
        optimizers["generator"],
        x_target,
        x_source,
        numbers,
        accelerator,
    )
    values |= steps.discriminator_step(
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
    steps.embedder_step(network, head, accelerator.prepare(adam), x, identity, numbers, accelerator)
    assert len(seen) == len(parameters)
    assert all(seen)


def test_the_generator_step_leaves_the_discriminator_alone_and_frees_it_again():
    networks, _, _, _ = one_swapper_step()
    discriminator = networks["discriminator"]
    before = checkpoints.tensor_hash(discriminator.state_dict())
    accelerator = Accelerator(cpu=True)
    adam = accelerator.prepare(torch.optim.Adam(networks["generator"].parameters(), 1e-3))
    x = FakeFaces().images
    steps.generator_step(
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
    monkeypatch.setattr(training, "frozen_embedder", lambda module: used.append(frozen(module)) or used[-1])
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
        training.AcceleratorState._reset_state()
        accelerator = Accelerator(cpu=True, mixed_precision="bf16")
        kinds = []
        network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
        network[0].register_forward_hook(lambda _module, _inputs, output: kinds.append(output.dtype))
        prepared = accelerator.prepare(network)
        prepared(torch.ones(2, 3))
        with steps.full_precision(prepared, accelerator):
            prepared(torch.ones(2, 3))
        prepared(torch.ones(2, 3))
        assert kinds == [torch.bfloat16, torch.float32, torch.bfloat16]
        _, _, gradients, values = one_swapper_step(accelerator=accelerator)
        assert all(torch.isfinite(value) for value in values.values())
        assert all(g.dtype == torch.float32 and g.isfinite().all() for g in gradients.values())
    finally:
        training.AcceleratorState._reset_state()


def test_the_moving_average_has_its_closed_form():
    draw = torch.Generator().manual_seed(0)
    history = [torch.randn(4, generator=draw, dtype=torch.float64) for _ in range(31)]
    network, ema = nn.BatchNorm1d(4).double(), nn.BatchNorm1d(4).double()
    decays = [steps.ema_decay_at(step, 0.9) for step in range(30)]
    with torch.no_grad():
        ema.weight.copy_(history[0])
        for decay, weight in zip(decays, history[1:], strict=True):
            network.weight.copy_(weight)
            network.running_mean.copy_(weight)
            steps.update_ema(ema, network, decay)
    # weight k enters with (1 - d_k), then shrinks by all later decays
    shares = [np.prod(decays), *((1 - decays[k]) * np.prod(decays[k + 1 :]) for k in range(30))]
    assert sum(shares) == pytest.approx(1)
    expected = sum(share * weight for share, weight in zip(shares, history, strict=True))
    torch.testing.assert_close(ema.weight.detach(), expected)
    assert torch.equal(ema.running_mean, history[-1])
    assert shares[0] < 1e-6  # the untrained weights are forgotten within a quick run
    assert steps.ema_decay_at(10**6, 0.999) == 0.999


def test_rates_follow_their_schedules():
    numbers = dataclasses.replace(TINY.embedder, steps=100)
    rates = [steps.decayed_learning_rate(step, numbers) for step in (0, 59, 60, 74, 75, 89, 90, 99)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6])
    assert [steps.warm_up(step, TINY.swapper) for step in (0, 1, 3, 9)] == [0.25, 0.5, 1.0, 1.0]
    assert steps.warm_up(0, dataclasses.replace(TINY.swapper, warmup_steps=0)) == 1.0


def test_batches_depend_on_seed_and_step_and_start_with_self_pairs():
    numbers = dataclasses.replace(TINY.swapper, batch_size=64, self_pairs=2)
    target, source = steps.swapper_batch(48, numbers, seed=3, step=7)
    again, _ = steps.swapper_batch(48, numbers, seed=3, step=7)
    assert np.array_equal(target, again)
    assert np.array_equal(target[:2], source[:2])
    assert (target[2:] != source[2:]).mean() > 0.8
    for seed, step in ((3, 8), (4, 7)):
        assert not np.array_equal(target, steps.swapper_batch(48, numbers, seed, step)[0])
    many = np.concatenate([steps.swapper_batch(48, numbers, 0, step)[0] for step in range(100)])
    assert np.bincount(many, minlength=48).min() > 80  # uniform: 133 of each are expected


def test_self_pairs_do_not_count_as_swaps():
    z = torch.eye(4)
    values = steps.swap_cosines(z_swap=z, z_source=z[[0, 2, 1, 3]], z_target=z)
    assert values["cos_source"].item() == 0.0  # images 1 and 2 swap; 0 and 3 are self pairs
    assert values["cos_target"].item() == 1.0
    assert all(value.item() == 0 for value in steps.swap_cosines(z, z, z).values())


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(tmp_path, monkeypatch):
    real = steps.generator_step
    calls = []

    def poisoned(*arguments):
        calls.append(1)
        x_swap, values = real(*arguments)
        return x_swap, {**values, "change": torch.tensor(float("nan"))} if len(calls) == 7 else values

    monkeypatch.setattr(steps, "generator_step", poisoned)
    with pytest.raises(
        runs.NonFiniteError, match=r"step 7: change is nan\. The last good state is in .*state\. Try"
    ):
        train("swapper", tmp_path / "run")
    state = tmp_path / "run" / "state" / "state.safetensors"
    assert json.loads(checkpoints.read_metadata(state)["record"])["step"] == 4
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    rows = pyarrow.parquet.read_table(tmp_path / "run" / "metrics.parquet").to_pylist()
    assert [row["step"] for row in rows] == [2, 4, 6]


def test_a_real_explosion_is_caught_before_it_is_saved(tmp_path):
    profile = TINY.override("swapper", {"generator_learning_rate": 1e30, "warmup_steps": 0})
    with pytest.raises(runs.NonFiniteError, match="step [0-9]+: "):
        train("swapper", tmp_path / "run", profile)
    path = tmp_path / "run" / "state" / "state.safetensors"
    if path.exists():
        assert all(tensor.isfinite().all() for tensor in checkpoints.read_tensors(path)[0].values())


@pytest.mark.parametrize("section", ("embedder", "swapper"))
def test_ctrl_c_saves_and_resume_goes_on(tmp_path, monkeypatch, finished, section):
    record = runs.Run.record

    def press(self, *arguments):
        if self.step == 4:
            os.kill(os.getpid(), signal.SIGINT)
        record(self, *arguments)

    monkeypatch.setattr(runs.Run, "record", press)
    with pytest.raises(KeyboardInterrupt, match="after step 5, which is saved: continue with --resume"):
        train(section, tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.undo()
    train(section, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", finished[section].folder)


def test_a_folder_in_use_is_refused(tmp_path, finished):
    with pytest.raises(runs.RunError, match="is not empty .*--resume"):
        train("swapper", finished["swapper"].folder)
    with pytest.raises(runs.RunError, match="is the run of a swapper, not of a embedder"):
        train("embedder", finished["swapper"].folder, resume=True)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(runs.RunError, match="holds files but no run"):
        train("swapper", tmp_path, resume=True)


def test_resume_with_other_numbers_names_them(finished):
    folder = finished["swapper"].folder
    other = TINY.override("swapper", {"batch_size": 8, "r1_gamma": 0.2})
    with pytest.raises(
        runs.RunError, match=r"seed is 0 in the run, 1 .*; swapper.batch_size is 4 in the run, 8"
    ):
        train("swapper", folder, other, seed=1, resume=True)
    with pytest.raises(runs.RunError, match="embedder.steps is 10 in the run, 20"):
        train("embedder", finished["embedder"].folder, TINY.override("embedder", {"steps": 20}), resume=True)
    with pytest.raises(runs.RunError, match="embedder_hash"):
        training.train_swapper(
            TINY, folder, FakeFaces(), Embedder("resnet_small", 8), resume=True, progress=False
        )


def test_resume_with_nothing_there_starts_and_when_done_does_nothing(tmp_path, finished):
    result = train("embedder", tmp_path / "new", resume=True)
    assert_same_run(result.folder, finished["embedder"].folder)
    before = {path: path.stat().st_mtime_ns for path in (result.folder / "state").iterdir()}
    again = train("embedder", tmp_path / "new", resume=True)
    assert again.metrics == result.metrics
    assert {path: path.stat().st_mtime_ns for path in (result.folder / "state").iterdir()} == before


def test_a_longer_swapper_run_continues_a_shorter_one(tmp_path, finished):
    train("swapper", tmp_path / "run", TINY.override("swapper", {"steps": 8}))
    train("swapper", tmp_path / "run", resume=True)
    weights = [folder / "weights.safetensors" for folder in (tmp_path / "run", finished["swapper"].folder)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    with pytest.raises(runs.RunError, match="has taken 10 steps already, more than the 8"):
        train("swapper", tmp_path / "run", TINY.override("swapper", {"steps": 8}), resume=True)


def test_images_of_another_size_are_refused(tmp_path):
    with pytest.raises(runs.RunError, match=r"images are 16 px, the profile trains at 32 px"):
        train("embedder", tmp_path / "run", profiles.get("laptop").override("profile", {"size": 32}))


def test_settings_go_to_the_section_or_the_profile():
    profile = training_cli.apply_settings(
        profiles.get("quick"),
        "swapper",
        ["steps=7", "channel_multipliers=1,2,2", "save_every=3", "r1_gamma=0.5"],
    )
    assert (profile.swapper.steps, profile.swapper.channel_multipliers) == (7, (1, 2, 2))
    assert (profile.save_every, profile.swapper.r1_gamma) == (3, 0.5)
    assert profile.embedder == profiles.get("quick").embedder
    with pytest.raises(ValueError, match="no number is called 'stepz'. The swapper has .*steps.*save_every"):
        training_cli.apply_settings(profile, "swapper", ["stepz=7"])
    with pytest.raises(ValueError, match="NAME=VALUE"):
        training_cli.apply_settings(profile, "swapper", ["steps"])


@pytest.fixture
def command(monkeypatch, capsys):
    """The command line on the fake faces, with the tiny profile; returns exit code and what it printed."""
    monkeypatch.setattr(training, "open_data", lambda data, section, size: FakeFaces())
    monkeypatch.setattr(profiles, "get", lambda name: TINY)

    def run(*arguments: object) -> tuple[int, str]:
        code = 0
        try:
            training_cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def test_the_command_trains_and_ships_with_a_card(tmp_path, monkeypatch, command):
    monkeypatch.setenv("SMOOTHSWAP_DATA", str(tmp_path / "data"))
    first, second = tmp_path / "embedder", tmp_path / "swapper"
    code, text = command("embedder", "--profile", "tiny", "--out", first)
    assert (code, "loss" in text) == (0, True)
    swapper = (
        "swapper",
        "--profile",
        "tiny",
        "--out",
        second,
        "--embedder",
        first,
        "--set",
        "steps=3",
        "log_every=1",
    )
    code, text = command(*swapper, "--ship", "swapper")
    assert code == 2
    assert "ship the embedder's run first" in text

    code, text = command("embedder", "--profile", "tiny", "--out", first, "--resume", "--ship", "supcon")
    assert code == 0
    code, text = command(*swapper, "--resume", "--ship", "swapper")
    assert code == 0
    shipped = tmp_path / "data" / "checkpoints"
    assert sorted(path.name for path in shipped.iterdir()) == [
        "supcon.md",
        "supcon.safetensors",
        "swapper.md",
        "swapper.safetensors",
    ]
    assert checkpoints.read_metadata(shipped / "swapper.safetensors")["embedder"] == "supcon"
    images = FakeFaces().images[:2]
    assert checkpoints.swap(images, images.flip(0)).shape == images.shape
    card = (shipped / "swapper.md").read_text()
    assert training_cli.sha256(shipped / "swapper.safetensors") in card
    assert "| generator_width | 8 |" in card
    assert "| steps | 3 |" in card
    assert "| data | FakeFaces, 48 images |" in card
    assert "| cos_source |" in card
    assert training_cli.ship(first, "supcon", {"AUC": 0.5}).is_file()
    assert "| AUC | 0.5 |" in (shipped / "supcon.md").read_text()


def test_the_command_says_what_is_wrong_without_a_traceback(tmp_path, monkeypatch, command):
    out = ("--profile", "tiny", "--out", tmp_path / "run")
    for arguments, why in (
        (("embedder", *out, "--set", "steps=many"), "cannot read 'many'"),
        (("embedder", *out, "--seed", "-1"), "seed must be"),
        (("swapper", *out, "--embedder", "nobody"), "No weights are called 'nobody'"),
        (("embedder", *out, "--ship", "../escape"), "letters, digits and underscores"),
    ):
        code, text = command(*arguments)
        assert code == 2
        assert why in text
        assert "Traceback" not in text
    monkeypatch.setattr(runs.Run, "_as_numbers", lambda self, values: {"loss": float("inf")})
    code, text = command("embedder", *out)
    assert code == 1
    assert "embedder stopped: step 1: loss is inf. No state was saved yet" in text


def test_the_real_command_on_a_folder_of_people(tmp_path):
    faces = FakeFaces()
    pixels = ((faces.images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    for index, identity in enumerate(faces.identities):
        (tmp_path / "people" / f"{identity}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[index]).save(tmp_path / "people" / f"{identity}" / f"{index}.png")
    line = [sys.executable, "-m", "smoothswap_lib.training", "embedder", "--profile", "quick"]
    line += ["--data", tmp_path / "people", "--out", tmp_path / "run"]
    line += ["--set", "size=32", "steps=2", "--set", "identities_per_batch=4"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "weights.safetensors: 2 steps" in done.stdout
    assert "embedder 2/2" in done.stderr  # lines instead of a bar where there is no terminal
    assert "%|" not in done.stderr
    numbers = json.loads((tmp_path / "run" / "profile.json").read_text())
    assert (numbers["images"], numbers["identities"], numbers["profile"]["size"]) == (48, 8, 32)
    assert set(training.open_data(tmp_path / "people", "embedder", 16).identities) == set(range(8))
    assert training.open_data(tmp_path / "people", "swapper", 16).size == 16


def test_help_shows_every_option_and_example():
    text = training_cli._parser().format_help()
    for part in (
        "--resume",
        "--seed",
        "--set",
        "--ship",
        "--data",
        "--embedder",
        "examples:",
        *profiles.names(),
    ):
        assert part in text


def test_the_given_embedder_stays_as_it_was(tmp_path):
    given = fixed_embedder().train()
    before = copy.deepcopy(given.state_dict())
    training.train_swapper(
        TINY.override("swapper", {"steps": 1}), tmp_path / "run", FakeFaces(), given, progress=False
    )
    assert given.training
    assert all(p.requires_grad for p in given.parameters())
    assert all(torch.equal(value, before[name]) for name, value in given.state_dict().items())
