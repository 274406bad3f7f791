"""Folders of photographs as data sets, in miniature layouts of known ones, and batches of people."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from smoothswap_lib import datasets
from smoothswap_lib.datasets import FaceFolder, IdentityBatchSampler, IdentityFolder


def put(path, color, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


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
    with pytest.raises(ValueError, match=r"identity_CelebA.txt has no line for 000002.jpg; .* check"):
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
