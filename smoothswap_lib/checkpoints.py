"""Weights and whole training states on disk, and the shipped networks built from them.

Every file is safetensors: tensors and text, so that loading never runs code from the file. A file is written
under a temporary name and then renamed, so that a kill at any moment leaves the previous file whole.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor, nn

from smoothswap_lib.embedder import Embedder
from smoothswap_lib.files import atomic, data_folder
from smoothswap_lib.generator import Generator

# safetensors writes several metadata entries in a random order; one entry makes equal contents equal bytes.
_METADATA_KEY = "smoothswap"
SWAP_BATCH = 32  # images at once: on a CPU, 256 swaps in one piece took 1.7 times as long as in these


class CheckpointError(ValueError):
    """A file of weights is damaged, or holds something else than the network that asks for it."""


def tensor_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and bytes: equal weights have equal hashes in any file.

    Half precision counts as the single precision that a network makes of it.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        tensor = tensor.float() if tensor.dtype == torch.float16 else tensor
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and text to one safetensors file, atomically, with a hash of the tensors."""
    # clone: safetensors refuses tensors that share memory, as the copies of one FIR kernel may
    copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    text = json.dumps({**metadata, "tensor_hash": tensor_hash(copies)}, sort_keys=True)
    # bytes, not save_file: that makes files which only their owner can read
    content = tensors_to_bytes(copies, metadata={_METADATA_KEY: text})
    with atomic(path) as temporary, open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # the bytes must be on the disk before the name points at them


def read_metadata(path: str | Path) -> dict[str, str]:
    """The text of a safetensors file, without reading its tensors."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing. {_mend(path)}")
    damaged = CheckpointError(f"{path} is damaged: it has no safetensors header. {_mend(path)}")
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise damaged
        try:
            metadata = dict(json.loads(file.read(length)).get("__metadata__", {}))
            text = {str(n): str(v) for n, v in json.loads(metadata.get(_METADATA_KEY, "{}")).items()}
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise damaged from error
    if "tensor_hash" not in text:
        raise CheckpointError(
            f"{path} was not written by smoothswap_lib.checkpoints: it says nothing of its network."
        )
    return text


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors (on the CPU) and the text of a file written by `write_tensors`.

    Raises
    ------
    FileNotFoundError, CheckpointError
        The file is missing, cut off, or its tensors are not those that were written.
    """
    metadata = read_metadata(path)
    try:
        # not memory-mapped: a run overwrites its own state
        tensors = tensors_from_bytes(Path(path).read_bytes())
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}). {_mend(Path(path))}") from error
    actual = tensor_hash(tensors)
    if actual != metadata["tensor_hash"]:
        raise CheckpointError(
            f"{path} is damaged: its tensors hash to {actual}, not to {metadata['tensor_hash']}. "
            f"{_mend(Path(path))}"
        )
    return tensors, metadata


