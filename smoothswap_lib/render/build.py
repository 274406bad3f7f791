"""Rendering a whole TrueSwap data set: `python -m smoothswap_lib.render build --split train|test|fresh ...`.

One part file an identity, so that a killed build goes on where it stopped; the parts of 100 identities become
one Parquet table, so that a finished set can grow. The same arguments give the same bytes, however many
processes render. Depends on files, world, masks, render, workers.
"""

import argparse
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image
from tqdm import tqdm

from smoothswap_lib import world
from smoothswap_lib.files import atomic, read_numbers
from smoothswap_lib.processes.workers import in_one_line, in_parallel
from smoothswap_lib.render import render_with_truth, use_one_thread
from smoothswap_lib.render.pairs import FOLDS, TWINS, twin_pairs, verification_pairs
from smoothswap_lib.world import masks

SPLITS = {
    "train": 0,
    "test": 1,
    "fresh": 2,
    "twins": 3,
}  # part of every seed: none shares a person
ENCODING = {"format": "AVIF", "quality": 85, "subsampling": "4:4:4", "speed": 8, "max_threads": 1}
SAMPLES = 20  # light paths a pixel of what ships; tests/benchmarks/bench_render.py shows noise and time
IDENTITIES_A_FILE = 100  # some megabytes a file; when a set grows, only the last one is written again
FREE = -1  # the attribute set of an image that is not part of the matrix


def build(
    out: str | Path,
    split: str,
    seed: int = 0,
    identities: int = 256,
    images: int = 24,
    attributes: int = 0,
    size: int = 128,
    samples: int = SAMPLES,
    resume: bool = False,
    processes: int | None = None,
) -> Path:
    """Render a data set into the folder `out`; returns it.

    Parameters
    ----------
    split : "train" (free images only), "test" or "fresh" (a swap matrix, free images, verification pairs), or
        "twins" (groups of TWINS people who share all colors, free images, verification pairs within groups).
    seed : of every parameter and of the light paths; the splits differ under one seed.
    identities : how many; a finished build grows when it is resumed with more of them.
    images : free images an identity, each with its own state and attributes.
    attributes : columns of the swap matrix; every identity is rendered under each of them in one state.
    size : pixels a side.
    samples : light paths a pixel.
    resume : go on with a build that stopped, or that shall grow.
    processes : that render side by side, one a core where not given; they do not change the result.

    Raises
    ------
    FileExistsError, ValueError
        `out` holds another build, or a number is impossible.
    """
    settings = {
        "split": split, "seed": seed, "identities": identities, "images": images, "attributes": attributes,
        "size": size, "samples": samples, "identities_a_file": IDENTITIES_A_FILE, "encoding": ENCODING,
    }  # fmt: skip
    _check(settings)
    out = Path(out)
    _prepare(out, settings, resume)
    waiting = {  # {file: the identities that it lacks}
        path: [number for number in members if not _is_whole(_part(out, number), settings)]
        for path, members in _files(out, settings)
        if _identities_in(path, settings) < len(members)
    }
    jobs = [(settings, number, _part(out, number)) for lacking in waiting.values() for number in lacking]
    for path, lacking in waiting.items():
        if not lacking:
            _join(out, path, settings)
    each = images + attributes
    with tqdm(total=identities * each, initial=(identities - len(jobs)) * each, unit="image") as bar:
        for number in _render_parts(jobs, processes):
            path = _file(out, number)
            waiting[path].remove(number)
            if not waiting[path]:
                _join(out, path, settings)
            bar.update(each)
    if split != "train" and not (out / "pairs.parquet").exists():
        _write_pairs(out, settings)
    shutil.rmtree(_part(out, 0).parent, ignore_errors=True)
    return out


def _check(settings):
    if settings["split"] not in SPLITS:
        raise ValueError(f"split is {settings['split']!r}; choose one of {', '.join(SPLITS)}")
    for name, least in (
        ("seed", 0),
        ("identities", 1),
        ("size", 16),
        ("samples", 1),
        ("images", 0),
        ("attributes", 0),
    ):
        if settings[name] < least:
            raise ValueError(f"{name} is {settings[name]}; it must be at least {least}")
    if settings["images"] + settings["attributes"] < 1:
        raise ValueError("images and attributes are both 0: there is nothing to render")
    if settings["split"] in ("train", "twins") and settings["attributes"]:
        raise ValueError(
            f"the {settings['split']} split has no swap matrix; leave --attributes at 0, "
            "or build --split fresh"
        )
    if settings["split"] == "twins" and settings["identities"] % TWINS:
        raise ValueError(f"twins come in groups of {TWINS}; identities is {settings['identities']}")
    if settings["split"] in ("test", "fresh") and settings["identities"] < 2 * FOLDS:
        raise ValueError(f"verification pairs in {FOLDS} folds need at least {2 * FOLDS} identities")


