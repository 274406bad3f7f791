"""Data sets against what was rendered, and their errors."""

import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothswap_lib import datasets
from smoothswap_lib.datasets import TrueSwap, to_float, to_uint8
from smoothswap_lib.files import write_checksums
from smoothswap_lib.render import render_with_truth, shoulder, srgb
from smoothswap_lib.render.backdrop import backdrop
from smoothswap_lib.render.light import white_balance


@pytest.fixture(scope="module")
def faces(tiny):
    return TrueSwap(tiny)


def rewrite(folder, tmp_path, change):
    """A copy of a built set with a changed table."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    table = change(pq.read_table(copy / "images-000.parquet"))
    pq.write_table(table, copy / "images-000.parquet")
    return copy


def note(folder, **numbers):
    """Change the numbers that a build says of itself."""
    path = folder / "build.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | numbers), encoding="utf-8")


@pytest.fixture
def in_files(tiny, tmp_path):
    """The same set in three files of 8, 8 and 4 people."""
    copy = tmp_path / "files"
    shutil.copytree(tiny, copy)
    table = pq.read_table(copy / "images-000.parquet")
    for number, first in enumerate((0, 24, 48)):
        pq.write_table(table.slice(first, 24), copy / f"images-{number:03d}.parquet")
    note(copy, identities_a_file=8)
    return copy


def test_every_byte_survives_the_way_to_float_and_back():
    values = torch.arange(256, dtype=torch.uint8)
    assert (to_uint8(to_float(values)) == values).all()
    assert to_float(values)[[0, 255]].tolist() == [-1.0, 1.0]
    assert to_float(values).dtype == torch.float32


@settings(max_examples=50, deadline=None)
@given(value=st.floats(-3, 3))
def test_any_float_becomes_the_nearest_byte(value):
    byte = to_uint8(torch.tensor(value, dtype=torch.float64)).item()
    nearest = np.argmin(np.abs(np.arange(256) / 127.5 - 1 - value))
    assert abs(byte - nearest) <= 1 and abs(byte / 127.5 - 1 - np.clip(value, -1, 1)) <= 0.5 / 127.5 + 1e-6


def test_an_item_holds_what_is_known_of_an_image(faces):
    assert len(faces) == 60 and faces.size == 16
    item = faces[-1]
    assert set(item) == {"image", "identity", "index", "attribute_set", "mask", "landmarks"}
    assert item["image"].shape == (3, 16, 16) and item["image"].dtype == torch.float32
    assert item["image"].min() >= -1 and item["image"].max() <= 1
    assert (item["index"], item["identity"], item["attribute_set"]) == (59, 19, -1)
    assert item["mask"].dtype == np.uint8 and set(np.unique(item["mask"])) <= {0, 1, 2, 3}
    with pytest.raises(IndexError):
        faces[60]
    assert faces.identities.dtype == np.int64
    assert (faces.identities == np.repeat(np.arange(20), 3)).all()
    assert (faces.image_batch([5, 2])[1] == faces[2]["image"]).all()
    assert faces.image_batch(np.array([7])).shape == (1, 3, 16, 16)


def test_masks_and_landmarks_are_those_of_the_rendering(faces):
    for index in (0, 30, 59):
        truth = render_with_truth(*faces.parameters(index), 16, 1)
        assert (faces[index]["mask"] == truth.mask).all()
        assert faces[index]["landmarks"] == pytest.approx(truth.landmarks, abs=0.01)


def test_channels_and_rows_stand_in_their_places(faces):
    """The wall behind the head is known in closed form: red first, top row first."""
    errors = []
    for index in range(len(faces)):
        empty = faces[index]["mask"] == 0
        empty &= (
            np.pad(empty, 2, constant_values=True)[:-4, 2:-2] & np.roll(empty, 2, 1) & np.roll(empty, -2, 1)
        )
        camera = faces.parameters(index)[2]
        wall = srgb(shoulder(backdrop(camera, 16) * 2**camera.exposure * white_balance(camera)))
        image = (faces[index]["image"].permute(1, 2, 0).numpy() + 1) / 2
        errors.append(np.abs(image - wall)[empty].mean())
    assert np.mean(errors) < 0.02


def test_half_the_size_is_the_mean_of_four_pixels(faces, tiny):
    half = TrueSwap(tiny, size=8)
    assert half.size == 8 and len(half) == len(faces)
    four = faces.images.view(-1, 3, 8, 2, 8, 2).transpose(3, 4).flatten(4).double()  # (N, 3, 8, 8, 4)
    assert torch.equal(half.images, (four.mean(-1) + 0.5).floor().byte())
    shown = faces.masks.view(-1, 8, 2, 8, 2).transpose(2, 3).flatten(3)  # (N, 8, 8, 4)
    assert torch.equal(half.masks, shown.mode(-1).values)  # of two that are as frequent, the lower
    item = half[30]
    assert item["image"].shape == (3, 8, 8) and item["mask"].shape == (8, 8)
    assert (item["landmarks"] == faces[30]["landmarks"] / 2).all()
    assert half.matrix().shape == (20, 2, 3, 8, 8)
    assert half.parameters(30) == faces.parameters(30)
    assert torch.equal(TrueSwap(tiny, size=16).images, faces.images)


@pytest.mark.parametrize("size", [0, 4, 7, 32])
def test_another_size_says_which_there_are(tiny, size):
    with pytest.raises(ValueError, match="holds images of 16 px; size is 16 or 8"):
        TrueSwap(tiny, size=size)


def test_the_matrix_holds_every_identity_under_every_attribute_set(faces):
    indices = faces.matrix_indices()
    assert indices.shape == (20, 2)
    assert (faces.identities[indices] == np.arange(20)[:, None]).all()
    assert (faces.attribute_sets[indices] == np.arange(2)[None]).all()
    matrix = faces.matrix()
    assert matrix.shape == (20, 2, 3, 16, 16)
    assert (matrix[7, 1] == faces[indices[7, 1]]["image"]).all()


def test_the_true_swap_is_in_the_sources_row_and_the_targets_column(faces):
    indices = faces.matrix_indices()
    source, target, truth = (faces.parameters(indices[cell]) for cell in ((3, 0), (8, 1), (3, 1)))
    assert truth == (*source[:2], target[2])


def test_the_matrix_does_not_depend_on_the_order_of_the_rows(faces, tiny, tmp_path):
    order = np.random.default_rng(0).permutation(60)
    shuffled = TrueSwap(rewrite(tiny, tmp_path, lambda table: table.take(order)))
    assert (shuffled.identities == faces.identities[order]).all()
    assert (shuffled.matrix() == faces.matrix()).all()


def test_pairs_come_with_their_folds(faces):
    first, second, same = faces.pairs()
    folds = faces.folds()
    # 4 + 9 a fold: two pictures of the matrix are no pair of one person.
    assert len(first) == len(second) == len(same) == len(folds) == 130
    assert same.dtype == bool
    assert ((faces.identities[first] == faces.identities[second]) == same).all()
    people = [set(faces.identities[np.r_[first[folds == f], second[folds == f]]]) for f in range(10)]
    assert all(len(p) == 2 for p in people) and len(set.union(*people)) == 20


def test_several_files_are_one_set(faces, in_files):
    divided = TrueSwap(in_files)
    assert (divided.identities == faces.identities).all()
    assert (divided.attribute_sets == faces.attribute_sets).all()
    assert torch.equal(divided.images, faces.images) and torch.equal(divided.masks, faces.masks)
    for index in (0, 23, 24, 59):
        assert divided.parameters(index) == faces.parameters(index)
        assert (divided.landmarks(index) == faces.landmarks(index)).all()
    assert divided.table.equals(faces.table)


def test_a_broken_row_is_named_in_its_file(in_files):
    path = in_files / "images-001.parquet"
    table = pq.read_table(path)
    for column, bad in (("image", b"cut"), ("mask", b"\0" * 63)):
        values = table[column].to_pylist()
        values[5] = bad
        table = table.set_column(table.column_names.index(column), column, pa.array(values, pa.binary()))
    pq.write_table(table, path)
    broken = TrueSwap(in_files)
    with pytest.raises(ValueError, match="images-001.parquet: cannot decode the image of row 5"):
        broken.image_batch([28, 29])
    with pytest.raises(ValueError, match="images-001.parquet: cannot decode the mask of row 5"):
        assert broken.masks is None
    assert broken.image_batch([28, 30]).shape == (2, 3, 16, 16)


def test_a_set_that_is_not_whole_says_so(in_files):
    (in_files / "images-001.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="images-001.parquet is missing: its build has not finished"):
        TrueSwap(in_files)
    note(in_files, identities=8)
    assert len(TrueSwap(in_files)) == 24
    note(in_files, identities=8 + 2, identities_a_file=10)  # as while it grows
    with pytest.raises(FileNotFoundError, match="holds 8 of 10 identities: its build has not finished"):
        TrueSwap(in_files)


def test_a_set_without_matrix_and_pairs_says_so(tiny, tmp_path):
    def only_free(table):
        return table.filter(pa.compute.less(table["attribute_set"], 0))

    folder = rewrite(tiny, tmp_path, only_free)
    (folder / "pairs.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="pairs.parquet is missing: .* go on with --resume"):
        TrueSwap(folder).pairs()
    note(folder, split="train")
    free = TrueSwap(folder)
    assert len(free) == 20
    with pytest.raises(ValueError, match="no swap matrix; only the test and fresh splits"):
        free.matrix()
    with pytest.raises(ValueError, match="no verification pairs; only the test and fresh splits"):
        free.pairs()


def test_a_wrong_path_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is neither a shipped split"):
        TrueSwap("nowhere")
    with pytest.raises(FileNotFoundError, match="holds no build.json; give the folder of a build"):
        TrueSwap(tmp_path)
    (tmp_path / "build.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="build.json"):
        TrueSwap(tmp_path)
    note(tmp_path, split="train", identities=20, identities_a_file=100)
    with pytest.raises(FileNotFoundError, match="images-000.parquet is missing.* go on with --resume"):
        TrueSwap(tmp_path)


def test_a_missing_parameter_is_named(tiny, tmp_path):
    copy = rewrite(tiny, tmp_path, lambda table: table.drop_columns(["attributes.yaw"]))
    with pytest.raises(KeyError, match=r"attributes\.yaw"):
        TrueSwap(copy).parameters(0)


def test_images_are_decoded_once_and_only_when_asked_for(tiny, monkeypatch):
    data = TrueSwap(tiny)
    seen = []
    decode = data._pixels.decode
    monkeypatch.setattr(data._pixels, "decode", lambda row: seen.append(row) or decode(row))
    first = data.image_batch([5, 2, 5])
    assert sorted(seen) == [2, 5]
    assert torch.equal(first[0], first[2]) and torch.equal(first[1], data[2]["image"])
    assert sorted(seen) == [2, 5]
    assert torch.equal(data.images[[5, 2, 5]], data.pixels([5, 2, 5]))
    assert sorted(seen) == list(range(len(data)))


def test_a_shipped_split_is_checked_against_its_hash(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("SMOOTHSWAP_DATA", str(tmp_path))
    shutil.copytree(tiny, tmp_path / "trueswap128" / "test")
    write_checksums(tmp_path)
    assert len(TrueSwap("test", size=8)) == 60
    path = tmp_path / "trueswap128" / "test" / "images-000.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    with pytest.raises(ValueError, match="images-000.parquet is damaged: SHA-256"):
        TrueSwap("test")
    path.unlink()
    with pytest.raises(FileNotFoundError, match="images-000.parquet is missing"):
        TrueSwap("test")
    note(path.parent, seed=6)
    with pytest.raises(ValueError, match="build.json is damaged"):
        TrueSwap("test")


def in_table(column, values=None, kind=None):
    """A change of a built set: other values in a column, or none of it."""

    def change(table):
        if values is None:
            return table.drop_columns([column])
        changed = pa.array(values(table[column].to_pylist()), kind)
        return table.set_column(table.column_names.index(column), column, changed)

    return lambda folder: pq.write_table(change(pq.read_table(folder / TABLE)), folder / TABLE)


def gap(values):
    return [None, *values[1:]]


TABLE, NO_VALUES = "images-000.parquet", "has gaps or values of another"
DAMAGE = {  # what is done to a built set: what is said of it
    "cut": (lambda folder: os.truncate(folder / TABLE, 5000), f"{TABLE} is not a readable Parquet file"),
    "empty": (lambda folder: os.truncate(folder / TABLE, 0), f"{TABLE} is not a readable Parquet file"),
    "no identity": (in_table("identity"), f"{TABLE} has no column 'identity'"),
    "no image": (in_table("image"), f"{TABLE} has no column 'image'"),
    "null identity": (in_table("identity", gap, pa.int32()), f"column 'identity' {NO_VALUES}"),
    "halves": (in_table("identity", lambda v: [x + 0.5 for x in v]), f"column 'identity' {NO_VALUES}"),
    "words": (in_table("attribute_set", lambda v: map(str, v)), f"column 'attribute_set' {NO_VALUES}"),
    "null image": (in_table("image", gap, pa.binary()), f"column 'image' {NO_VALUES}"),
    "null points": (in_table("landmarks", gap, pa.list_(pa.float16(), 136)), f"'landmarks' {NO_VALUES}"),
    "null": (lambda folder: (folder / "build.json").write_text("null"), "build.json is of another edition"),
    "no JSON": (lambda folder: (folder / "build.json").write_text('{"sp'), "build.json is no JSON file"),
    "a string": (lambda folder: note(folder, identities="20"), "build.json: identities is '20'"),
    "zero": (lambda folder: note(folder, identities_a_file=0), "build.json: identities_a_file is 0"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_with_its_file(tiny, tmp_path, kind):
    change, words = DAMAGE[kind]
    copy = shutil.copytree(tiny, tmp_path / "copy")
    change(copy)
    with pytest.raises(ValueError, match=words):
        TrueSwap(copy)


def test_a_flipped_bit_never_changes_what_is_read(tiny, tmp_path):
    """At 60 places over the whole file: refused, or at most a parameter has lost its name."""
    copy, whole = shutil.copytree(tiny, tmp_path / "copy"), TrueSwap(tiny)
    path, refused = copy / "images-000.parquet", 0
    content = path.read_bytes()
    for place in np.random.default_rng(0).integers(4, len(content) - 4, 60):
        path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        try:
            table = TrueSwap(copy).table
        except (ValueError, FileNotFoundError):
            refused += 1
        else:
            known = [name for name in table.column_names if name in whole.table.column_names]
            assert table.select(known).equals(whole.table.select(known))
            assert len(known) >= table.num_columns - 1 and set(known) >= set(datasets.COLUMNS)
    assert refused > 30
