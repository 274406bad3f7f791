"""Rendering a whole TrueSwap data set: `python -m smoothswap_lib.render build --split train|test|fresh ...`.

One part file an identity, so that a killed build goes on where it stopped; the parts become one Parquet table
at the end. The same arguments give the same bytes, however many processes render. Depends on files, world,
render.
"""

import argparse
import io
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tqdm import tqdm

from smoothswap_lib import world
from smoothswap_lib.files import atomic
from smoothswap_lib.render import render_with_truth, use_one_thread

SPLITS = {"train": 0, "test": 1, "fresh": 2}  # part of every seed, so that no split shares an identity
ENCODING = {"format": "AVIF", "quality": 90, "subsampling": "4:4:4", "speed": 8, "max_threads": 1}
FOLDS, PAIRS_A_FOLD = 10, 600  # LFW's form: half of a fold's pairs show the same person
FREE = -1  # the attribute set of an image that is not part of the matrix


def build(
    out: str | Path,
    split: str,
    seed: int = 0,
    identities: int = 256,
    images: int = 24,
    attributes: int = 0,
    size: int = 64,
    samples: int = 32,
    resume: bool = False,
    processes: int | None = None,
) -> Path:
    """Render a data set into the folder `out`; returns it.

    Parameters
    ----------
    split : "train" (free images only), "test" or "fresh" (a swap matrix, free images, verification pairs).
    seed : of every parameter and of the light paths; the three splits differ under one seed.
    identities : how many.
    images : free images an identity, each with its own state and attributes.
    attributes : columns of the swap matrix; every identity is rendered under each of them in one state.
    size : pixels a side.
    samples : light paths a pixel.
    resume : go on with a build that stopped.
    processes : that render side by side, one a core where not given; they do not change the result.

    Raises
    ------
    FileExistsError, ValueError
        `out` holds another build, or a number is impossible.
    """
    settings = {
        "split": split, "seed": seed, "identities": identities, "images": images, "attributes": attributes,
        "size": size, "samples": samples, "encoding": ENCODING,
    }  # fmt: skip
    _check(settings)
    out = Path(out)
    parts = out / "parts"
    _prepare(out, settings, resume)
    if (out / "images.parquet").exists():
        shutil.rmtree(parts, ignore_errors=True)  # left by a kill just before the end
        return out
    missing = [i for i in range(identities) if not (parts / f"{i:06d}.parquet").exists()]
    each = images + attributes
    with tqdm(total=identities * each, initial=(identities - len(missing)) * each, unit="image") as bar:
        jobs = [(settings, i, parts / f"{i:06d}.parquet") for i in missing]
        with multiprocessing.get_context("spawn").Pool(processes or os.cpu_count()) as pool:
            for _ in pool.imap_unordered(_render_part, jobs):
                bar.update(each)
    table = pa.concat_tables(pq.read_table(parts / f"{i:06d}.parquet") for i in range(identities))
    if split != "train":
        pairs = verification_pairs(
            table["identity"].to_numpy(), np.random.default_rng([seed, SPLITS[split], 2])
        )
        with atomic(out / "pairs.parquet") as temporary:
            pq.write_table(pa.table(pairs), temporary, compression="zstd")
    with atomic(out / "images.parquet") as temporary:
        pq.write_table(table, temporary, compression="zstd", compression_level=19, row_group_size=2048)
    shutil.rmtree(parts)
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
    if settings["split"] == "train" and settings["attributes"]:
        raise ValueError(
            "the train split has no swap matrix; leave --attributes at 0, or build --split fresh"
        )
    if settings["split"] != "train" and settings["identities"] < 2 * FOLDS:
        raise ValueError(f"verification pairs in {FOLDS} folds need at least {2 * FOLDS} identities")