def _prepare(out, settings, resume):
    """Make the folder, or check that what is in it belongs to this build."""
    note = out / "build.json"
    if note.exists():
        _check_same_build(out, read_numbers(note, ("identities",)), settings, resume)
        for unfinished in out.glob("**/.*.tmp"):  # left by a kill in the middle of a write
            unfinished.unlink()
    elif out.exists() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise FileExistsError(f"{out} is not empty and holds no TrueSwap build; choose another --out")
    with atomic(note) as temporary:
        temporary.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    for path, members in _files(out, settings):
        if 0 < _identities_in(path, settings) < len(members):
            _split_again(out, path)


def _check_same_build(out, found, settings, resume):
    different = [name for name in settings if name != "identities" and found.get(name) != settings[name]]
    if different:
        name = different[0]
        raise FileExistsError(
            f"{out} holds a build with {name} = {found.get(name)!r}, not {settings[name]!r}; "
            "choose another --out, or the same numbers"
        )
    if found["identities"] > settings["identities"]:
        raise FileExistsError(
            f"{out} holds a build of {found['identities']} identities, more than {settings['identities']}; "
            "choose another --out, or at least as many"
        )
    if not resume:
        raise FileExistsError(
            f"{out} holds this build already; add --resume to go on, or choose another --out"
        )
    if found["identities"] < settings["identities"]:
        (out / "pairs.parquet").unlink(missing_ok=True)  # the pairs are drawn among all identities


def _part(out, number) -> Path:
    return out / "parts" / f"{number:06d}.parquet"


def _is_whole(part, settings) -> bool:
    try:
        return _identities_in(part, settings) == 1
    except ValueError:  # cut by a full disk, for one
        return False


def _file(out, number) -> Path:
    """Where the images of identity `number` go in the end."""
    return out / f"images-{number // IDENTITIES_A_FILE:03d}.parquet"


def _files(out, settings) -> list[tuple[Path, range]]:
    """(file, its identities) of a whole build."""
    numbers = range(settings["identities"])
    firsts = numbers[::IDENTITIES_A_FILE]
    return [(_file(out, first), numbers[first : first + IDENTITIES_A_FILE]) for first in firsts]


def _identities_in(path, settings) -> int:
    if not path.exists():
        return 0
    try:
        return pq.read_metadata(path).num_rows // (settings["images"] + settings["attributes"])
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(
            f"{path} is not a readable Parquet file ({error}); delete it and go on with --resume"
        ) from None


def _split_again(out, path):
    """Give every identity of a file that shall grow its part file; `_join` replaces the file later."""
    table = _read(path)
    for number in table["identity"].unique().to_pylist():
        with atomic(_part(out, number)) as temporary:
            pq.write_table(table.filter(pc.field("identity") == number), temporary, write_page_checksum=True)


