"""Data sets against what was rendered, miniature layouts of others, and their errors."""

import io
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from smoothswap_lib import datasets, world
from smoothswap_lib.datasets import (
    FaceFolder,
    IdentityBatchSampler,
    IdentityFolder,
    TrueSwap,
    to_float,
    to_uint8,
)
from smoothswap_lib.files import write_checksums
from smoothswap_lib.render import background, render_with_truth, srgb


@pytest.fixture(scope="module")
def faces(tiny):
    return TrueSwap(tiny)


def rewrite(folder, tmp_path, change):
    """A copy of a built set with a changed table."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    table = change(pq.read_table(copy / "images.parquet"))
    pq.write_table(table, copy / "images.parquet")
    return copy


def put(path, color, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


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
        wall = srgb(background(faces.parameters(index)[2], 16))
        image = (faces[index]["image"].permute(1, 2, 0).numpy() + 1) / 2
        errors.append(np.abs(image - wall)[empty].mean())
    assert np.mean(errors) < 0.02


def test_parameters_come_back_as_records(faces):
    identity, state, attributes = faces.parameters(4)
    assert isinstance(identity, world.Identity) and isinstance(state, world.State)
    assert isinstance(attributes, world.Attributes)
    assert identity == faces.parameters(3)[0] != faces.parameters(0)[0]
    assert faces.parameters(-1) == faces.parameters(59)


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
    assert len(first) == len(second) == len(same) == len(folds) == 150
    assert same.dtype == bool
    assert ((faces.identities[first] == faces.identities[second]) == same).all()
    people = [set(faces.identities[np.r_[first[folds == f], second[folds == f]]]) for f in range(10)]
    assert all(len(p) == 2 for p in people) and len(set.union(*people)) == 20


def test_a_set_without_matrix_and_pairs_says_so(tiny, tmp_path):
    def only_free(table):
        return table.filter(pa.compute.less(table["attribute_set"], 0))

    folder = rewrite(tiny, tmp_path, only_free)
    (folder / "pairs.parquet").unlink()
    free = TrueSwap(folder)
    assert len(free) == 20
    with pytest.raises(ValueError, match="no swap matrix; only the test and fresh splits"):
        free.matrix()
    with pytest.raises(ValueError, match="no verification pairs; only the test and fresh splits"):
        free.pairs()


def test_a_wrong_path_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"nowhere is neither a shipped split \(train, test\) nor a folder"
    ):
        TrueSwap("nowhere")
    with pytest.raises(FileNotFoundError, match="holds no images.parquet; give the folder of a build"):
        TrueSwap(tmp_path)
    (tmp_path / "build.json").write_text("{}", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="has not finished: go on with --resume"):
        TrueSwap(tmp_path)


def test_a_table_that_is_cut_or_no_table_is_named(tiny, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    whole = (copy / "images.parquet").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"hello", b""):
        (copy / "images.parquet").write_bytes(damaged)
        with pytest.raises(ValueError, match="images.parquet is not a readable Parquet file"):
            TrueSwap(copy)


@pytest.mark.parametrize("column", ["identity", "image", "landmarks"])
def test_a_missing_column_is_named(tiny, tmp_path, column):
    copy = rewrite(tiny, tmp_path, lambda table: table.drop_columns([column]))
    with pytest.raises(ValueError, match=f"images.parquet has no column '{column}'"):
        TrueSwap(copy)


def test_a_missing_parameter_is_named(tiny, tmp_path):
    copy = rewrite(tiny, tmp_path, lambda table: table.drop_columns(["attributes.yaw"]))
    with pytest.raises(KeyError, match=r"attributes\.yaw"):
        TrueSwap(copy).parameters(0)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_broken_image_is_named_with_its_row(tiny, tmp_path, damage):
    def change(table):
        images = table["image"].to_pylist()
        middle = len(images[7]) - 40
        images[7] = {
            "cut": images[7][:middle],
            "flipped": images[7][:60] + bytes(b ^ 255 for b in images[7][60:100]) + images[7][100:],
            "empty": b"",
        }[damage]
        position = table.column_names.index("image")
        return table.set_column(position, "image", pa.array(images, pa.binary()))

    broken = TrueSwap(rewrite(tiny, tmp_path, change))
    with pytest.raises(ValueError, match="images.parquet: cannot decode the image of row 7"):
        broken.image_batch([3, 7])
    assert torch.equal(broken.image_batch([3]), TrueSwap(tiny).image_batch([3]))  # its neighbors are whole


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
    shutil.copytree(tiny, tmp_path / "trueswap64" / "test")
    write_checksums(tmp_path)
    assert len(TrueSwap("test")) == 60
    path = tmp_path / "trueswap64" / "test" / "images.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    with pytest.raises(
        ValueError, match=r"images.parquet is damaged: SHA-256 is [0-9a-f]{64}, expected [0-9a-f]{64}"
    ):
        TrueSwap("test")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"images.parquet is missing \(expected SHA-256 [0-9a-f]{64}"):
        TrueSwap("test")


LAYOUTS = {
    "VGGFace2": ("train/n000002/0001_01.png", "train/n000002/0002_01.png", "train/n000009/0001_01.png"),
    "CASIA-WebFace": ("0000045/001.png", "0000045/002.png", "0000099/001.png"),
    "DigiFace-1M": ("0/0.png", "0/1.png", "1/0.png"),
    "LFW": (
        "lfw-deepfunneled/Ann_A/Ann_A_0001.jpg",
        "lfw-deepfunneled/Ann_A/Ann_A_0002.jpg",
        "lfw-deepfunneled/B/B_0001.jpg",
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_a_person_becomes_an_identity_a_person(tmp_path, layout):
    for file, color in zip(LAYOUTS[layout], ("red", "lime", "blue")):
        put(tmp_path / file, color)
    people = IdentityFolder(tmp_path, size=4)
    assert people.identities.tolist() == [0, 0, 1]
    assert list(people.names) == [file.split("/")[-2] for file in LAYOUTS[layout][1:]]
    item = people[2]
    assert set(item) == {"image", "identity", "index"} and (item["identity"], item["index"]) == (1, 2)
    assert item["image"].shape == (3, 4, 4) and item["image"].dtype == torch.float32
    assert people.image_batch([2])[0].mean((1, 2)).numpy() == pytest.approx([-1, -1, 1], abs=0.02)


def test_celeba_is_read_by_its_list(tmp_path):
    for number, color in ((1, "red"), (2, "lime"), (3, "blue")):
        put(tmp_path / "img_align_celeba" / f"{number:06d}.jpg", color, size=(178, 218))
    listing = tmp_path / "identity_CelebA.txt"
    listing.write_text("000001.jpg 2880\n000002.jpg 99\n000003.jpg 2880\n", encoding="utf-8")
    people = IdentityFolder(tmp_path, size=8)
    assert people.identities[0] == people.identities[2] != people.identities[1]
    assert people.names[people.identities[0]] == "2880"
    listing.write_text("000001.jpg 2880\n", encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"identity_CelebA.txt has no line for 000002.jpg \(nor for 1 others\)"
    ):
        IdentityFolder(tmp_path, size=8)


def test_ffhqs_folders_are_faces_without_identities(tmp_path):
    for number in (0, 999, 1000):
        put(tmp_path / f"{number - number % 1000:05d}" / f"{number:05d}.png", (number % 256, 0, 0))
    put(tmp_path / "00000" / "._00000.png", "white")  # macOS' twin of an unpacked file
    (tmp_path / "readme.txt").write_text("no image", encoding="utf-8")
    faces = FaceFolder(tmp_path, size=8)
    assert [f.name for f in faces.files] == ["00000.png", "00999.png", "01000.png"]
    assert faces.identities.tolist() == [0, 1, 2]
    assert faces[1]["image"][0].mean() == pytest.approx((999 % 256) / 127.5 - 1, abs=1e-6)
    with pytest.raises(IndexError):
        faces[3]


def test_gray_and_transparent_images_become_three_channels(tmp_path):
    Image.new("L", (9, 9), 200).save(tmp_path / "a.pgm")
    Image.new("RGBA", (9, 9), (10, 20, 30, 128)).save(tmp_path / "b.png")
    assert datasets.read_image(tmp_path / "a.pgm").shape == (9, 9, 3)
    assert datasets.read_image(tmp_path / "b.png", 4)[0, 0].tolist() == [10, 20, 30]


def test_folders_that_cannot_be_data_say_why(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        FaceFolder(tmp_path / "nowhere", 8)
    with pytest.raises(FileNotFoundError, match="holds no image"):
        FaceFolder(tmp_path, 8)
    put(tmp_path / "ann" / "1.png", "red")
    with pytest.raises(ValueError, match="images of one person only"):
        IdentityFolder(tmp_path, 8)


@pytest.mark.parametrize("content", [b"", b"hello", "cut"])
@pytest.mark.parametrize("suffix", ["png", "jpg", "avif"])
def test_a_broken_file_is_named(tmp_path, suffix, content):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, {"jpg": "jpeg"}.get(suffix, suffix))
    whole = buffer.getvalue()
    (tmp_path / f"broken.{suffix}").write_bytes(whole[: len(whole) // 2] if content == "cut" else content)
    with pytest.raises(ValueError, match=f"broken.{suffix} cannot be read as an image"):
        FaceFolder(tmp_path, 8)[0]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    number=st.integers(0, 10**6),
    people=st.integers(1, 6),
    images=st.integers(1, 5),
)
def test_a_batch_has_some_images_of_each_of_some_people(seed, number, people, images):
    identities = np.random.default_rng(0).permutation(np.repeat([3, 5, 8, 11, 20, 21], [5, 9, 6, 7, 5, 8]))
    sampler = IdentityBatchSampler(identities, people, images, num_batches=1, seed=seed)
    batch = sampler.batch(number)
    assert batch.shape == (people * images,) and len(set(batch.tolist())) == len(batch)
    drawn = identities[batch].reshape(people, images)
    assert (drawn == drawn[:, :1]).all() and len(set(drawn[:, 0])) == people


def test_a_batch_depends_on_seed_and_number_only():
    identities = np.repeat(np.arange(10), 4)
    sampler = IdentityBatchSampler(identities, 4, 2, num_batches=6, seed=1)
    batches = list(sampler)
    assert len(sampler) == len(batches) == 6
    assert (sampler.batch(4) == batches[4]).all()  # drawn out of order, as after a resume
    longer = IdentityBatchSampler(identities, 4, 2, num_batches=50, seed=1)
    assert all((a == b).all() for a, b in zip(batches, longer))
    assert any((a != b).any() for a, b in zip(batches, IdentityBatchSampler(identities, 4, 2, 6, seed=2)))
    assert len({tuple(batch) for batch in batches}) == 6


def test_every_image_is_drawn_equally_often():
    identities = np.repeat(np.arange(8), 6)
    sampler = IdentityBatchSampler(identities, 4, 3, num_batches=2000, seed=0)
    counts = np.bincount(np.concatenate(list(sampler)), minlength=48)
    # Each of 2,000 batches holds an image with probability 1/4: 500 +- 19.
    assert np.abs(counts - 500).max() < 5 * 19.4


def test_few_images_are_drawn_with_replacement_and_single_ones_not_at_all():
    identities = np.array([0, 0, 1, 1, 1, 1, 2, 7])
    sampler = IdentityBatchSampler(identities, 2, 4, num_batches=40, seed=0)
    for batch in sampler:
        assert set(identities[batch]) == {0, 1}
        assert sorted(batch[identities[batch] == 1]) == [2, 3, 4, 5]
    assert len({tuple(batch[identities[batch] == 0]) for batch in sampler}) > 4
    assert {int(i) for b in IdentityBatchSampler(identities, 4, 1, 40) for i in identities[b]} == {0, 1, 2, 7}


def test_too_few_people_are_counted():
    with pytest.raises(ValueError, match="needs 3 identities, the data has 3, of which 2 have enough images"):
        IdentityBatchSampler([0, 0, 1, 1, 2], 3, 2)
