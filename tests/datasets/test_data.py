"""The files that ship in data/: all listed, all unchanged, small, and what the datasheet says of them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from smoothswap_lib import world
from smoothswap_lib.datasets import TrueSwap
from smoothswap_lib.files import checked_files, data_folder, read_checksums, sha256
from smoothswap_lib.world.masks import FACE

MOST_BYTES = 195e6  # while two editions stay beside each other
TRAIN_IDENTITIES, TEST_IDENTITIES = 1000, 96


@pytest.fixture(scope="module")
def train():
    return TrueSwap("train")


@pytest.fixture(scope="module")
def test_split():
    return TrueSwap("test")  # the second edition's, as `train`


def numbers_of(split):
    return json.loads((data_folder() / "trueswap64" / split / "build.json").read_text(encoding="utf-8"))


def identity_numbers(faces):
    """(identities, parameters): the identity's numbers, seeds and hair left out."""
    first = [int(np.flatnonzero(faces.identities == i)[0]) for i in np.unique(faces.identities)]
    people = [faces.parameters(i)[0] for i in first]
    return np.array([[p.gender, p.age, p.weight, p.melanin, *p.shape] for p in people])


def test_every_file_is_listed_and_unchanged():
    folder = data_folder()
    listed = read_checksums(folder)
    there = {path.relative_to(folder).as_posix(): path for path in checked_files(folder)}
    assert set(listed) == set(there), "write the list again: smoothswap_lib.files.write_checksums('data')"
    changed = [name for name, path in there.items() if sha256(path) != listed[name]]
    assert not changed


def test_all_of_it_is_small():
    assert sum(path.stat().st_size for path in checked_files(data_folder())) < MOST_BYTES


def test_the_train_split_has_24_images_of_each_identity(train):
    assert len(train) == TRAIN_IDENTITIES * 24 and train.size == 64
    assert (np.bincount(train.identities) == [24] * TRAIN_IDENTITIES).all()
    assert (train.attribute_sets == -1).all()
    expected = {"split": "train", "identities": TRAIN_IDENTITIES, "images": 24, "size": 64}
    assert numbers_of("train").items() >= expected.items()


def test_the_test_split_has_a_matrix_of_24_sets_and_12_free_images_of_each_identity(test_split):
    assert len(test_split) == TEST_IDENTITIES * (24 + 12) and test_split.size == 64
    assert test_split.matrix_indices().shape == (TEST_IDENTITIES, 24)
    free = test_split.identities[test_split.attribute_sets < 0]
    assert (np.bincount(free) == [12] * TEST_IDENTITIES).all()


def hair_of(attributes):
    """What was the identity's in the second edition."""
    names = ("hair_style", "hair_volume", "hair_length", "hair_curl", "parting", "fringe", "hair_seed")
    return {name: getattr(attributes, name) for name in names}


def test_the_matrix_holds_true_swaps(test_split):
    indices = test_split.matrix_indices()
    for source, target, column in ((0, 95, 0), (20, 5, 23)):
        truth, shown = (
            test_split.parameters(indices[source, column]),
            test_split.parameters(indices[target, column]),
        )
        assert replace(truth[2], **hair_of(shown[2])) == shown[2]
        assert truth[:2] == test_split.parameters(indices[source, 7])[:2] != shown[:2]


def test_no_identity_is_in_both_splits(train, test_split):
    known, unknown = identity_numbers(train), identity_numbers(test_split)
    scale = known.std(0)
    known, unknown = known / scale, unknown / scale
    across, within = cdist(unknown, known), pdist(known)
    # The nearest of all strangers is about as far as the nearest two of the train split.
    assert across.min() > 0.9 * within.min() > 3


def test_every_image_is_another(train, test_split):
    images = np.concatenate([train.images.numpy(), test_split.images.numpy()])
    assert len({image.tobytes() for image in images}) == len(images)


def test_landmarks_and_masks_agree(train):
    inside = []
    for index in range(0, len(train), 97):
        item = train[index]
        x, y = np.floor(item["landmarks"][27:]).astype(int).T  # nose, eyes, mouth
        inside.append((item["mask"][y.clip(0, 63), x.clip(0, 63)] == FACE).mean())
    assert np.mean(inside) > 0.95


def test_rows_of_the_second_edition_are_read_as_the_thirds(test_split):
    """Its hair was a person's own and nothing faded, so it is in the picture and the state is at rest."""
    for index in (0, 400, 3455):
        row, (identity, state, attributes) = (
            test_split.table.slice(index, 1).to_pylist()[0],
            test_split.parameters(index),
        )
        known = {
            name: value
            for name, value in world.to_columns(identity, state, attributes).items()
            if name in row
        }
        assert known == {name: row[name] for name in known} and len(known) > 200
        still = world.State(age=state.age, weight=state.weight, stubble=state.stubble)
        assert state == replace(still, beard_length=row["identity.beard_length"])
        for name in ("hair_style", "hair_volume", "hair_curl", "parting", "fringe", "hair_seed"):
            assert getattr(attributes, name) == row[f"identity.{name}"]
        assert attributes.hair_length == row["identity.hair_length"] + row["state.hair_length"]
        assert not any((attributes.exposure, attributes.white_balance, attributes.tint, attributes.grain))
