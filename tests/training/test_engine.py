"""What the machine decides: recomputed blocks, compiler, fused Adam, workers, half precision, its scaler."""

import copy
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tiny_runs import ROOT, TINY, FakeFaces, assert_same_run, train

from smoothswap_lib import checkpoints, datasets, embedder, generator, profiles, training
from smoothswap_lib.training import accelerator as engine

pytestmark = pytest.mark.usefixtures("small_networks")


def shaken_generator():
    """A small generator whose branches are not silent, and something to swap."""
    torch.manual_seed(0)
    network = generator.Generator(16, 8, (1, 2), 1, (8,), identity_dim=12)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.reset_parameters()
    x, z = torch.rand(4, 3, 16, 16) * 2 - 1, torch.nn.functional.normalize(torch.randn(4, 12), dim=1)
    return network, x, z


def assert_same_weights(a, b):
    """Of two runs, of which one was started for fewer steps: it has a row and a preview more."""
    states = [checkpoints.read_metadata(folder / "state" / "state.safetensors") for folder in (a, b)]
    assert states[0]["tensor_hash"] == states[1]["tensor_hash"]
    assert (a / "weights.safetensors").read_bytes() == (b / "weights.safetensors").read_bytes()


def kept_bytes(network, x, z):
    """Bytes that autograd keeps between forward and backward pass, the gradients, and the output."""
    kept = []

    def pack(tensor):
        kept.append(tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        x_swap = network(x, z)
    x_swap.square().sum().backward()
    return sum(kept), [p.grad for p in network.parameters()], x_swap


def test_recomputed_blocks_give_the_same_bits_from_less_memory():
    plain, x, z = shaken_generator()
    lean = copy.deepcopy(plain)
    engine.recompute_blocks(lean)
    more, expected, x_swap = kept_bytes(plain, x, z)
    less, gradients, again = kept_bytes(lean, x, z)
    assert less < 0.35 * more
    assert torch.equal(x_swap, again)
    assert all(torch.equal(a, b) for a, b in zip(expected, gradients))
    assert lean.state_dict().keys() == plain.state_dict().keys()


def test_a_run_with_recomputed_blocks_is_the_same_run(tmp_path, finished):
    out = train("swapper", tmp_path / "run", replace(TINY, recompute=True)).folder
    assert_same_run(out, finished["swapper"].folder)
    # it may be switched on in the middle of a run
    train("swapper", tmp_path / "half", TINY.override("swapper", {"steps": 5}))
    train("swapper", tmp_path / "half", replace(TINY, recompute=True, loader_workers=2), resume=True)
    assert_same_weights(tmp_path / "half", finished["swapper"].folder)


def test_parts_of_a_batch_are_refused_where_they_do_not_come_out_even(tmp_path):
    for section, images in (("embedder", 8), ("swapper", 4)):
        with pytest.raises(
            training.RunError, match=f"the {images} images of a process .* in 3 parts.*divides {images}"
        ):
            train(section, tmp_path / section, replace(TINY, micro_batches=3))


def test_parts_of_a_batch_change_a_run_and_so_forbid_its_resumption(tmp_path, finished):
    train("embedder", tmp_path / "run", replace(TINY, micro_batches=2).override("embedder", {"steps": 1}))
    with pytest.raises(training.RunError, match="micro_batches is 1 in the run, 2 was asked for"):
        train("swapper", finished["swapper"].folder, replace(TINY, micro_batches=2), resume=True)


def test_batch_norm_counts_each_image_once_when_it_comes_in_parts(tmp_path):
    """Parts go through the network twice: the averages are those of two parts, not of four."""
    profile = TINY.override("embedder", {"steps": 1})
    whole = train("embedder", tmp_path / "whole", profile).module
    parts = train("embedder", tmp_path / "parts", replace(profile, micro_batches=2)).module
    first, second = whole.trunk[0][1], parts.trunk[0][1]
    # one update moves 10 % of the way to the mean; two, to two halves' means, move 1 - .9^2 = 19 %
    assert torch.allclose(second.running_mean, 1.9 * first.running_mean, rtol=0.1, atol=1e-3)
    assert second.momentum == first.momentum == 0.1


def test_fused_adam_is_for_gpus():
    parameters = [torch.nn.Parameter(torch.zeros(2))]
    kinds = {
        kind: engine.adam(parameters, 1e-3, SimpleNamespace(device=torch.device(kind)), (0.0, 0.99)).defaults
        for kind in ("cpu", "cuda")
    }
    assert kinds["cuda"]["fused"] is True and not kinds["cpu"]["fused"]
    assert kinds["cuda"]["betas"] == kinds["cpu"]["betas"] == (0.0, 0.99)


def test_workers_give_the_same_batches_in_the_same_order(tiny):
    data = datasets.TrueSwap(tiny)
    batches = [np.random.default_rng(step).integers(len(data), size=6) for step in range(7)]
    given = list(engine.read_ahead(data, iter(batches), workers=2, pin_memory=False))
    assert len(given) == 7
    for (indices, images), expected in zip(given, batches):
        assert np.array_equal(indices, expected)
        assert torch.equal(images, data.image_batch(expected))


def test_on_a_cpu_no_workers_are_started(monkeypatch):
    monkeypatch.setattr(engine, "read_ahead", None)
    batches = [np.arange(3), np.arange(3, 6)]
    given = list(engine.image_batches(FakeFaces(), batches, Accelerator(cpu=True), workers=4))
    assert [indices.tolist() for indices, _ in given] == [[0, 1, 2], [3, 4, 5]]
    assert torch.equal(given[1][1], FakeFaces().images[3:6])


def test_text_switches_are_read():
    quick = profiles.get("quick")
    changed = quick.override(
        "profile", {"recompute": "true", "compile_networks": "False", "micro_batches": "4"}
    )
    assert (changed.recompute, changed.compile_networks, changed.micro_batches) == (True, False, 4)
    with pytest.raises(ValueError, match="recompute: cannot read '1' as bool"):
        quick.override("profile", {"recompute": "1"})
    with pytest.raises(ValueError, match="recompute must be of type bool"):
        replace(quick, recompute=1)
    for name in profiles.names():  # off, so that a CPU's results stay as they are
        profile = profiles.get(name)
        assert (profile.micro_batches, profile.recompute, profile.compile_networks) == (1, False, False)


HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@pytest.fixture
def half_precision(monkeypatch):
    """Runs in half precision on the CPU, as on a GPU; Accelerate's own fp16 and scaler refuse CPUs."""

    def use(precision, scale=2.0**10, growth=4):
        def make(_):
            engine.AcceleratorState._reset_state()
            accelerator = Accelerator(cpu=True, mixed_precision="bf16")
            if precision == "fp16":
                accelerator.state._mixed_precision = "fp16"
                accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=growth)
            return accelerator

        for module in (training.embedder, training.swapper):
            monkeypatch.setattr(module, "make_accelerator", make)

    yield use
    engine.AcceleratorState._reset_state()


