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
from people import TINY

from smoothswap_lib import world
from smoothswap_lib.render import build as building
from smoothswap_lib.render.build import FREE, _plan, build, main
from smoothswap_lib.render.pairs import FOLDS, twin_pairs, verification_pairs

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"split": "train", "seed": 3, "identities": 3, "images": 2, "size": 16, "samples": 1}


def command(out, *more):
    numbers = [text for name, value in SMALL.items() for text in (f"--{name}", str(value))]
    return [sys.executable, "-m", "smoothswap_lib.render", "build", "--out", str(out), *numbers, *more]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def times(folder, pattern):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob(pattern)}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A train split of three identities with two images each, rendered by one process."""
    return build(tmp_path_factory.mktemp("built") / "small", **SMALL, processes=1)


@pytest.fixture(scope="module")
def rows(tiny):
    return pq.read_table(tiny / "images-000.parquet").to_pylist()


def test_a_build_leaves_a_table_and_its_numbers(small, tiny):
    assert sorted(contents(small)) == ["build.json", "images-000.parquet"]
    assert sorted(contents(tiny)) == ["build.json", "images-000.parquet", "pairs.parquet"]
    assert json.loads((small / "build.json").read_text(encoding="utf-8")).items() >= SMALL.items()
    table = pq.read_table(small / "images-000.parquet")
    assert table["identity"].to_pylist() == [0, 0, 1, 1, 2, 2]
    assert set(table["attribute_set"].to_pylist()) == {FREE}
    assert table.column_names[:5] == ["identity", "attribute_set", "image", "mask", "landmarks"]
    rng = np.random.default_rng(0)
    parameters = world.sample_identity(rng), world.sample_state(rng), world.sample_attributes(rng)
    assert table.column_names[5:] == list(world.to_columns(*parameters))


def test_two_processes_or_another_day_give_the_same_bytes(small, tmp_path):
    again = build(tmp_path / "again", **SMALL, processes=2)
    assert contents(again) == contents(small)


def test_another_seed_and_another_split_show_other_people(small, here, tmp_path):
    def shapes(folder):
        table = pq.read_table(folder / "images-000.parquet")
        return {
            tuple(row.values()) for row in table.select(["identity.gender", "identity.melanin"]).to_pylist()
        }

    people = shapes(small)
    assert len(people) == 3
    numbers = SMALL | {"identities": 1, "images": 1}
    assert shapes(build(tmp_path / "seed", **numbers | {"seed": 4})).isdisjoint(people)
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
    assert not (out / "images-000.parquet").exists()
    done = times(out, "parts/*.parquet")
    assert 1 <= len(done) < SMALL["identities"]
    (out / ".images-000.parquet.1.tmp").write_bytes(b"half a table")
    (out / "parts" / ".000002.parquet.1.tmp").write_bytes(b"half a part")

    refused = subprocess.run(command(out), env=environment, capture_output=True, text=True, timeout=300)
    assert refused.returncode == 2 and "--resume" in refused.stderr
    assert times(out, "parts/*.parquet") == done
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
    (copy / "parts" / "000000.parquet").write_bytes(b"joined already")
    before = times(copy, "images-*.parquet")
    build(copy, **SMALL, resume=True)
    assert contents(copy) == contents(small)
    assert times(copy, "images-*.parquet") == before


@pytest.fixture
def here(monkeypatch):
    """Rendering in this process: a new one takes two seconds to begin."""
    monkeypatch.setattr(building, "_render_parts", lambda jobs, processes: map(building._render_part, jobs))


@pytest.fixture
def two_a_file(monkeypatch):
    """Files of two identities: five people make three files."""
    monkeypatch.setattr(building, "IDENTITIES_A_FILE", 2)


def test_a_set_that_grows_is_the_set_that_was_built_at_once(two_a_file, here, tmp_path):
    numbers = SMALL | {"images": 1}
    grown = build(tmp_path / "grown", **numbers)
    assert sorted(contents(grown)) == ["build.json", "images-000.parquet", "images-001.parquet"]
    before = times(grown, "images-*.parquet")
    build(grown, **numbers | {"identities": 5}, resume=True)
    after = times(grown, "images-*.parquet")
    assert after["images-000.parquet"] == before["images-000.parquet"]  # it was full
    assert contents(grown) == contents(build(tmp_path / "whole", **numbers | {"identities": 5}))
    tables = [pq.read_table(path) for path in sorted(grown.glob("images-*.parquet"))]
    assert [table["identity"].to_pylist() for table in tables] == [[0, 1], [2, 3], [4]]


def test_a_kill_while_a_set_grows_loses_nothing(two_a_file, here, tmp_path, monkeypatch):
    """Killed after the last file was split again, and before it could be written."""
    numbers = SMALL | {"images": 1}
    out = build(tmp_path / "grown", **numbers)
    with monkeypatch.context() as patched:
        patched.setattr(building, "_render_parts", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build(out, **numbers | {"identities": 4}, resume=True)
    assert pq.read_table(out / "images-001.parquet")["identity"].to_pylist() == [2]  # still there
    with pytest.raises(FileExistsError, match="holds a build of 4 identities, more than 3"):
        build(out, **numbers, resume=True)
    build(out, **numbers | {"identities": 4}, resume=True)
    assert contents(out) == contents(build(tmp_path / "whole", **numbers | {"identities": 4}))


def interrupted(jobs, processes):
    raise KeyboardInterrupt


def test_twins_resume_and_grow_to_the_same_bytes(here, tmp_path, monkeypatch):
    numbers = SMALL | {"split": "twins", "images": 1, "identities": 8}
    whole = build(tmp_path / "whole", **numbers)
    out = tmp_path / "killed"

    def some(jobs, processes):
        yield from map(building._render_part, jobs[:3])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(building, "_render_parts", some)
        with pytest.raises(KeyboardInterrupt):
            build(out, **numbers | {"identities": 4})
    assert len(times(out, "parts/*.parquet")) == 3 and not (out / "pairs.parquet").exists()
    options = [f"--{name}={value}" for name, value in numbers.items()]
    for identities in (4, 8):
        assert main(["build", "--out", str(out), "--resume", *options, f"--identities={identities}"]) == 0
    assert contents(out) == contents(whole)
    assert len(pq.read_table(out / "pairs.parquet")) == 2 * 6


def test_twins_of_a_build_share_all_columns_but_their_shapes():
    plan = [next(_plan(SMALL | {"split": "twins", "attributes": 0}, number))[0] for number in range(8)]
    own = [{name: value for name, value in row.items() if name.startswith("identity.")} for row in plan]
    bones = ("identity.shape.", "identity.asymmetry.")
    colors = [{name: value for name, value in row.items() if not name.startswith(bones)} for row in own]
    assert colors[0] == colors[1] == colors[2] == colors[3] != colors[4] == colors[7]
    assert len({tuple(row.values()) for row in own}) == 8
    assert len({tuple(row.values()) for row in plan}) == 8


def test_a_file_that_was_lost_is_rendered_again(small, here, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(small, copy)
    (copy / "images-000.parquet").write_bytes(b"cut")
    with pytest.raises(ValueError, match="images-000.parquet is not a readable Parquet file.*delete it"):
        build(copy, **SMALL, resume=True)
    (copy / "images-000.parquet").unlink()
    build(copy, **SMALL, resume=True)
    assert contents(copy) == contents(small)


@pytest.mark.parametrize("left", [b"", b"PAR1"])
def test_a_part_that_was_cut_is_rendered_again(small, here, tmp_path, left):
    """As a full disk leaves it."""
    copy = shutil.copytree(small, tmp_path / "copy")
    (copy / "images-000.parquet").unlink()
    (copy / "parts").mkdir()
    (copy / "parts" / "000001.parquet").write_bytes(left)
    build(copy, **SMALL, resume=True)
    assert contents(copy) == contents(small)


def test_growing_draws_the_pairs_among_all(tiny, here, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    build(copy, **TINY | {"identities": 21}, resume=True)
    identities = pq.read_table(copy / "images-000.parquet")["identity"].to_numpy()
    assert (identities == np.repeat(np.arange(21), 3)).all()
    pairs = pq.read_table(copy / "pairs.parquet").to_pydict()
    assert {identities[i] for i in pairs["first"] + pairs["second"]} == set(range(21))
    old, new = (pq.read_table(folder / "images-000.parquet") for folder in (tiny, copy))
    assert new.slice(0, 60).equals(old)


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
        ({"split": "validation"}, "choose one of train, test, fresh, twins"),
        ({"split": "twins", "identities": 6}, "twins come in groups of 4; identities is 6"),
        ({"split": "twins", "identities": 4, "attributes": 1}, "the twins split has no swap matrix"),
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


def test_two_pictures_of_the_matrix_are_no_pair_of_one_person():
    """There a person has one state, so what drifts elsewhere would tell."""
    identities, in_matrix = np.repeat(np.arange(20), 5), np.tile([True] * 3 + [False] * 2, 20)
    pairs = verification_pairs(identities, np.random.default_rng(0), in_matrix)
    both = in_matrix[pairs["first"]] & in_matrix[pairs["second"]]
    assert not (both & pairs["same"]).any() and (both & ~pairs["same"]).any()
    assert pairs["same"].sum() == 20 * (10 - 3)


def test_twins_are_paired_within_their_groups_only():
    """Three groups of four with two images each: 28 pairs a group, 4 of them of one person."""
    identities = np.repeat(np.arange(12), 2)
    pairs = twin_pairs(identities)
    first, second = people_of(identities, pairs)
    assert (first // 4 == second // 4).all() and (pairs["fold"] == first // 4).all()
    assert (pairs["same"] == (first == second)).all()
    assert np.bincount(pairs["fold"]).tolist() == [28, 28, 28]
    assert np.bincount(pairs["fold"][pairs["same"]]).tolist() == [4, 4, 4]
    assert (pairs["first"] < pairs["second"]).all()
    assert len(set(zip(pairs["first"].tolist(), pairs["second"].tolist()))) == 84
