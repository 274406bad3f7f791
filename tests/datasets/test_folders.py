"""Folders of photographs as data sets, in miniature layouts of known ones, and batches of people."""

import contextlib
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import put

from smoothswap_lib.datasets import FaceFolder, IdentityBatchSampler, IdentityFolder
from smoothswap_lib.datasets import __main__ as datasets_cli

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


def test_folders_that_cannot_be_data_say_why(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        FaceFolder(tmp_path / "nowhere", 8)
    with pytest.raises(FileNotFoundError, match="holds no image"):
        FaceFolder(tmp_path, 8)
    put(tmp_path / "ann" / "1.png", "red")
    with pytest.raises(ValueError, match="images of one person only"):
        IdentityFolder(tmp_path, 8)


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


@pytest.mark.parametrize("wanted, people", [(1, {0, 1, 2, 7}), (2, {0, 1, 7}), (4, {1, 7})])
def test_people_with_too_few_images_are_left_out_and_counted(wanted, people):
    identities, left_out = np.array([0, 0, 1, 1, 1, 1, 2, *[7] * 5]), 4 - len(people)
    warned = f"{left_out} of 4 people have fewer than {wanted} images"
    with pytest.warns(UserWarning, match=warned) if left_out else contextlib.nullcontext():
        sampler = IdentityBatchSampler(identities, 2, wanted, num_batches=40)
    assert sampler.left_out == left_out
    assert {int(i) for batch in sampler for i in identities[batch]} == people
    assert all(len(set(batch)) == len(batch) for batch in sampler)  # no pair of a picture with itself
    with pytest.raises(ValueError, match=f"has 4, of which {len(people)} have {wanted} images"):
        IdentityBatchSampler(identities, 5, wanted)


HIDDEN = "hidden or a system's own"
WALKS = {  # what is made below alice/ and bob/: (how, why it is passed over)
    "a checkpoint": (lambda bob: put(bob / ".ipynb_checkpoints" / "1.png", "red"), HIDDEN),
    "a network disk": (lambda bob: put(bob.parent / "@eaDir" / "1.png", "red"), HIDDEN),
    "a bin": (lambda bob: put(bob.parent / "$RECYCLE.BIN" / "1.png", "red"), HIDDEN),
    "macOS": (lambda bob: put(bob.parent / "__MACOSX" / "alice" / "1.png", "red"), HIDDEN),
    "GIF": (lambda bob: (bob / "1.gif").write_bytes(b""), ".gif: not read as images"),
    "a pipe": (lambda bob: os.mkfifo(bob / "pipe.png"), "pipes or devices"),
    "a dangling link": (lambda bob: (bob / "1.png").symlink_to("gone"), "links to nothing"),
    "a dangling person": (lambda bob: (bob.parent / "carol").symlink_to("gone"), "links to nothing"),
    "a loop": (lambda bob: (bob / "loop").symlink_to(bob.parent), "links to folders that are here already"),
    "a second name": (lambda bob: (bob.parent / "carl").symlink_to(bob), "links to folders that are here"),
    "a depth": (lambda bob: (bob / ("n/" * 100)).mkdir(parents=True), "folders more than 64 deep"),
    "no UTF-8": (lambda bob: open(os.fsencode(bob) + b"/\xff.png", "w").close(), "names that are no UTF-8"),
}


@pytest.mark.parametrize("kind", WALKS)
def test_what_is_no_picture_of_a_person_is_passed_over_and_said(tmp_path, capsys, kind):
    make, why = WALKS[kind]
    for name in ("alice/0.png", "bob/0.png"):
        put(tmp_path / name, "red")
    make(tmp_path / "bob")
    people = IdentityFolder(tmp_path, 8)
    assert [str(name) for name in people.names] == ["alice", "bob"]
    ((reason, (count, first)),) = people.passed.items()
    assert why in reason and count == 1 and first.isprintable()
    assert datasets_cli.main(["check", str(tmp_path), "--processes", "1"]) == 0
    assert f"passed over  1 {reason}" in capsys.readouterr().out


def test_a_linked_person_is_followed(tmp_path):
    put(tmp_path / "else" / "carol" / "1.png", "red")
    put(tmp_path / "here" / "alice" / "1.png", "red")
    (tmp_path / "here" / "carol").symlink_to(tmp_path / "else" / "carol")
    assert [str(name) for name in IdentityFolder(tmp_path / "here", 8).names] == ["alice", "carol"]


FOLDERS = {  # folders with images: (their people, what is said)
    "years": (("alice/19", "alice/20", "bob/19"), ("alice", "alice", "bob"), "'alice/19' and 'bob/19'"),
    "splits": (("train/n1", "train/n2", "test/n1", "test/n3"), ("n1", "n2", "n1", "n3"), None),
    "split years": (("train/a/1", "test/a/1", "test/b/1"), ("a", "a", "b"), "'a/1' and 'b/1'"),
    "shards": (("0-999/a", "0-999/b", "1000-1999/c"), ("a", "b", "c"), None),
    "deep": (("x/a/1/old", "x/b/1/old"), ("a", "b"), "'x/a/1' and 'x/b/1'"),
    "within": (("alice", "alice/more", "bob"), ("alice", "more", "bob"), "'alice/more' is taken as another"),
}


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("kind", FOLDERS)
def test_no_two_people_become_one(tmp_path, kind, indexed):
    places, people, said = FOLDERS[kind]
    for place in places:
        put(tmp_path / place / "1.png", "red")
    if indexed:
        datasets_cli.main(["index", str(tmp_path)])
    with pytest.warns(UserWarning, match=said) if said else contextlib.nullcontext():
        found = IdentityFolder(tmp_path, 8)
    whose = dict(zip((f.parent.relative_to(tmp_path).as_posix() for f in found.files), found.identities))
    assert [str(found.names[whose[place]]) for place in places] == list(people)
