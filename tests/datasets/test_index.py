"""The index of a folder of photographs: the same images as without, and a memory that hardly grows."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from tiny_runs import ROOT

from smoothswap_lib import datasets
from smoothswap_lib.datasets import __main__ as datasets_cli
from smoothswap_lib.datasets import folders


def write_images(folder, names):
    draw = np.random.default_rng(0)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / name)
    return folder


@pytest.fixture
def people(tmp_path):
    """VGGFace2's layout, with names whose order is not that of their strings, and what is no image."""
    names = [f"train/n00000{p}/{i:04d}_01.png" for p in (3, 2) for i in range(3)]
    folder = write_images(tmp_path / "VGG", [*names, "train/n000002.png", "train/n000002-b/x.png"])
    (folder / "train" / "n000003" / "._0001_01.png").write_bytes(b"macOS")
    (folder / "list.txt").write_text("no image")
    return folder


def test_an_index_gives_the_same_images_in_the_same_order(people):
    plain = datasets.IdentityFolder(people, 8)
    assert [path.relative_to(people) for path in plain.files] == sorted(
        path.relative_to(people) for path in people.rglob("*.png") if not path.name.startswith(".")
    )
    assert datasets_cli.main(["index", str(people)]) == 0
    indexed = datasets.IdentityFolder(people, 8)
    assert isinstance(indexed.files, folders.IndexedFiles)
    assert list(indexed.files) == plain.files
    assert indexed.files[-1] == plain.files[-1]
    assert np.array_equal(indexed.identities, plain.identities)
    assert np.array_equal(indexed.names, plain.names)
    assert torch.equal(indexed.image_batch([7, 0, 3]), plain.image_batch([7, 0, 3]))
    faces = datasets.FaceFolder(people, 8)
    assert len(faces) == 8 and torch.equal(faces[5]["image"], plain[5]["image"])
    with pytest.raises(IndexError):
        indexed.files[8]


def test_an_indexs_files_are_read_one_by_one_in_pieces_and_in_copies(people):
    folders.write_index(people)
    data = datasets.FaceFolder(people, 8)
    assert list(data.files) == [data.files[i] for i in range(len(data))]
    # a data set is sent to other processes as it is copied
    assert list(copy.deepcopy(data).files) == list(data.files)


def add(people):
    write_images(people, ["train/n000009/0001_01.png"])


def remove(people):
    (people / "train" / "n000002.png").unlink()


def damage(people):
    (people / folders.INDEX).write_bytes(b"no table")


@pytest.mark.parametrize("change, count", [(add, 9), (remove, 7), (damage, 8)])
def test_an_index_of_another_state_is_written_again(people, change, count):
    folders.write_index(people)
    change(people)
    data = datasets.FaceFolder(people, 8)
    assert isinstance(data.files, folders.IndexedFiles) and len(data) == count
    assert list(data.files) == datasets.FaceFolder(people, 8, use_index=False).files


def test_an_index_does_not_leave_its_folder(people):
    folders.write_index(people, ["train/n000002.png", "../secret.png", "/etc/secret.png"])
    data = datasets.FaceFolder(people, 8)
    assert data.image_batch([0]).shape == (1, 3, 8, 8)
    for row in (1, 2):
        with pytest.raises(ValueError, match="smoothswap-index.parquet leaves its folder"):
            data.image_batch([row])


def test_nothing_to_index_is_said(tmp_path, capsys):
    assert datasets_cli.main(["index", str(tmp_path)]) == 2
    assert "holds no image" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert datasets_cli.main(["index", str(tmp_path / "nowhere")]) == 2


GROWTH = """
import json, sys
from pathlib import Path
from smoothswap_lib import datasets
from smoothswap_lib.datasets import folders
folder, rows = Path(sys.argv[1]), int(sys.argv[2])
def resident(name):
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) / 1024
def growth(action):
    Path("/proc/self/clear_refs").write_text("5")  # forget the largest resident set until now
    before = resident("VmRSS")
    result = action()
    return resident("VmHWM") - before, result
def draw():
    data = datasets.IdentityFolder(folder, 256)
    batches = datasets.IdentityBatchSampler(data.identities, 3, 4, num_batches=30)
    return data, [str(data.files[i].relative_to(folder)) for batch in batches for i in batch]
names = (f"train/n{i // 300:06d}/{i % 300:04d}_01.jpg" for i in range(rows))
written, _ = growth(lambda: folders.write_index(folder, names))
read, (data, drawn) = growth(draw)
paths, _ = growth(lambda: [Path(f"{folder}/{i}.jpg") for i in range(rows)])
megabytes = {"written": written, "read": read, "paths": paths}
print(json.dumps({**megabytes, "count": len(data.files), "drawn": drawn[-4:]}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux's account of its memory")
def test_memory_hardly_grows_from_a_thousand_to_a_million_images(tmp_path):
    """Writing: in pieces. Reading and sampling: some whole numbers an image, not its path."""
    found = {}
    for rows in (1000, 1_000_000):
        folder = tmp_path / str(rows)
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", GROWTH, str(folder), str(rows)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found[rows] = json.loads(done.stdout)
        assert found[rows]["count"] == rows
        assert len({name.split("/")[1] for name in found[rows]["drawn"]}) == 1  # four of one person
    grown = {name: found[1_000_000][name] - found[1000][name] for name in ("written", "read", "paths")}
    print(f"MB more for a million: {grown}")
    assert grown["written"] < 30
    assert grown["read"] < 80  # 8 million-fold whole numbers while they are sorted
    assert grown["paths"] > 3 * grown["read"]  # what a list of paths would take
    groups = pyarrow.parquet.ParquetFile(tmp_path / "1000000" / folders.INDEX).metadata.num_row_groups
    assert groups == 245  # of 4,096: a file name is found without reading the others
