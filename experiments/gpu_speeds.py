"""How fast a device takes the trainings' steps: precisions, layouts and compiled networks side by side.

Depends on costs, training, embedder, datasets.
"""

import gc
import time
from collections.abc import Callable

import numpy as np
import torch

from experiments import costs
from smoothswap_lib import datasets, training
from smoothswap_lib.embedder import Embedder
from smoothswap_lib.profiles import Profile
from smoothswap_lib.training.embedder import batch_loss, classifier_head

VARIANTS = {  # name: (precision, channels last, compiled)
    "fp32": ("no", True, False),
    "fp32, channels first": ("no", False, False),
    "bf16": ("bf16", True, False),
    "bf16, channels first": ("bf16", False, False),
    "fp16": ("fp16", True, False),
    "bf16, compiled": ("bf16", True, True),
}


def side_by_side(profile: Profile, data, seconds: float) -> dict:
    """{variant: what `timed` finds, and the share of a matrix product's speed}; "embedder" in its precision.

    A variant that fails (no compiler, no bf16, no memory) says so, and the others run. On a CPU only fp32 is
    tried, in both layouts.
    """
    auto = training.make_accelerator(profile.mixed_precision)
    flops = costs.swapper_work(profile, profile.swapper.batch_size, with_r1=False).flops
    variants = {n: v for n, v in VARIANTS.items() if auto.device.type != "cpu" or v[0] == "no"}
    each = seconds / (3 * (len(variants) + 1))  # about as much goes to building and to warming up
    found = {}
    for name, (precision, channels_last, compiled) in variants.items():
        try:
            found[name] = swapper_speed(profile, data, precision, channels_last, compiled, each)
            rate = found[name]["steps_a_second"] * flops
            share = rate / matrix_product(auto.device, precision)
            found[name] |= {"operations_a_second": rate, "share_of_matrix_product": share}
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            found[name] = {"failed": f"{type(error).__name__}: {lines[0]}"}
    found["embedder"] = embedder_speed(profile, data, each)
    return found | {"teraflop_a_step": flops / 1e12, "precision_of_trainings": auto.mixed_precision}


def timed(step: Callable[[int], None], seconds: float, device: torch.device) -> dict[str, float]:
    """Steps a second of `step(k)`, after three to warm up, and the memory at its peak."""
    started = time.perf_counter()
    for k in (1, 2, 3):
        step(k)
    synchronize(device)
    warm, count = time.perf_counter(), 0
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    while count < 2 or time.perf_counter() - warm < seconds:
        step(count + 4)
        count += 1
        if count % 8 == 0:
            synchronize(device)
    synchronize(device)
    result = {"steps_a_second": count / (time.perf_counter() - warm), "steps": count}
    result["seconds_to_warm_up"] = warm - started
    if device.type == "cuda":
        result["megabytes"] = torch.cuda.max_memory_allocated() / 2**20
    return result


def synchronize(device: torch.device) -> None:
    """Wait for the GPU: its work is only queued."""
    if device.type != "cpu":
        torch.accelerator.synchronize()


def matrix_product(device: torch.device, precision: str) -> float:
    """Operations a second of a large matrix product: what the device reaches at its best."""
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    side = 8192 if device.type == "cuda" else 512
    a = torch.randn(side, side, device=device, dtype=kind)
    return 2 * side**3 * timed(lambda _: a @ a, 0.3, device)["steps_a_second"]


def swapper_speed(
    profile: Profile, data, precision: str, channels_last: bool, compiled: bool, seconds: float
) -> dict:
    """The very step that trains, with networks that know nothing, on pictures that stay the same."""
    gc.collect()  # the last variant's networks: Accelerate's wrappers refer to themselves
    accelerator, config = training.make_accelerator(precision), profile.swapper
    embedder = Embedder(profile.embedder.backbone, profile.embedder.dim).eval().requires_grad_(False)
    generator, discriminator, _ = training.build_swapper(profile, embedder.dim)
    if not channels_last:
        for network in (generator, discriminator, embedder):
            network.to(memory_format=torch.contiguous_format)
    profile = profile.override_all({"profile": {"compile": compiled}})
    swapper = training.prepare_swapper(profile, generator, discriminator, embedder, accelerator)
    pairs = np.arange(2 * config.batch_size).reshape(2, -1) % len(data)
    x_target, x_source = (data.image_batch(part).to(accelerator.device) for part in pairs)
    last: dict[str, torch.Tensor] = {}

    def step(k: int) -> None:
        last.update(training.swapper_step(swapper, x_target, x_source, k, watched=False))

    found = timed(step, seconds, accelerator.device)
    losses = [value.float() for name, value in last.items() if not name.startswith("grad_norm")]
    return found | {"finite": bool(torch.stack(losses).isfinite().all())}


def embedder_speed(profile: Profile, data, seconds: float) -> dict:
    """The embedder's step in the profile's precision, on one batch of the data."""
    gc.collect()
    accelerator, config = training.make_accelerator(profile.mixed_precision), profile.embedder
    sampler = datasets.IdentityBatchSampler(
        data.identities, config.identities_per_batch, config.images_per_identity, 1, 0
    )
    batch = sampler.batch(0)
    x = data.image_batch(batch).to(accelerator.device)
    identity = torch.as_tensor(np.unique(data.identities[batch], return_inverse=True)[1])
    identity = identity.to(accelerator.device)
    network, head = Embedder(config.backbone, config.dim).train(), classifier_head(len(batch), config)
    adam = torch.optim.Adam(network.parameters(), config.learning_rate)
    prepared, optimizer = accelerator.prepare(network, adam)
    head = None if head is None else accelerator.prepare(head)

    def step(_: int) -> None:
        accelerator.backward(batch_loss(prepared(x), identity, head, config, accelerator)[0])
        optimizer.step()
        optimizer.zero_grad()

    return timed(step, seconds, accelerator.device)
