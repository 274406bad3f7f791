"""The training command, and the shipping of its results: `python -m smoothswap_lib.training --help`."""

import argparse
import dataclasses
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow.parquet
from accelerate import PartialState
from torch import nn

from smoothswap_lib import checkpoints, profiles, training
from smoothswap_lib.files import atomic, data_folder, sha256
from smoothswap_lib.profiles import Profile
from smoothswap_lib.runs import NonFiniteError, RunError

_EPILOG = """\
examples:
  python -m smoothswap_lib.training embedder --profile laptop --out build/embedder
  python -m smoothswap_lib.training swapper --profile laptop --embedder build/embedder --out build/swapper
  python -m smoothswap_lib.training swapper --profile quick --set steps=100 batch_size=4 --out build/trial
  python -m smoothswap_lib.training swapper --profile laptop --embedder build/embedder --out build/swapper \\
      --resume

  accelerate launch -m smoothswap_lib.training embedder --profile paper --identities VGGFACE2 --out EMBEDDER
  accelerate launch -m smoothswap_lib.training swapper --profile paper --faces FFHQ --embedder EMBEDDER \\
      --out RUN --resume

Ctrl-C saves the run; --resume continues it, on another number of GPUs if need be. `accelerate launch` (or
`torchrun --nproc_per_node 8 -m smoothswap_lib.training ...`) starts one process a GPU; they share each batch.
"""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exits with 2 for a wrong request, 1 for a run that failed, 130 after Ctrl-C."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        profile = apply_settings(profiles.get(options.profile), options.section, options.set)
        data, sources = open_sets(options, profile.size)
        if options.ship:
            _check_ship_name(options.ship)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    try:
        if options.section == "embedder":
            result = training.train_embedder(profile, options.out, data, options.seed, options.resume)
        else:
            result = training.train_swapper(
                profile, options.out, data, options.embedder, options.seed, options.resume, sources=sources
            )
        if PartialState().is_main_process:
            print(f"{result.folder / 'weights.safetensors'}: {result.steps} steps, {result.seconds:.0f} s")
            if options.ship:
                print(f"shipped {ship(result.folder, options.ship)}")
    except (RunError, checkpoints.CheckpointError, FileNotFoundError) as error:
        parser.error(str(error))
    except NonFiniteError as error:
        parser.exit(1, f"{options.section} stopped: {error}\n")
    except RuntimeError as error:
        if not _lost_a_process(error):
            raise
        parser.exit(
            1,
            f"{options.section} stopped: another process of this run has died, or its network has "
            f"({str(error).splitlines()[0]}). The same command with --resume goes on from the last state in "
            f"{options.out / 'state'}.\n",
        )
    except KeyboardInterrupt as interrupt:
        parser.exit(130, f"\n{interrupt}\n")
    finally:
        PartialState().destroy_process_group()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m smoothswap_lib.training",
        description="Train the identity embedder or the swapper into a folder: weights.safetensors, "
        "metrics.parquet, profile.json, previews/ and state/.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("section", choices=("embedder", "swapper"), help="what to train")
    parser.add_argument(
        "--profile", required=True, metavar="P", help=f"the run's numbers: {', '.join(profiles.names())}"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="the run's folder, new or empty"
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue the run in DIR (or start it, if there is none)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="decides first weights and batches (default 0)"
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="change numbers of the profile, e.g. steps=40 channel_multipliers=1,2,2 save_every=10",
    )
    parser.add_argument(
        "--data",
        help="a TrueSwap split (train, test) or built folder; else a folder of identities (embedder) or of "
        "faces (swapper); default: train",
    )
    parser.add_argument(
        "--faces", metavar="PATH", help="swapper only: the same as --data, such as the folder of FFHQ"
    )
    parser.add_argument(
        "--identities",
        metavar="PATH",
        help="embedder: the same as --data, such as the folder of VGGFace2; swapper: take source images from "
        "here, and targets only from --faces (the paper names FFHQ alone for its generator)",
    )
    parser.add_argument(
        "--embedder",
        default="supcon",
        help="swapper only: a shipped name, a run's folder or a .safetensors file (default: supcon)",
    )
    parser.add_argument(
        "--ship",
        metavar="NAME",
        help="when done, write data/checkpoints/NAME.safetensors and its model card NAME.md",
    )
    return parser


