"""A finished run's weights become shipped ones, with a model card made from the run's own records."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow.parquet
from torch import nn

from smoothswap_lib import checkpoints
from smoothswap_lib.files import atomic, data_folder, sha256
from smoothswap_lib.runs.folder import RunError, read_config


def ship(
    folder: str | Path,
    name: str,
    evaluation: Mapping[str, object] | Callable[[nn.Module], Mapping] | None = None,
) -> Path:
    """Copy a finished run's weights to the shipped ones, with a model card made from the run.

    Parameters
    ----------
    folder : a finished run's
    name : of the shipped weights
    evaluation : measurements for the card, or a function of the network (eval mode) that makes them

    Returns
    -------
    Path of the shipped weights; the card lies beside them, NAME.md

    Raises
    ------
    RunError, FileNotFoundError
        The name is unusable, the run is not finished, or its embedder is not among the shipped ones.
    """
    check_ship_name(name)
    folder = Path(folder)
    run = read_config(folder)
    weights = checkpoints.weights_path(folder)
    tensors, metadata = checkpoints.read_tensors(weights)
    target = data_folder() / "checkpoints" / f"{name}.safetensors"
    if callable(evaluation):
        load = checkpoints.load_embedder if run["task"] == "embedder" else checkpoints.load_generator
        evaluation = evaluation(load(weights))
    if run["task"] == "swapper":
        # `swap` must find the embedder by name wherever the repository is cloned
        metadata["embedder"] = _shipped_embedder(metadata["embedder_hash"])
        checkpoints.write_tensors(target, tensors, metadata)
    else:
        with atomic(target) as path:
            shutil.copyfile(weights, path)
    by = f"python -m smoothswap_lib.training {run['task']} --ship {name}"
    _write_card(name, target, folder, metadata, evaluation, by)
    return target


def export(
    folder: str | Path, name: str, out: str | Path, evaluation: Mapping[str, object] | None = None
) -> Path:
    """Copy a finished run's weights with their model card into the folder `out`: NAME.safetensors, NAME.md.

    Errors as for `ship`, which puts weights among the shipped ones. A swapper whose embedder was trained by
    oneself needs that embedder's file as well: `swap(..., embedder=load_embedder(FILE))`.
    """
    check_ship_name(name)
    tensors, metadata = checkpoints.read_tensors(checkpoints.weights_path(Path(folder)))
    target = Path(out) / f"{name}.safetensors"
    checkpoints.write_tensors(target, tensors, metadata)
    _write_card(name, target, Path(folder), metadata, evaluation, "smoothswap_lib.training.export")
    return target


def _write_card(name: str, target: Path, folder: Path, metadata: dict, evaluation, by: str) -> None:
    """NAME.md beside the weights, from what the run's folder says of itself."""
    rows = pyarrow.parquet.read_table(folder / "metrics.parquet").to_pylist()
    card = model_card(name, target, read_config(folder), metadata, rows[-1], dict(evaluation or {}), by)
    with atomic(target.with_suffix(".md")) as path:
        path.write_text(card, encoding="utf-8")


def _shipped_embedder(tensor_hash: str) -> str:
    for name in checkpoints.shipped():
        if checkpoints.read_metadata(checkpoints.weights_path(name))["tensor_hash"] == tensor_hash:
            return name
    raise RunError(
        "This swapper's embedder is not among the shipped weights "
        f"({', '.join(checkpoints.shipped()) or 'none'}): ship the embedder's run first."
    )


def check_ship_name(name: str) -> None:
    if not name.replace("_", "").isalnum() or not name.isascii():
        raise RunError(f"--ship {name!r}: letters, digits and underscores only.")


def model_card(
    name: str, weights: Path, run: dict, metadata: dict, last: dict, evaluation: dict, by: str
) -> str:
    """The card's Markdown, from the run's own records; `by` is the command or function that writes it."""
    task, profile = run["task"], run["profile"]
    about = {
        "network": f"{metadata['network']} {metadata['arguments']}",
        "profile": metadata["profile"],
        "steps": metadata["steps"],
        "seed": metadata["seed"],
        "data": f"{run['data']}, {run['images']} images",
        "seconds": f"{last['seconds']:.0f}",
        "machine": run["machine"],
        "versions": ", ".join(f"{package} {version}" for package, version in run["versions"].items()),
        "SHA-256": sha256(weights),
    }
    if task == "embedder":
        about["identities"] = run["identities"]
    else:
        about["embedder"] = metadata["embedder"]
    config = {"size": profile["size"], "mixed_precision": profile["mixed_precision"], **profile[task]}
    parts = [
        f"# {name}",
        f"Written by `{by}` from its run. For teaching and "
        "research on face swapping; not for recognizing people, nor for swapping a face without consent.",
        _table("", "", about),
        "## Numbers of the profile",
        _table("number", "value", config),
        f"## Last row of metrics.parquet (mean over at most {profile['log_every']} steps)",
        _table("value", "", {n: v for n, v in last.items() if v is not None}),
    ]
    if evaluation:
        parts += ["## Evaluation", _table("measure", "value", evaluation)]
    return "\n\n".join(parts) + "\n"


def _table(left: str, right: str, rows: Mapping[str, object]) -> str:
    def text(value: object) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    return "\n".join(
        [f"| {left} | {right} |", "|---|---|", *(f"| {key} | {text(value)} |" for key, value in rows.items())]
    )
