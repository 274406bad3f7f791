"""Half precision: chosen by the device, R1 and average in fp32, the scaler, the discriminator's clamp."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tiny_runs import TINY, train
from torch import nn

from smoothswap_lib import checkpoints, generator, layers, training
from smoothswap_lib.discriminator import Discriminator, StridedDiscriminator
from smoothswap_lib.runs import folder
from smoothswap_lib.training import accelerator as machine

pytestmark = pytest.mark.usefixtures("small_networks")
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@pytest.mark.parametrize(
    "asked, device, capability, given",
    [
        ("auto", "cpu", None, "no"),
        ("bf16", "cpu", None, "bf16"),  # asked outright
        ("fp16", "cpu", None, "no"),
        ("auto", "cuda", (7, 5), "fp16"),  # T4
        ("auto", "cuda", (8, 9), "bf16"),  # L4
        ("fp16", "cuda", (9, 0), "fp16"),
        ("auto", "mps", None, "no"),
    ],
)
def test_the_device_chooses_the_precision(monkeypatch, asked, device, capability, given):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert machine.precision_for(asked, SimpleNamespace(type=device)) == given


@pytest.fixture
def half_precision(monkeypatch):
    """Runs in half precision on the CPU, as on a GPU; Accelerate's own fp16 and scaler refuse CPUs."""

    def use(precision, scale=2.0**10, growth=4):
        def make(_=None):
            AcceleratorState._reset_state()
            accelerator = Accelerator(cpu=True, mixed_precision="bf16")
            if precision == "fp16":
                accelerator.state._mixed_precision = "fp16"
                accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=growth)
            return accelerator

        for module in (training.embedder, training.swapper):
            monkeypatch.setattr(module, "make_accelerator", make)
        return make

    yield use
    AcceleratorState._reset_state()


@pytest.mark.parametrize("precision", HALF)
def test_half_precision_trains_and_keeps_weights_and_average_in_fp32(tmp_path, half_precision, precision):
    half_precision(precision)
    kinds = set()

    def see(module, _, output):
        if isinstance(module, nn.Conv2d | generator.ResidualBlock):
            kinds.add((type(module).__name__, output.dtype))

    with nn.modules.module.register_module_forward_hook(see):
        result = train("swapper", tmp_path / "run")
    assert ("Conv2d", HALF[precision]) in kinds  # steps
    assert ("Conv2d", torch.float32) in kinds  # previews by the average
    tensors, _ = checkpoints.read_tensors(result.folder / "state" / "state.safetensors")
    assert {t.dtype for t in tensors.values() if t.is_floating_point()} == {torch.float32}
    assert all(np.isfinite(row["identity"]) for row in result.metrics)


def test_r1_runs_in_fp32(half_precision):
    accelerator, kinds = half_precision("bf16")(), []
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    network[0].register_forward_hook(lambda _module, _inputs, output: kinds.append(output.dtype))
    prepared = accelerator.prepare(network)
    prepared(torch.ones(2, 3))
    with machine.full_precision(prepared, accelerator):
        prepared(torch.ones(2, 3))
    prepared(torch.ones(2, 3))
    assert kinds == [torch.bfloat16, torch.float32, torch.bfloat16]


def test_the_discriminators_activations_are_clamped_in_half_precision_only():
    torch.manual_seed(0)
    discriminator, x = Discriminator(16, 64, 8), torch.rand(4, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        discriminator.from_rgb.bias += 3e4  # the next layers would pass fp16's 65,504
        assert discriminator.blocks["16x16"](discriminator.from_rgb(x)).abs().max() > 1e4
        with torch.autocast("cpu", dtype=torch.float16):
            assert discriminator(x).isfinite().all()
    strided = StridedDiscriminator(16, 64, 8)  # the GPU profiles'
    with torch.no_grad():
        strided.convs["16x16"].bias += 3e4
        assert strided.features(x).abs().max() > layers.HALF_PRECISION_LIMIT
        with torch.autocast("cpu", dtype=torch.float16):
            assert strided.features(x).abs().max() == layers.HALF_PRECISION_LIMIT
            assert strided(x).isfinite().all()


def test_the_scaler_is_saved_and_resumed(tmp_path, half_precision):
    half_precision("fp16")
    whole = train("swapper", tmp_path / "whole")
    train("swapper", tmp_path / "half", TINY.override("swapper", {"steps": 4}))
    train("swapper", tmp_path / "half", resume=True)
    states = [
        checkpoints.read_metadata(tmp_path / n / "state" / "state.safetensors") for n in ("half", "whole")
    ]
    assert states[0]["tensor_hash"] == states[1]["tensor_hash"]
    record = checkpoints.read_metadata(whole.folder / "state" / "state.safetensors")["record"]
    assert '"scale": 32768.0' in record  # 2^10, doubled after every 4 of 20 optimizer steps


def test_a_gradient_too_large_for_fp16_skips_the_step_and_the_run_goes_on(tmp_path, half_precision):
    half_precision("fp16", scale=2.0**28, growth=1000)
    skipped = train("swapper", tmp_path / "one", TINY.override("swapper", {"steps": 1}))
    torch.manual_seed(0)
    untrained, _, _ = training.build_swapper(TINY, 8)
    state, _ = checkpoints.read_tensors(skipped.folder / "state" / "state.safetensors")
    assert all(torch.equal(state[f"module.generator.{n}"], w) for n, w in untrained.state_dict().items())
    assert np.isnan(skipped.metrics[0]["grad_norm_generator"])  # no finite one to take the mean of
    rows = train("swapper", tmp_path / "many", TINY.override("swapper", {"steps": 20})).metrics
    assert np.isfinite(rows[-1]["grad_norm_generator"])


def test_losses_that_are_lost_now_and_then_do_not_end_an_fp16_run_but_many_in_a_row_do(
    tmp_path, half_precision, monkeypatch
):
    half_precision("fp16")
    record, lost = training.Run.record, {3, 5, 6}

    def poisoned(self, step, values, rate):
        broken = {"change": torch.tensor(float("inf"))} if step in lost else {}
        record(self, step, values | broken, rate)

    monkeypatch.setattr(training.Run, "record", poisoned)
    result = train("swapper", tmp_path / "some")
    assert result.steps == 10 and all(np.isfinite(row["change"]) for row in result.metrics)
    lost |= set(range(1, 100))
    longer = TINY.override("swapper", {"steps": 30})
    with pytest.raises(training.NonFiniteError, match=r"step 22: change is inf, for 21 step"):
        train("swapper", tmp_path / "all", longer)
    assert folder.SCALER_PATIENCE == 20