def _read(path) -> pa.Table:
    try:
        return pq.read_table(path, page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and go on with --resume") from None


def _join(out, path, settings):
    """Write one file from its parts, then remove them."""
    parts = [_part(out, number) for number in dict(_files(out, settings))[path]]
    table = pa.concat_tables(map(_read, parts)).combine_chunks()
    # Drawn anew for every image, so that a dictionary of their values would only add to them.
    anew = [
        field.name
        for field in table.schema
        if field.type == pa.float32() and field.name.startswith(("state.", "attributes."))
    ]
    repeated = [name for name in table.column_names if name not in {*anew, "image", "mask", "landmarks"}]
    with atomic(path) as temporary:
        pq.write_table(
            table, temporary, compression="zstd", compression_level=19,
            use_dictionary=repeated, use_byte_stream_split=[*anew, "landmarks.list.element"],
            write_page_checksum=True,
        )  # fmt: skip
    for part in parts:
        part.unlink()


def _write_pairs(out, settings):
    tables = [pq.read_table(path, columns=["identity", "attribute_set"]) for path, _ in _files(out, settings)]
    table = pa.concat_tables(tables)
    identities, in_matrix = table["identity"].to_numpy(), table["attribute_set"].to_numpy() != FREE
    rng = np.random.default_rng([settings["seed"], SPLITS[settings["split"]], 2])
    twins = settings["split"] == "twins"
    pairs = twin_pairs(identities) if twins else verification_pairs(identities, rng, in_matrix)
    with atomic(out / "pairs.parquet") as temporary:
        pq.write_table(pa.table(pairs), temporary, compression="zstd", write_page_checksum=True)


def _render_parts(jobs, processes) -> Iterator[int]:
    """Render identities side by side; yields the number of each when its part file is there."""
    if jobs:
        yield from (
            number for _, number in in_parallel(_render_part, jobs, processes, "spawn", itemgetter(2))
        )


def _render_part(job):
    """Render every image of one identity and write its part file; returns the identity's number."""
    settings, number, path = job
    use_one_thread()  # the processes are the parallelism, and one thread adds in one order
    rows = []
    for position, (columns, attribute_set) in enumerate(_plan(settings, number)):
        seed = (settings["seed"] * 7919 + SPLITS[settings["split"]]) * 1_000_003 + number * 4096 + position
        truth = render_with_truth(
            *world.from_columns(columns), settings["size"], settings["samples"], seed=seed % 2**32
        )
        rows.append(
            {
                "identity": number,
                "attribute_set": attribute_set,
                "image": _encode(truth.image),
                "mask": masks.pack(truth.mask),
                "landmarks": truth.landmarks.ravel().astype(np.float16),
                **columns,
            }
        )
    with atomic(path) as temporary:
        table = pa.Table.from_pylist(rows, schema=_schema(rows[0]))
        pq.write_table(table, temporary, write_page_checksum=True)
    return number


def _plan(settings, number):
    """(columns, attribute set) of every image of one identity: the matrix, then the free ones."""
    base = [settings["seed"], SPLITS[settings["split"]]]
    rng = np.random.default_rng([*base, 0, number])
    identity, matrix_state = world.sample_identity(rng), world.sample_state(rng)
    if settings["split"] == "twins":
        group, member = divmod(number, TWINS)
        identity = world.sample_twins(np.random.default_rng([*base, 3, group]), TWINS)[member]
    for column in range(settings["attributes"]):
        shared = world.sample_attributes(np.random.default_rng([*base, 1, column]))
        yield _rounded(identity, matrix_state, shared), column
    for _ in range(settings["images"]):
        yield _rounded(identity, world.sample_state(rng), world.sample_attributes(rng)), FREE


def _rounded(identity, state, attributes):
    """Columns in the table's own precision, so that rendering a row again gives the same picture."""
    columns = world.to_columns(identity, state, attributes)
    return {name: float(np.float32(v)) if isinstance(v, float) else v for name, v in columns.items()}


def _schema(row):
    kinds = {float: pa.float32(), int: pa.int32(), str: pa.string(), bytes: pa.binary()}
    fields = [(name, kinds.get(type(value), pa.list_(pa.float16(), 136))) for name, value in row.items()]
    return pa.schema(fields)


def _encode(image) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, **ENCODING)
    return buffer.getvalue()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m smoothswap_lib.render", description=build.__doc__.splitlines()[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("build", help="render a data set that datasets.TrueSwap(DIR) reads")
    command.add_argument(
        "--split",
        choices=SPLITS,
        required=True,
        help="train, test, fresh (nobody trained on it), or twins (all colors alike)",
    )
    command.add_argument("--out", required=True, help="folder to write")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--identities", type=int, default=256, help="default %(default)s; more with --resume lets it grow"
    )
    command.add_argument(
        "--images", type=int, default=24, help="free images an identity (default %(default)s)"
    )
    command.add_argument(
        "--attributes", type=int, default=0, help="columns of the swap matrix (default %(default)s)"
    )
    command.add_argument("--size", type=int, default=128, help="pixels a side (default %(default)s)")
    command.add_argument(
        "--samples", type=int, default=SAMPLES, help="light paths a pixel (default %(default)s)"
    )
    command.add_argument("--processes", type=int, help="default: one a core")
    command.add_argument("--resume", action="store_true", help="go on with a build that stopped or grows")
    options = vars(parser.parse_args(arguments))
    options.pop("command")

    def work() -> int:
        out = build(**options)
        print(f"{out}: {options['identities'] * (options['images'] + options['attributes'])} images")
        return 0

    return in_one_line(work, "the same command with --resume goes on", lost="; --resume goes on")
