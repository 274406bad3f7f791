"""The files that ship in data/: all listed, all unchanged, small, and what the datasheet says of them."""

import json

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from smoothswap_lib.datasets import TrueSwap
from smoothswap_lib.datasets.trueswap import EDITION
from smoothswap_lib.files import checked_files, data_folder, read_checksums, sha256
from smoothswap_lib.world.masks import FACE

MOST_BYTES = 120e6
SPLITS = {  # people, free images of each, attribute sets
    "train": (2500, 6, 0),
    "test": (96, 8, 24),
    "twins": (96, 6, 0),
}


@pytest.fixture(scope="module")
def splits():
    return {name: TrueSwap(name) for name in SPLITS}


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


@pytest.mark.parametrize(("name", "numbers"), SPLITS.items())
def test_a_split_holds_what_its_build_says(splits, name, numbers):
    people, free, sets = numbers
    data, build = splits[name], json.loads((data_folder() / EDITION / name / "build.json").read_text())
    assert build.items() >= {"identities": people, "images": free, "attributes": sets, "size": 128}.items()
    assert np.bincount(data.identities).tolist() == [free + sets] * people and data.size == 64
    assert np.bincount(data.identities[data.attribute_sets < 0]).tolist() == [free] * people
    if sets:
        assert data.matrix_indices().shape == (people, sets)


def test_the_matrix_holds_true_swaps(splits):
    data, indices = splits["test"], splits["test"].matrix_indices()
    for source, target, column in ((0, 95, 0), (20, 5, 23)):
        truth, shown = (data.parameters(indices[who, column]) for who in (source, target))
        assert truth[2] == shown[2]  # pose, light, camera, hairstyle and background are the target's
        assert truth[:2] == data.parameters(indices[source, 7])[:2] != shown[:2]


def test_twins_share_colors_hair_and_beard_in_groups_of_four_and_differ_in_bones(splits):
    people = identity_numbers(splits["twins"]), colors_of(splits["twins"])
    numbers, colors = (part.reshape(-1, 4, part.shape[-1]) for part in people)  # (groups, 4, ...)
    assert (colors == colors[:, :1]).all() and len(np.unique(colors[:, 0], axis=0)) == len(colors)
    assert all(pdist(group[:, 4:]).min() > 1 for group in numbers)


def colors_of(faces):
    """(identities, numbers): skin, hair, eyes and the beard's style."""
    first = [int(np.flatnonzero(faces.identities == i)[0]) for i in np.unique(faces.identities)]
    people = [faces.parameters(i)[0] for i in first]
    styles = sorted({p.beard_style for p in people})
    return np.array([[p.melanin, *p.hair, *p.iris, styles.index(p.beard_style)] for p in people])


def test_no_identity_is_in_both_splits(splits):
    known, unknown = (identity_numbers(splits[name]) for name in ("train", "test"))
    scale = known.std(0)
    known, unknown = known / scale, unknown / scale
    across, within = cdist(unknown, known), pdist(known)
    # The nearest of all strangers is about as far as the nearest two of the train split.
    assert across.min() > 0.9 * within.min() > 3


def test_every_image_is_another(splits):
    images = np.concatenate([data.images.numpy() for data in splits.values()])
    assert len({image.tobytes() for image in images}) == len(images)


def test_landmarks_and_masks_agree(splits):
    train, inside = splits["train"], []
    for index in range(0, len(train), 97):
        item = train[index]
        x, y = np.floor(item["landmarks"][27:]).astype(int).T  # nose, eyes, mouth
        inside.append((item["mask"][y.clip(0, 63), x.clip(0, 63)] == FACE).mean())
    assert np.mean(inside) > 0.95
