"""Building data sets: the same bytes for one seed, resuming, errors, verification pairs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from smoothswap_lib import world
from smoothswap_lib.build import FOLDS, FREE, _plan, build, main, verification_pairs
from smoothswap_lib.render import render_with_truth

ROOT = Path(__file__).resolve().parents[1]
SMALL = {"split": "train", "seed": 3, "identities": 3, "images": 2, "size": 16, "samples": 1}


def command(out, *more):
    numbers = [text for name, value in SMALL.items() for text in (f"--{name}", str(value))]
    return [sys.executable, "-m", "smoothswap_lib.render", "build", "--out", str(out), *numbers, *more]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A train split of three identities with two images each, rendered by one process."""
    return build(tmp_path_factory.mktemp("built") / "small", **SMALL, processes=1)


@pytest.fixture(scope="module")
def rows(tiny):
    return pq.read_table(tiny / "images.parquet").to_pylist()


def test_a_build_leaves_a_table_and_its_numbers(small, tiny):
    assert sorted(contents(small)) == ["build.json", "images.parquet"]
    assert sorted(contents(tiny)) == ["build.json", "images.parquet", "pairs.parquet"]
    assert json.loads((small / "build.json").read_text(encoding="utf-8")).items() >= SMALL.items()
    table = pq.read_table(small / "images.parquet")
    assert table["identity"].to_pylist() == [0, 0, 1, 1, 2, 2]
    assert set(table["attribute_set"].to_pylist()) == {FREE}
    assert table.column_names[:5] == ["identity", "attribute_set", "image", "mask", "landmarks"]
    rng = np.random.default_rng(0)
    parameters = world.sample_identity(rng), world.sample_state(rng), world.sample_attributes(rng)
    assert table.column_names[5:] == list(world.to_columns(*parameters))


def test_two_processes_or_another_day_give_the_same_bytes(small, tmp_path):
    again = build(tmp_path / "again", **SMALL, processes=2)
    assert contents(again) == contents(small)


def test_another_seed_and_another_split_show_other_people(small, tmp_path):
    def shapes(folder):
        table = pq.read_table(folder / "images.parquet")
        return {
            tuple(row.values()) for row in table.select(["identity.gender", "identity.melanin"]).to_pylist()
        }

    people = shapes(small)
    assert len(people) == 3
    numbers = SMALL | {"identities": 1, "images": 1}
    assert shapes(build(tmp_path / "seed", **numbers | {"seed": 4}, processes=1)).isdisjoint(people)
    # The plan of the fresh split without its pictures: it needs 20 identities.
    columns, _ = next(_plan(SMALL | {"split": "fresh", "attributes": 0}, 0))
    assert (columns["identity.gender"], columns["identity.melanin"]) not in people


def test_a_killed_build_resumes_to_the_same_bytes(small, tmp_path):
    out = tmp_path / "killed"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command(out, "--processes", "1"),
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not list(out.glob("parts/*.parquet")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)  # the build and its workers
    process.wait()
    assert not (out / "images.parquet").exists()
    done = {path.name: path.stat().st_mtime_ns for path in out.glob("parts/*.parquet")}
    assert 1 <= len(done) < SMALL["identities"]
    (out / ".images.parquet.1.tmp").write_bytes(b"half a table")

    refused = subprocess.run(command(out), env=environment, capture_output=True, text=True, timeout=300)
    assert refused.returncode == 2 and "--resume" in refused.stderr
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("parts/*.parquet")} == done
    resumed = subprocess.run(
        command(out, "--resume"), env=environment, capture_output=True, text=True, timeout=600
    )
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == f"{out}: 6 images\n"
    assert contents(out) == contents(small)


