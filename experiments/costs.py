"""What a training step costs: parameters, multiply-adds, bytes by module; seconds and memory of a whole step.

Counted on torch's meta device, where tensors have shapes but no numbers: the paper's 256 px networks take no
memory, and a step is the very function that trains. Depends on profiles, embedder, training.
"""

import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from smoothswap_lib import training
from smoothswap_lib.embedder import Embedder
from smoothswap_lib.profiles import Profile
from smoothswap_lib.training.accelerator import checkpoint_gradients


@dataclass(frozen=True)
class Work:
    """What a step asks of a machine.

    Attributes
    ----------
    flops : floating-point operations of convolutions and matrix products; a multiply-add is two
    traffic : bytes that all operations read and write, each as if nothing stayed in a cache
    peak : bytes of all tensors at the moment when they are most: weights, optimizer, activations
    gradients : bytes that several processes exchange
    operations : how many there are, views not counted
    """

    flops: float
    traffic: float
    peak: int
    gradients: int
    operations: float = 0


@dataclass(frozen=True)
class Machine:
    """A device's measured constants (`measure_machine`).

    Attributes
    ----------
    flops : a second, in convolutions
    bandwidth : bytes a second that an elementwise operation reads and writes
    link : bytes a second between two processes; of no use for one
    overhead : seconds that an operation takes however small it is
    """

    name: str
    flops: float
    bandwidth: float
    link: float = float("inf")
    overhead: float = 0.0


# Data sheets: half precision on tensor cores without sparsity (operations a second), memory (bytes a second).
# Of these a step is assumed to get the shares below; no card was at hand to measure them.
DATA_SHEETS = {
    "T4": (65e12, 320e9),
    "L4": (121e12, 300e9),
    "A100": (312e12, 1555e9),
    "H100": (989e12, 3350e9),
}
SHARE_OF_PEAK, SHARE_OF_BANDWIDTH, GPU_CALL = 0.25, 0.8, 8e-6


def assumed_gpu(name: str) -> Machine:
    """A card of DATA_SHEETS as the predictions take it: shares of its data sheet, not measurements."""
    flops, bandwidth = DATA_SHEETS[name]
    return Machine(name, SHARE_OF_PEAK * flops, SHARE_OF_BANDWIDTH * bandwidth, overhead=GPU_CALL)


class Counter(TorchDispatchMode):
    """Adds up what each operation does while the block runs; see `Work` for the attributes.

    A tensor counts as long as anything refers to its storage, so `peak` knows when autograd lets go of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.traffic = self.written = self.live = self.peak = self.operations = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        count = flop_registry.get(function._overloadpacket)
        if count is not None:
            self.flops += count(*arguments, **(options or {}), out_val=result)
        if not function.is_view:
            self.operations += 1
            inputs = [leaf for leaf in tree_leaves((arguments, options)) if isinstance(leaf, Tensor)]
            self.written += sum(tensor.nbytes for tensor in outputs)
            self.traffic += sum(tensor.nbytes for tensor in inputs + outputs)
        for tensor in outputs:
            self.hold(tensor)
        return result

    def hold(self, tensor: Tensor) -> None:
        """Count a tensor's storage until it is freed."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._known:
            self._known[key] = storage.nbytes()
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self.live -= self._known.pop(key)


