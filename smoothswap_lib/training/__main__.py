"""The training command: `python -m smoothswap_lib.training --help`."""

import argparse
from pathlib import Path

from accelerate import PartialState

from smoothswap_lib import profiles, training
from smoothswap_lib.runs.folder import Interrupted, NonFiniteError, StoppedError
from smoothswap_lib.runs.settings import apply_settings
from smoothswap_lib.runs.shipping import check_ship_name, ship

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

A run is saved every minute and on Ctrl-C, SIGTERM and SIGHUP; --resume continues it, on another number of
GPUs if need be. `accelerate launch` (or `torchrun --nproc_per_node 8 -m smoothswap_lib.training ...`) starts
one process a GPU; they share each batch.
"""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Exits with 2 for a wrong request, 1 for a run that failed, 128 + the signal's number for one that was told
    to stop (130 after Ctrl-C). Everything that is to be expected ends in one line, here.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        result = _train(options)
        if PartialState().is_main_process:
            print(f"{result.folder / 'weights.safetensors'}: {result.steps} steps, {result.seconds:.0f} s")
            if options.ship:
                print(f"shipped {ship(result.folder, options.ship)}")
    except (ValueError, OSError) as error:  # RunError, CheckpointError and FileNotFoundError are among them
        parser.error(str(error))
    except (NonFiniteError, StoppedError) as error:
        parser.exit(1, f"{options.task} stopped: {error}\n")
    except Interrupted as stop:
        parser.exit(128 + stop.signal, f"\n{stop}\n")
    except KeyboardInterrupt:
        parser.exit(130, f"\n{options.task} interrupted before its first step: nothing was lost.\n")
    except RuntimeError as error:
        if not _lost_a_process(error):
            raise
        parser.exit(
            1,
            f"{options.task} stopped: another process of this run has died, or its network has "
            f"({str(error).splitlines()[0]}). The same command with --resume goes on from the last state in "
            f"{options.out / 'state'}.\n",
        )
    finally:
        PartialState().destroy_process_group()


def _train(options: argparse.Namespace) -> training.TrainingResult:
    if options.ship:
        check_ship_name(options.ship)
    profile = apply_settings(profiles.get(options.profile), options.task, options.set)
    data, sources = open_sets(options, profile.size)
    common = {"seed": options.seed, "resume": options.resume}
    if options.task == "embedder":
        return training.train_embedder(profile, options.out, data, **common)
    return training.train_swapper(profile, options.out, data, options.embedder, **common, sources=sources)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m smoothswap_lib.training",
        description="Train the identity embedder or the swapper into a folder: weights.safetensors, "
        "metrics.parquet, profile.json, previews/ and state/.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=("embedder", "swapper"), help="what to train")
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
    weights = "swapper only: a shipped name, a run's folder or a .safetensors file (default: robust)"
    parser.add_argument("--embedder", default="robust", help=weights)
    card = "when done, write data/checkpoints/NAME.safetensors and its model card NAME.md"
    parser.add_argument("--ship", metavar="NAME", help=card)
    return parser


def open_sets(options: argparse.Namespace, size: int) -> tuple:
    """The data set that --data, --faces or --identities name, and the sources' own (swapper) or None.

    Raises
    ------
    ValueError, OSError
        Two options name the same set, --faces for an embedder, or from the data set: what is wrong with it.
    """
    swapper = options.task == "swapper"
    if options.faces is not None and not swapper:
        raise ValueError("--faces is for the swapper; an embedder takes --identities (or --data)")
    named = options.faces if swapper else options.identities
    if options.data is not None and named is not None:
        raise ValueError(f"--data and {'--faces' if swapper else '--identities'} name the same set: give one")
    first = next((name for name in (options.data, named) if name is not None), "train")
    data = training.open_data(first, options.task, size)
    if not swapper or options.identities is None:
        return data, None
    return data, training.open_data(options.identities, "swapper", size)


def _lost_a_process(error: RuntimeError) -> bool:
    """Whether this is what a process sees when another one of its run is gone."""
    words = str(error).lower()
    lost = ("connection closed by peer", "connection reset by peer", "broken pipe", "nccl", "gloo")
    return PartialState().num_processes > 1 and any(part in words for part in lost)


if __name__ == "__main__":
    main()