def _prepare(out, settings, resume):
    """Make the folder, or check that what is in it belongs to this build."""
    note = out / "build.json"
    if note.exists():
        found = json.loads(note.read_text(encoding="utf-8"))
        different = [name for name in settings if found.get(name) != settings[name]]
        if different:
            name = different[0]
            raise FileExistsError(
                f"{out} holds a build with {name} = {found.get(name)!r}, not {settings[name]!r}; "
                "choose another --out, or the same numbers"
            )
        if not resume:
            raise FileExistsError(
                f"{out} holds this build already; add --resume to go on, or choose another --out"
            )
        for unfinished in out.glob(".*.tmp"):  # left by a kill in the middle of a write
            unfinished.unlink()
    elif out.exists() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise FileExistsError(f"{out} is not empty and holds no TrueSwap build; choose another --out")
    if not (out / "images.parquet").exists():
        (out / "parts").mkdir(parents=True, exist_ok=True)
    with atomic(note) as temporary:
        temporary.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _render_part(job):
    """Render every image of one identity and write its part file."""
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
                "image": _encode(truth.image, **ENCODING),
                "mask": _encode(truth.mask, format="PNG", optimize=True, bits=2),
                "landmarks": truth.landmarks.ravel().astype(np.float16),
                **columns,
            }
        )
    with atomic(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=_schema(rows[0])), temporary)


def _plan(settings, number):
    """(columns, attribute set) of every image of one identity: the matrix, then the free ones."""
    base = [settings["seed"], SPLITS[settings["split"]]]
    rng = np.random.default_rng([*base, 0, number])
    identity, matrix_state = world.sample_identity(rng), world.sample_state(rng)
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
    kinds = {float: pa.float32(), bool: pa.bool_(), int: pa.int32(), bytes: pa.binary()}
    fields = [(name, kinds.get(type(value), pa.list_(pa.float16(), 136))) for name, value in row.items()]
    return pa.schema(fields)


def _encode(array, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, **options)
    return buffer.getvalue()


def verification_pairs(identities: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Pairs in LFW's form: 10 folds that share no identity, 300 same and 300 different pairs in each.

    Parameters
    ----------
    identities : (N,) the identity of every image.

    Returns
    -------
    {"fold", "first", "second" (indices of images), "same"} of 6,000 rows, fewer where a fold has not as many;
    no pair comes twice.
    """
    people = rng.permutation(np.unique(identities))
    columns = {"fold": [], "first": [], "second": [], "same": []}
    for fold, members in enumerate(np.array_split(people, FOLDS)):
        indices = np.flatnonzero(np.isin(identities, members))
        first, second = (indices[part] for part in np.triu_indices(len(indices), 1))
        same = identities[first] == identities[second]
        for wanted in (True, False):
            candidates = np.flatnonzero(same == wanted)
            count = min(PAIRS_A_FOLD // 2, len(candidates))
            chosen = rng.choice(candidates, count, replace=False)
            columns["first"] += first[chosen].tolist()
            columns["second"] += second[chosen].tolist()
            columns["fold"] += [fold] * count
            columns["same"] += [wanted] * count
    return {
        "fold": np.array(columns["fold"], np.int8),
        "first": np.array(columns["first"], np.int32),
        "second": np.array(columns["second"], np.int32),
        "same": np.array(columns["same"], bool),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m smoothswap_lib.render", description=build.__doc__.splitlines()[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("build", help="render a data set that datasets.TrueSwap(DIR) reads")
    command.add_argument(
        "--split", choices=SPLITS, required=True, help="train, test, or fresh (nobody trained on it)"
    )
    command.add_argument("--out", required=True, help="folder to write")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--identities", type=int, default=256)
    command.add_argument(
        "--images", type=int, default=24, help="free images an identity (default %(default)s)"
    )
    command.add_argument(
        "--attributes", type=int, default=0, help="columns of the swap matrix (default %(default)s)"
    )
    command.add_argument("--size", type=int, default=64, help="pixels a side (default %(default)s)")
    command.add_argument("--samples", type=int, default=32, help="light paths a pixel (default %(default)s)")
    command.add_argument("--processes", type=int, help="default: one a core")
    command.add_argument("--resume", action="store_true", help="go on with a build that stopped")
    options = vars(parser.parse_args(arguments))
    options.pop("command")
    try:
        out = build(**options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{out}: {pq.read_metadata(out / 'images.parquet').num_rows} images")
    return 0