def module_table(network: nn.Module, *inputs: Tensor) -> list[dict[str, object]]:
    """One row a block of the network, for one forward pass; the last row is the whole.

    Parameters
    ----------
    network, inputs : on any device; on "meta" nothing is computed

    Returns
    -------
    list of {"module", "parameters", "GMAC", "weights MB", "activations MB"}
        Multiply-adds in units of 1e9; activations are all that the block's operations write.
    """
    counter, handles, rows = Counter(), [], []

    def begin(module, _inputs):
        module.counted = (counter.flops, counter.written)

    def end(module, _inputs, _output):
        flops, written = module.__dict__.pop("counted")
        rows.append(_row(names[module], module, counter.flops - flops, counter.written - written))

    names = {module: name for name, module in _blocks(network)} | {network: "total"}
    for module in names:
        handles += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
    try:
        with torch.no_grad(), counter:
            network(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return rows  # the whole network ends last


def _blocks(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The network's children, and the children's children where a child is a list of them."""
    for name, child in network.named_children():
        if isinstance(child, nn.ModuleDict | nn.Sequential):
            yield from ((f"{name}.{inner}", module) for inner, module in child.named_children())
        else:
            yield name, child


def _row(name: str, module: nn.Module, flops: float, written: float) -> dict[str, object]:
    return {
        "module": name,
        "parameters": sum(p.numel() for p in module.parameters()),
        "GMAC": flops / 2e9,
        "weights MB": sum(p.nbytes for p in module.parameters()) / 2**20,
        "activations MB": written / 2**20,
    }


def networks_table(profile: Profile) -> list[dict[str, object]]:
    """`module_table` of generator, discriminator and embedder, for one image; "network" is a column more."""
    size, dim = profile.size, profile.embedder.dim
    with torch.device("meta"):
        generator, discriminator, _ = training.build_swapper(profile, dim)
        embedder = Embedder(profile.embedder.backbone, dim).eval()
        x, z = torch.empty(1, 3, size, size), torch.empty(1, dim)
    cases = {"generator": (generator, x, z), "discriminator": (discriminator, x), "embedder": (embedder, x)}
    return [
        {"network": n, **row}
        for n, (network, *inputs) in cases.items()
        for row in module_table(network, *inputs)
    ]


class _OneProcess:
    """What the steps ask of Accelerate, for one process in fp32 on any device, the meta device too."""

    num_processes = 1

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def clip_grad_norm_(self, parameters, max_norm: float) -> Tensor:
        return nn.utils.clip_grad_norm_(parameters, max_norm)

    def unwrap_model(self, network: nn.Module) -> nn.Module:
        return network

    def gather(self, tensor: Tensor) -> Tensor:
        return tensor


class SwapperStep:
    """The swapper's networks on a device, with random images: calling it takes one whole step in fp32.

    Parameters
    ----------
    batch : images a step
    device : "meta" counts, any other computes
    """

    def __init__(self, profile: Profile, batch: int, device: str | torch.device) -> None:
        self.profile = profile
        dim, size, numbers = profile.embedder.dim, profile.size, profile.swapper
        with torch.device(device):
            generator, discriminator, _ = training.build_swapper(profile, dim)
            ema, _, _ = training.build_swapper(profile, dim)
            embedder = Embedder(profile.embedder.backbone, dim)
            self.images = torch.rand(2, batch, 3, size, size) * 2 - 1
        if profile.gradient_checkpointing:
            checkpoint_gradients(generator)
        optimizers = [
            _ready_adam(generator, numbers.generator_learning_rate, numbers.adam_betas),
            _ready_adam(discriminator, numbers.discriminator_learning_rate, numbers.adam_betas),
        ]
        frozen = [network.eval().requires_grad_(False) for network in (embedder, ema)]
        self.swapper = training.Swapper(
            generator, discriminator, *frozen, *optimizers, numbers, _OneProcess()
        )
        self.gradients = sum(p.nbytes for n in (generator, discriminator) for p in n.parameters())

    def __call__(self, with_r1: bool) -> None:
        step = 0 if with_r1 else 1  # R1 is in every `r1_interval`-th
        training.swapper_step(self.swapper, *self.images, step, watched=False)


def _ready_adam(network: nn.Module, rate: float, betas: tuple[float, float]) -> torch.optim.Adam:
    """Adam with its averages, which it would make in its first step."""
    optimizer = torch.optim.Adam(network.parameters(), rate, betas)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    return optimizer


def swapper_work(profile: Profile, batch: int, with_r1: bool) -> Work:
    """One whole step of the swapper with so many images in fp32: generator, discriminator, Adam, average."""
    counter = Counter()
    with counter:
        step = SwapperStep(profile, batch, "meta")
        counter.flops = counter.traffic = counter.operations = 0
        step(with_r1)
    return Work(counter.flops, counter.traffic, counter.peak, step.gradients, counter.operations)


def mean_swapper_work(profile: Profile, batch: int) -> Work:
    """The mean step: R1 is in one of `r1_interval`. The peak is that of a step with R1."""
    share = 1 / profile.swapper.r1_interval
    dear = swapper_work(profile, batch, with_r1=True)
    plain = swapper_work(profile, batch, with_r1=False) if share < 1 else dear

    def mean(name):
        return share * getattr(dear, name) + (1 - share) * getattr(plain, name)

    peak = max(dear.peak, plain.peak)
    return Work(mean("flops"), mean("traffic"), peak, dear.gradients, mean("operations"))


def embedder_work(profile: Profile, batch: int) -> Work:
    """One step of the embedder with so many images in fp32. The loss itself, a (B, B) matrix, is left out."""
    counter = Counter()
    with torch.device("meta"), counter:
        network = Embedder(profile.embedder.backbone, profile.embedder.dim)
        optimizer = _ready_adam(network, profile.embedder.learning_rate, (0.9, 0.999))
        x = torch.empty(batch, 3, profile.size, profile.size)
        counter.flops = counter.traffic = counter.operations = 0
        network(x).sum().backward()
        optimizer.step()
    gradients = sum(p.nbytes for p in network.parameters())
    return Work(counter.flops, counter.traffic, counter.peak, gradients, counter.operations)


def predicted_seconds(work: Work, machine: Machine, processes: int = 1) -> float:
    """Seconds of a step: convolutions, what memory limits, the calls themselves, the exchange of gradients.

    One after the other, as if nothing overlapped. A ring of n processes sends 2 (n - 1) / n of the gradients.
    """
    exchanged = 2 * (processes - 1) / processes * work.gradients
    computed = work.flops / machine.flops + work.traffic / machine.bandwidth
    return computed + work.operations * machine.overhead + exchanged / machine.link


def predicted_minutes(profile: Profile, cards: Sequence[str] = tuple(DATA_SHEETS)) -> dict[str, dict]:
    """{card: {"embedder": minutes, "swapper": minutes}} of a profile's whole trainings on assumed cards.

    Steps are counted without R1, which adds its share of one step in `r1_interval` only (a hundredth).
    """
    work = {
        "embedder": embedder_work(profile, profile.embedder.batch_size),
        "swapper": swapper_work(profile, profile.swapper.batch_size, with_r1=False),
    }
    return {
        card: {
            task: getattr(profile, task).steps * predicted_seconds(asked, assumed_gpu(card)) / 60
            for task, asked in work.items()
        }
        for card in cards
    }


def measure_machine(device: str = "cpu", mixed_precision: str = "no", repeats: int = 20) -> Machine:
    """Measure a device's three constants in some seconds, on a quiet machine.

    Convolutions: 3 x 3, 64 to 64 channels, 8 images of 64 x 64, forward and backward. Bandwidth: SiLU of 2M
    values, 8 MB of fp32, as large as activations are (64 MB leave a CPU's cache, and were 4 times slower);
    half precision counts as many bytes, so that its gain is in the constant. Overhead: SiLU of one value.
    """
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(mixed_precision, torch.float32)
    layer = nn.Conv2d(64, 64, 3, padding=1).to(device, half).to(memory_format=torch.channels_last)
    x = torch.randn(8, 64, 64, 64, device=device, dtype=half).to(memory_format=torch.channels_last)
    x.requires_grad_()
    flops = 3 * 2 * 64 * 64 * 9 * 64 * 64 * 8  # forward, and twice as much backward
    values = torch.randn(2**21, device=device, dtype=half)
    convolution = _best_seconds(lambda: layer(x).sum().backward(), device, repeats)
    elementwise = _best_seconds(lambda: nn.functional.silu(values), device, repeats)
    overhead = _best_seconds(lambda: [nn.functional.silu(values[:1]) for _ in range(1000)], device, 5) / 1000
    return Machine(
        _name(device), flops / convolution, 2 * 4 * values.numel() / elementwise, overhead=overhead
    )


def _best_seconds(function, device: str, repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        if device != "cpu":
            torch.accelerator.synchronize()  # a GPU's work is only queued
        best = min(best, time.perf_counter() - start)
    return best


def _name(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{device}, {torch.get_num_threads()} thread(s)"