def open_sets(options: argparse.Namespace, size: int) -> tuple:
    """The data set that --data, --faces or --identities name, and the sources' own (swapper) or None.

    Raises
    ------
    ValueError, OSError
        Two options name the same set, --faces for an embedder, or from the data set: what is wrong with it.
    """
    swapper = options.section == "swapper"
    if options.faces is not None and not swapper:
        raise ValueError("--faces is for the swapper; an embedder takes --identities (or --data)")
    named = options.faces if swapper else options.identities
    if options.data is not None and named is not None:
        raise ValueError(f"--data and {'--faces' if swapper else '--identities'} name the same set: give one")
    first = next((name for name in (options.data, named) if name is not None), "train")
    data = training.open_data(first, options.section, size)
    if not swapper or options.identities is None:
        return data, None
    return data, training.open_data(options.identities, "swapper", size)


def _lost_a_process(error: RuntimeError) -> bool:
    """Whether this is what a process sees when another one of its run is gone."""
    words = str(error).lower()
    lost = ("connection closed by peer", "connection reset by peer", "broken pipe", "nccl", "gloo")
    return PartialState().num_processes > 1 and any(part in words for part in lost)


def apply_settings(profile: Profile, section: str, settings: list[str]) -> Profile:
    """The profile with NAME=VALUE texts applied, each to the section or else to the profile's own fields.

    Raises
    ------
    ValueError
        An unknown name (the known ones are listed), or a value that cannot be.
    """
    own = [field.name for field in dataclasses.fields(getattr(profile, section))]
    top = [f.name for f in dataclasses.fields(profile) if f.name not in ("name", "embedder", "swapper")]
    changes: dict[str, dict[str, str]] = {"profile": {}, section: {}}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set takes NAME=VALUE, not {setting!r}")
        if name not in own + top:
            raise ValueError(
                f"--set {setting}: no number is called {name!r}. The {section} has {', '.join(own)}; "
                f"the profile has {', '.join(top)}"
            )
        changes[section if name in own else "profile"][name] = value
    return profile.override_all(changes)


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
    _check_ship_name(name)
    folder = Path(folder)
    run = json.loads((folder / "profile.json").read_text())
    weights = checkpoints.weights_path(folder)
    tensors, metadata = checkpoints.read_tensors(weights)
    target = data_folder() / "checkpoints" / f"{name}.safetensors"
    if callable(evaluation):
        load = checkpoints.load_embedder if run["section"] == "embedder" else checkpoints.load_generator
        evaluation = evaluation(load(weights))
    if run["section"] == "swapper":
        # `swap` must find the embedder by name wherever the repository is cloned
        metadata["embedder"] = _shipped_embedder(metadata["embedder_hash"])
        checkpoints.write_tensors(target, tensors, metadata)
    else:
        with atomic(target) as path:
            shutil.copyfile(weights, path)
    rows = pyarrow.parquet.read_table(folder / "metrics.parquet").to_pylist()
    card = model_card(name, target, run, metadata, rows[-1], dict(evaluation or {}))
    with atomic(target.with_suffix(".md")) as path:
        path.write_text(card, encoding="utf-8")
    return target


def _shipped_embedder(tensor_hash: str) -> str:
    for name in checkpoints.shipped():
        if checkpoints.read_metadata(checkpoints.weights_path(name))["tensor_hash"] == tensor_hash:
            return name
    raise RunError(
        "This swapper's embedder is not among the shipped weights "
        f"({', '.join(checkpoints.shipped()) or 'none'}): ship the embedder's run first."
    )


def _check_ship_name(name: str) -> None:
    if not name.replace("_", "").isalnum() or not name.isascii():
        raise RunError(f"--ship {name!r}: letters, digits and underscores only.")


def model_card(name: str, weights: Path, run: dict, metadata: dict, last: dict, evaluation: dict) -> str:
    """The card's Markdown, from the run's own records."""
    section, profile = run["section"], run["profile"]
    facts = {
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
    if section == "embedder":
        facts["identities"] = run["identities"]
    else:
        facts["embedder"] = metadata["embedder"]
    numbers = {"size": profile["size"], "mixed_precision": profile["mixed_precision"], **profile[section]}
    parts = [
        f"# {name}",
        f"Written by `python -m smoothswap_lib.training {section} --ship {name}` from its run. For teaching "
        "and research on face swapping; not for recognizing people, nor for swapping a face without consent.",
        _table("", "", facts),
        "## Numbers of the profile",
        _table("number", "value", numbers),
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


if __name__ == "__main__":
    sys.exit("Use python -m smoothswap_lib.training")