def test_resuming_a_finished_build_changes_nothing(small, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(small, copy)
    (copy / "parts").mkdir()  # as after a kill between the table and the end
    before = (copy / "images.parquet").stat().st_mtime_ns
    build(copy, **SMALL, resume=True)
    assert contents(copy) == contents(small)
    assert (copy / "images.parquet").stat().st_mtime_ns == before


@pytest.mark.parametrize("resume", [False, True])
def test_other_numbers_are_refused(small, resume):
    with pytest.raises(FileExistsError, match="holds a build with seed = 3, not 4"):
        build(small, **SMALL | {"seed": 4}, resume=resume)


def test_the_same_numbers_need_resume(small):
    with pytest.raises(FileExistsError, match="holds this build already; add --resume"):
        build(small, **SMALL)


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(FileExistsError, match="not empty and holds no TrueSwap build"):
        build(tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "numbers, words",
    [
        ({"split": "validation"}, "choose one of train, test, fresh"),
        ({"identities": 0}, "identities is 0; it must be at least 1"),
        ({"size": 8}, "size is 8; it must be at least 16"),
        ({"samples": 0}, "samples is 0; it must be at least 1"),
        ({"images": -1}, "images is -1"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"images": 0}, "nothing to render"),
        ({"attributes": 2}, "the train split has no swap matrix"),
        ({"split": "test", "identities": 19}, "need at least 20 identities"),
    ],
)
def test_impossible_numbers_are_refused_before_anything_is_written(tmp_path, numbers, words):
    with pytest.raises(ValueError, match=words):
        build(tmp_path / "out", **SMALL | numbers)
    assert not (tmp_path / "out").exists()


def test_the_command_reports_errors_without_a_traceback(small, capsys):
    arguments = ["build", "--split", "train", "--seed", "4", "--out", str(small)]
    assert main(arguments) == 2
    assert "error:" in (said := capsys.readouterr()).err and "Traceback" not in said.err and not said.out
    with pytest.raises(SystemExit):
        main(["build", "--split", "validation", "--out", "x"])


def test_the_matrix_shares_attributes_in_columns_and_identities_in_rows(rows):
    def part(row, *prefixes):
        return tuple(value for name, value in row.items() if name.startswith(prefixes))

    matrix = {(row["identity"], row["attribute_set"]): row for row in rows if row["attribute_set"] != FREE}
    assert set(matrix) == {(identity, column) for identity in range(20) for column in range(2)}
    for column in range(2):
        assert len({part(matrix[i, column], "attributes.") for i in range(20)}) == 1
    assert part(matrix[0, 0], "attributes.") != part(matrix[0, 1], "attributes.")
    people = [part(matrix[i, 0], "identity.", "state.") for i in range(20)]
    assert people == [part(matrix[i, 1], "identity.", "state.") for i in range(20)]
    assert len(set(people)) == 20
    free = [row for row in rows if row["attribute_set"] == FREE]
    assert [row["identity"] for row in free] == list(range(20))
    for row in free:
        same = matrix[row["identity"], 0]
        assert part(row, "identity.") == part(same, "identity.")
        assert part(row, "state.") != part(same, "state.")
    assert len({part(row, "attributes.") for row in free}) == 20


def test_rows_render_to_their_own_truth(rows):
    """Mask and landmarks do not depend on the seed of the light paths."""
    for row in rows[:3]:
        truth = render_with_truth(*world.from_columns(row), 16, 1)
        assert np.abs(np.array(row["landmarks"], np.float32) - truth.landmarks.ravel()).max() < 0.01


def people_of(identities, pairs):
    return identities[pairs["first"]], identities[pairs["second"]]


def test_verification_pairs_have_lfws_form():
    """48 people x 24 images, as shipped."""
    identities = np.repeat(np.arange(48), 24)
    pairs = verification_pairs(identities, np.random.default_rng(0))
    first, second = people_of(identities, pairs)
    assert len(pairs["same"]) == 6000
    assert ((first == second) == pairs["same"]).all()
    assert (pairs["first"] != pairs["second"]).all()
    unordered = {frozenset(pair) for pair in zip(pairs["first"].tolist(), pairs["second"].tolist())}
    assert len(unordered) == 6000
    folds = [set(first[pairs["fold"] == f]) | set(second[pairs["fold"] == f]) for f in range(FOLDS)]
    assert sum(map(len, folds)) == len(set.union(*folds)) == 48
    for fold in range(FOLDS):
        same = pairs["same"][pairs["fold"] == fold]
        assert same.sum() == (~same).sum() == 300
    again = verification_pairs(identities, np.random.default_rng(0))
    other = verification_pairs(identities, np.random.default_rng(1))
    assert all((again[name] == pairs[name]).all() for name in pairs)
    assert (other["first"] != pairs["first"]).any()


def test_small_sets_give_the_pairs_they_have(tiny):
    same = pq.read_table(tiny / "pairs.parquet")["same"].to_numpy()
    # Two people with three images each in a fold: 2 x 3 same pairs and 3 x 3 different ones.
    assert same.sum() == 10 * 6 and (~same).sum() == 10 * 9