@pytest.mark.parametrize("precision", HALF)
def test_half_precision_trains_and_keeps_weights_and_average_in_fp32(tmp_path, half_precision, precision):
    half_precision(precision)
    kinds = set()
    watch = torch.nn.modules.module.register_module_forward_hook(
        lambda module, _, output: (
            kinds.add((type(module).__name__, output.dtype))
            if isinstance(module, torch.nn.Conv2d | generator.ResidualBlock)
            else None
        )
    )
    with watch:
        result = train("swapper", tmp_path / "run")
    assert ("Conv2d", HALF[precision]) in kinds  # steps
    assert ("Conv2d", torch.float32) in kinds  # previews by the average
    tensors, _ = checkpoints.read_tensors(result.folder / "state" / "state.safetensors")
    floating = {tensor.dtype for name, tensor in tensors.items() if tensor.is_floating_point()}
    assert floating == {torch.float32}
    assert all(np.isfinite(row["identity"]) for row in result.metrics)


def test_the_scaler_is_saved_and_resumed(tmp_path, half_precision):
    half_precision("fp16")
    whole = train("swapper", tmp_path / "whole")
    train("swapper", tmp_path / "half", TINY.override("swapper", {"steps": 4}))
    train("swapper", tmp_path / "half", resume=True)
    assert_same_weights(tmp_path / "half", tmp_path / "whole")
    record = checkpoints.read_metadata(whole.folder / "state" / "state.safetensors")["record"]
    assert '"scale": 32768.0' in record  # 2^10, doubled after every 4 of 20 optimizer steps


