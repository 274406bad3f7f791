"""What the swap lab computes, against facts that do not come from it: matrix, `swap`, renderer, files."""

import io
import tempfile

import numpy as np
import pytest
import torch
from pictures import png
from PIL import Image

import smoothswap_lib
from smoothswap_lib import datasets, evaluation, figures, world
from smoothswap_lib.datasets import align_folder
from smoothswap_lib.lab import lab, marking
from smoothswap_lib.render import render

SOURCE, OTHER, TARGET = (13, 6), (28, 7), (3, 0)


@pytest.fixture(scope="module")
def matrix():
    return datasets.TrueSwap("test", size=64).matrix()


@pytest.fixture(scope="module")
def pair(room):
    return room.pair(SOURCE, TARGET)


def rms(a, b):
    return float((a - b).square().mean().sqrt()) * 127.5


def test_a_pair_is_the_matrixs_pictures_and_the_librarys_swap(matrix, pair):
    assert torch.equal(pair.x_source, matrix[SOURCE])
    assert torch.equal(pair.x_target, matrix[TARGET])
    assert torch.equal(pair.x_true, matrix[SOURCE[0], TARGET[1]])
    expected = smoothswap_lib.swap(pair.x_source[None], pair.x_target[None])[0]
    assert torch.allclose(pair.x_swap, expected, atol=1e-5)


def test_the_difference_is_the_absolute_difference(pair):
    a, b = (figures.to_pixels(x).astype(float) for x in (pair.x_swap, pair.x_true))
    found = lab.difference(pair.x_swap, pair.x_true)
    assert np.abs(found - np.abs(a - b).mean(axis=2)).max() <= 1  # those pixels were rounded
    assert found.min() >= 0 and found.shape == (64, 64)
    assert (lab.difference(pair.x_true, pair.x_true) == 0).all()


def test_scores_are_those_of_the_report(room, pair):
    images = [x[None] for x in (pair.x_source, pair.x_target, pair.x_true)]
    report = evaluation.swap_report({"ours": pair.x_swap[None]}, *images, embedders=room.embedders)
    scores = room.scores(pair)
    assert list(scores.index) == ["robust", "printed"]
    for name, row in scores.iterrows():
        columns = [f"cos_source_{name}", f"cos_target_{name}"]
        wanted = [*report.loc["ours", columns], report.loc["true swap", columns[0]]]
        ours = row[["swap to source", "swap to target", "true swap to source"]]
        assert list(ours) == pytest.approx(wanted, abs=1e-5)
    assert lab.error_over_copying(pair) == pytest.approx(report.loc["ours", "error_over_copying"], rel=1e-5)


def test_the_way_leads_from_the_swap_of_one_person_to_that_of_the_other(room, matrix):
    for r, end in ((0.0, SOURCE), (1.0, OTHER)):
        found = room.between(SOURCE, OTHER, TARGET, r).x_swap
        assert torch.allclose(found, room.pair(end, TARGET).x_swap, atol=1e-4)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        room.between(SOURCE, OTHER, TARGET, 1.1)


def test_half_way_is_neither_and_retrieves_what_a_search_of_all_finds(room, matrix):
    point = room.between(SOURCE, OTHER, TARGET, 0.5)
    assert min(rms(point.x_swap, room.pair(end, TARGET).x_swap) for end in (SOURCE, OTHER)) > 1
    embedder = room.embedders["printed"]
    with torch.no_grad():
        middle = embedder(torch.stack([matrix[SOURCE], matrix[OTHER]])).sum(0)  # Slerp's, but for its length
        cosine = embedder(matrix[:, lab.GALLERY_SCENES].flatten(0, 1)).view(96, 4, -1) @ middle
    cosine[[SOURCE[0], OTHER[0]]] = -10
    person, scene = divmod(int(cosine.argmax()), 4)
    assert point.nearest["printed"] == (person, lab.GALLERY_SCENES[scene])
    assert list(point.nearest) == ["robust", "printed"]


def test_a_made_persons_truth_is_what_the_renderer_says(room):
    person = lab.drawn(4)
    made = room.made(person, TARGET, 4)
    assert made.x_true is None
    done = room.with_truth(made, person, TARGET, 4)
    expected = render(person[0], person[1], room.person(TARGET)[2], 64, 4)
    assert (figures.to_pixels(done.x_true) == expected).all()
    passport = render(person[0], person[1], world.neutral_attributes(), 64, 4)
    assert (figures.to_pixels(done.x_source) == passport).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_drawn_person_stays_as_drawn_until_something_is_moved(seed):
    identity = lab.drawn(seed)[0]
    values = lab.traits_of(identity)
    assert lab.with_traits(identity, values) == identity
    for name, (_, least, most) in lab.TRAITS.items():
        assert least <= values[name] <= most
        changed = values | {name: (least + most) / 3}
        assert lab.traits_of(lab.with_traits(identity, changed)) == changed
    color = np.array(lab.HAIR_COLORS[values["hair color"]])
    assert np.ptp(np.array(identity.hair) / color) < 1e-6  # a drawn color is a named one times a factor


def test_two_square_uploads_become_a_marked_swap_and_leave_no_file(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    crops = [png(figures.to_pixels(x)) for x in (pair.x_source, pair.x_target)]
    made = lab.swap_uploads(*zip(("a.png", "b.png"), crops))
    assert list(tmp_path.iterdir()) == []
    assert torch.allclose(made.done.x_swap, pair.x_swap, atol=1e-4)
    assert made.verdict.marked
    (tmp_path / "kept.png").write_bytes(made.content)
    assert marking.verify(tmp_path / "kept.png").marked
    pixels = np.asarray(Image.open(io.BytesIO(made.content)).convert("RGB")).astype(float)
    assert np.sqrt(((pixels - figures.to_pixels(pair.x_swap)) ** 2).mean()) < 6  # the mark


def test_a_picture_that_cannot_be_used_is_named_with_what_to_do(pair, monkeypatch):
    bricks = np.random.default_rng(0).integers(256, size=(140, 200, 3), dtype=np.uint8)
    crop, wall = png(figures.to_pixels(pair.x_source)), png(bricks)
    monkeypatch.setattr(align_folder, "find_faces", lambda picture: [])
    good = ("a.png", crop)
    for source, target, installed, message in (
        (good, ("notes.txt", b"no picture"), True, r"target \(notes.txt\)"),
        (("half.png", crop[: len(crop) // 2]), good, True, r"source \(half.png\)"),
        (("wall.png", wall), good, False, r"source \(wall.png\).*tick 'face crops'"),
        (good, ("wall.png", wall), True, r"no face.* target \(wall.png\).*tick 'face crops'"),
    ):
        monkeypatch.setattr(align_folder, "detector_installed", lambda installed=installed: installed)
        with pytest.raises(lab.LabError, match=message) as told:
            lab.swap_uploads(source, target)
        assert "--" not in str(told.value) and tempfile.gettempdir() not in str(told.value)
    assert lab.swap_uploads(good, ("wall.png", wall), crops=True).done.picture.shape == (64, 64, 3)