def half_precision(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights in half the bytes: matrices and kernels in float16, vectors (biases, batch norm) as they are.

    Raises
    ------
    CheckpointError
        A weight does not fit into float16's range.
    """
    halved = {
        name: tensor.half() if tensor.ndim > 1 and tensor.dtype == torch.float32 else tensor
        for name, tensor in tensors.items()
    }
    wrong = [name for name, tensor in halved.items() if not bool(torch.isfinite(tensor).all())]
    if wrong:
        raise CheckpointError(f"these weights are too large for half precision: {', '.join(wrong)}")
    return halved


def _mend(path: Path) -> str:
    if path.parent == data_folder() / "checkpoints":
        return f"Restore it with `git checkout -- {path}`."
    return "Write it again by the training command that made it, or copy it again from where it came."


def save_weights(
    path: str | Path, module: nn.Module, metadata: Mapping[str, str] | None = None, half: bool = False
) -> None:
    """Write a network's parameters and buffers, atomically.

    Parameters
    ----------
    metadata : dict of str to str
        Text to keep with the weights. `load_embedder` and `load_generator` need "network" (the class's name)
        and "arguments" (its constructor's arguments as JSON).
    half : in half precision (`half_precision`), half the bytes; a network that loads them computes in its own
    """
    tensors = module.state_dict()
    write_tensors(path, half_precision(tensors) if half else tensors, metadata or {})


def load_weights(path: str | Path, module: nn.Module) -> dict[str, str]:
    """Put the weights of a file into a network, in place, and return the file's text."""
    tensors, metadata = read_tensors(path)
    _fill(module, tensors, path)
    return metadata


def _fill(module: nn.Module, tensors: Mapping[str, Tensor], path: str | Path) -> None:
    own = module.state_dict()
    wrong = [f"{name} is missing" for name in own if name not in tensors]
    wrong += [f"{name} has no place" for name in tensors if name not in own]
    wrong += [
        f"{name} is {tuple(tensors[name].shape)}, the network has {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise CheckpointError(
            f"{path} does not fit this {type(module).__name__}: {'; '.join(wrong[:5])}{more}. "
            "Build the network with the numbers it was trained with: they are in the file's metadata."
        )
    module.load_state_dict(tensors)


def save_state(path: str | Path, modules: Mapping[str, nn.Module], optimizers: Mapping, record: dict) -> None:
    """Write all that a run needs to continue bit for bit: networks, optimizers, `record`.

    `record` is anything JSON can hold (the step, running sums, ...). Batches and first weights are drawn from
    (seed, step), so no random generator in a run remembers anything.
    """
    tensors = {
        f"module.{n}.{key}": tensor
        for n, module in modules.items()
        for key, tensor in module.state_dict().items()
    }
    groups = {}
    for name, optimizer in optimizers.items():
        state = optimizer.state_dict()
        groups[name] = state["param_groups"]
        for index, values in state["state"].items():
            tensors |= {f"optimizer.{name}.{index}.{key}": value for key, value in values.items()}
    write_tensors(path, tensors, {"optimizers": json.dumps(groups), "record": json.dumps(record)})


def load_state(path: str | Path, modules: Mapping[str, nn.Module], optimizers: Mapping) -> dict:
    """Put a state of `save_state` back into networks and optimizers; return its record."""
    tensors, metadata = read_tensors(path)
    for name, module in modules.items():
        _fill(module, _under(tensors, f"module.{name}."), path)
    groups = json.loads(metadata["optimizers"])
    for name, optimizer in optimizers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in _under(tensors, f"optimizer.{name}.").items():
            index, entry = key.split(".", 1)
            state.setdefault(int(index), {})[entry] = tensor
        for group in groups[name]:
            group["betas"] = tuple(group["betas"])  # JSON has no tuples
        optimizer.load_state_dict({"state": state, "param_groups": groups[name]})
    return json.loads(metadata["record"])


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def shipped() -> tuple[str, ...]:
    """The names of the shipped weights, `data/checkpoints/NAME.safetensors`."""
    return tuple(sorted(path.stem for path in (data_folder() / "checkpoints").glob("*.safetensors")))


def weights_path(name: str | Path) -> Path:
    """The file behind a shipped name, a finished run's folder or a `.safetensors` path."""
    if str(name) in shipped():
        return data_folder() / "checkpoints" / f"{name}.safetensors"
    path = Path(name)
    if path.is_dir():
        if not (path / "weights.safetensors").is_file():
            raise FileNotFoundError(
                f"{path} has no weights.safetensors: finish that run with --resume first."
            )
        return path / "weights.safetensors"
    if path.suffix == ".safetensors":
        return path
    raise CheckpointError(
        f"No weights are called {str(name)!r}. Shipped in {data_folder() / 'checkpoints'}: "
        f"{', '.join(shipped()) or 'none'}. A run's folder or the path of a .safetensors file will also do."
    )


def load_embedder(name: str | Path = "robust") -> Embedder:
    """A trained embedder, in eval mode on the CPU: of a shipped name, a run's folder or a file."""
    return _build(weights_path(name), Embedder)


def load_generator(name: str | Path = "swapper") -> Generator:
    """A trained generator, in eval mode on the CPU: of a shipped name, a run's folder or a file."""
    return _build(weights_path(name), Generator)


def _build(path: Path, network: type[nn.Module]) -> nn.Module:
    metadata = metadata_of(path, network)
    try:
        module = network(**json.loads(metadata["arguments"]))
    except (KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} does not say how to build its {network.__name__} ({error})."
        ) from error
    load_weights(path, module)
    if not all(tensor.isfinite().all() for tensor in module.state_dict().values()):
        raise CheckpointError(f"{path} holds weights that are not finite. {_mend(path)}")
    return module.eval()


def metadata_of(path: Path, network: type[nn.Module]) -> dict[str, str]:
    """The text of a file of weights; CheckpointError if they are another network's."""
    metadata = read_metadata(path)
    if metadata.get("network") != network.__name__:
        fit = [
            name for name in shipped() if read_metadata(weights_path(name)).get("network") == network.__name__
        ]
        raise CheckpointError(
            f"{path} holds weights of {metadata.get('network', 'an unnamed network')}, "
            f"{network.__name__} was asked for. Shipped ones: {', '.join(fit) or 'none'}."
        )
    return metadata


@lru_cache(maxsize=2)
def _swapper(path: Path, _written: int) -> tuple[Generator, Embedder]:
    metadata = metadata_of(path, Generator)
    if not {"embedder", "embedder_hash"} <= metadata.keys():
        raise CheckpointError(f"{path} does not name its embedder. Pass it: swap(..., embedder=...).")
    embedder_path = weights_path(metadata["embedder"])
    if metadata_of(embedder_path, Embedder)["tensor_hash"] != metadata["embedder_hash"]:
        raise CheckpointError(
            f"{path} was trained with another embedder than {embedder_path} is now (tensor hash "
            f"{metadata['embedder_hash']} expected). Pass the right one: swap(..., embedder=...)."
        )
    return _build(path, Generator), _build(embedder_path, Embedder)


@torch.no_grad()
def swap(
    x_source: Tensor,
    x_target: Tensor,
    generator: str | Path | nn.Module = "swapper",
    embedder: nn.Module | None = None,
) -> Tensor:
    """Swap faces: the source's identity into the target's picture (Sec. 4.2).

    Parameters
    ----------
    x_source, x_target : Tensor, (B, 3, H, W) in [-1, 1]
        H and W as the generator was trained with (the source may have any size the embedder takes).
    generator : str, path or Module
        A shipped name, a run's folder, a file, or a generator that is already loaded.
    embedder : Module, optional
        The one the generator was trained with; needed only with a loaded generator.

    Returns
    -------
    Tensor, (B, 3, H, W) in [-1, 1]
    """
    for name, x in (("x_source", x_source), ("x_target", x_target)):
        _check_images(name, x)
    if len(x_source) != len(x_target):
        raise ValueError(
            f"x_source holds {len(x_source)} images, x_target {len(x_target)}: they are swapped in pairs."
        )
    if not isinstance(generator, nn.Module):
        path = weights_path(generator)
        if embedder is None:
            generator, embedder = _swapper(path, path.stat().st_mtime_ns if path.exists() else 0)
        else:
            generator = _build(path, Generator)
    elif embedder is None:
        raise ValueError(
            "A loaded generator needs the embedder that it was trained with: swap(..., embedder=...)."
        )
    parts = zip(x_source.split(SWAP_BATCH), x_target.split(SWAP_BATCH))
    return torch.cat([generator(target, embedder(source)) for source, target in parts]).clamp(-1, 1)


def _check_images(name: str, x: Tensor) -> None:
    if x.ndim != 4 or x.shape[1] != 3 or not x.is_floating_point():
        raise ValueError(
            f"{name} must be float images (B, 3, H, W), not {x.dtype} of shape {tuple(x.shape)}."
        )
    if x.numel() and (x.min() < -1.01 or x.max() > 1.01):
        raise ValueError(
            f"{name} must lie in [-1, 1] as in training; it spans {x.min():.2f} to {x.max():.2f}."
        )