def test_a_gradient_too_large_for_fp16_skips_the_step_and_the_run_goes_on(tmp_path, half_precision):
    half_precision("fp16", scale=2.0**28, growth=1000)
    skipped = train("swapper", tmp_path / "one", TINY.override("swapper", {"steps": 1}))
    torch.manual_seed(0)
    untrained, _, _ = training.build_swapper(TINY, 8)
    state, _ = checkpoints.read_tensors(skipped.folder / "state" / "state.safetensors")
    for name, weight in untrained.state_dict().items():
        assert torch.equal(state[f"module.generator.{name}"], weight)
    longer = TINY.override("swapper", {"steps": 20})
    rows = train("swapper", tmp_path / "many", longer).metrics
    assert np.isfinite(rows[-1]["grad_norm_generator"]) and not np.isfinite(rows[0]["grad_norm_generator"])


WITHOUT_A_COMPILER = """
import sys, warnings
sys.path.insert(0, "tests/helpers")
from dataclasses import replace
import tiny_runs
tiny_runs.make_small()
profile = replace(tiny_runs.TINY, compile_networks=True)
for section in ("embedder", "swapper"):
    tiny_runs.train(section, f"{sys.argv[1]}/{section}", profile)
"""


@pytest.mark.slow
def test_without_a_compiler_the_run_says_so_and_goes_on(tmp_path):
    environment = {
        **os.environ,
        "CXX": "/no/such/compiler",
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_COMPILER, str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "training goes on without torch.compile: " in done.stderr
    assert "InvalidCxxCompiler" in done.stderr  # newer versions of torch wrap it
    assert checkpoints.load_generator(tmp_path / "swapper").size == 16


@pytest.mark.slow
@pytest.mark.parametrize(
    "section, backend, names",
    [("embedder", "inductor", ["Embedder"]), ("swapper", "aot_eager", ["Generator", "Embedder"])],
)
def test_compiled_networks_take_the_same_steps(tmp_path, finished, monkeypatch, section, backend, names):
    """R1's second derivative included, as the discriminator stays eager. "aot_eager" needs no compiler.

    The compiler's own part takes a second and more for each layer, so it is tried with an embedder of few.
    """
    eager = finished[section]
    if section == "embedder":
        monkeypatch.setitem(embedder.TRUNKS, "resnet_small", (4, (1,)))
        eager = train(section, tmp_path / "eager")
        backend = "aot_eager" if engine.why_not_compiled("cpu") else backend
    monkeypatch.setenv(
        "TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache")
    )  # a kill may leave half a file there
    compiled = []

    def compile_in_place(self):
        compiled.append(type(self).__name__)
        self._compiled_call_impl = torch.compile(self._call_impl, backend=backend)

    monkeypatch.setattr(engine, "why_not_compiled", lambda device_type: "")
    monkeypatch.setattr(torch.nn.Module, "compile", compile_in_place)
    result = train(section, tmp_path / section, replace(TINY, compile_networks=True))
    assert compiled == names
    assert [row["step"] for row in result.metrics] == [2, 4, 6, 8, 10]
    for ours, theirs in zip(result.metrics, eager.metrics):
        for name, value in ours.items():
            if name != "seconds" and value is not None:
                assert value == pytest.approx(theirs[name], rel=0.05, abs=5e-3), name
    states = [
        checkpoints.read_tensors(run.folder / "state" / "state.safetensors")[0] for run in (result, eager)
    ]
    assert states[0].keys() == states[1].keys()


def test_small_groups_of_the_discriminator_are_said(tmp_path):
    numbers = {"steps": 1, "batch_size": 8}
    profile = TINY.override("swapper", numbers)
    with pytest.warns(UserWarning, match="holds 2 images: the discriminator's minibatch standard deviation"):
        train("swapper", tmp_path / "small", replace(profile, micro_batches=4))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        train("swapper", tmp_path / "whole", replace(profile, micro_batches=2))
