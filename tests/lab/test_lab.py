"""What the swap lab computes, against facts that do not come from it: matrix, `swap`, renderer, files."""

import io
import tempfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from pictures import png
from PIL import Image

import smoothswap_lib
from smoothswap_lib import datasets, evaluation, figures, world
from smoothswap_lib.datasets import align_folder
from smoothswap_lib.lab import lab, marking, photographs
from smoothswap_lib.render import render, render_with_truth

SOURCE, OTHER, TARGET = (13, 6), (28, 7), (3, 0)


@pytest.fixture(scope="module")
def room():
    return lab.Lab()


@pytest.fixture(scope="module")
def matrix():
    return datasets.TrueSwap("test").matrix()


@pytest.fixture(scope="module")
def pair(room):
    return room.pair(SOURCE, TARGET)


def rms(a, b):
    return float((a - b).square().mean().sqrt()) * 127.5


def test_a_pair_and_its_truth_are_the_matrixs_pictures(matrix, pair):
    assert torch.equal(pair.x_source, matrix[SOURCE])
    assert torch.equal(pair.x_target, matrix[TARGET])
    assert torch.equal(pair.x_true, matrix[SOURCE[0], TARGET[1]])


def test_the_swap_is_the_librarys(pair):
    expected = smoothswap_lib.swap(pair.x_source[None], pair.x_target[None])[0]
    assert torch.allclose(pair.x_swap, expected, atol=1e-5)


def test_the_difference_is_the_absolute_difference(pair):
    a, b = (figures.to_pixels(x).astype(float) for x in (pair.x_swap, pair.x_true))
    found = lab.difference(pair.x_swap, pair.x_true)
    assert np.abs(found - np.abs(a - b).mean(axis=2)).max() <= 1  # those pixels were rounded
    assert found.min() >= 0 and found.shape == (64, 64)
    assert (lab.difference(pair.x_true, pair.x_true) == 0).all()


def test_scores_are_those_of_the_report(room, pair):
    systems, images = (
        {"ours": pair.x_swap[None]},
        [x[None] for x in (pair.x_source, pair.x_target, pair.x_true)],
    )
    report = evaluation.swap_report(systems, *images, embedders=room.embedders)
    scores = room.scores(pair)
    assert list(scores.index) == ["supcon", "khosla", "ce_lin", "ce_arc"]
    for name in scores.index:
        for column, (system, to) in {
            "swap to source": ("ours", "source"),
            "true swap to source": ("true swap", "source"),
            "swap to target": ("ours", "target"),
        }.items():
            assert scores.loc[name, column] == pytest.approx(report.loc[system, f"cos_{to}_{name}"], abs=1e-5)
    assert lab.error_over_copying(pair) == pytest.approx(report.loc["ours", "error_over_copying"], rel=1e-5)


def test_handing_back_the_truth_has_no_error_and_the_target_all_of_it(pair):
    assert lab.error_over_copying(replace(pair, x_swap=pair.x_true)) == 0
    assert lab.error_over_copying(replace(pair, x_swap=pair.x_target)) == 1


@pytest.mark.parametrize("r, end", [(0.0, SOURCE), (1.0, OTHER)])
def test_the_ends_of_the_way_are_the_swaps_of_the_two_people(room, r, end):
    found = room.between(SOURCE, OTHER, TARGET, r).x_swap
    assert torch.allclose(found, room.pair(end, TARGET).x_swap, atol=1e-4)


def test_half_way_is_neither_and_retrieves_what_a_search_of_all_finds(room, matrix):
    point = room.between(SOURCE, OTHER, TARGET, 0.5)
    assert min(rms(point.x_swap, room.pair(end, TARGET).x_swap) for end in (SOURCE, OTHER)) > 1
    embedder = room.embedders["ce_arc"]
    with torch.no_grad():
        middle = embedder(torch.stack([matrix[SOURCE], matrix[OTHER]])).sum(0)  # Slerp's, but for its length
        cosine = embedder(matrix[:, lab.GALLERY_SCENES].flatten(0, 1)).view(96, 4, -1) @ middle
    cosine[[SOURCE[0], OTHER[0]]] = -10
    person, scene = divmod(int(cosine.argmax()), 4)
    assert point.nearest["ce_arc"] == (person, lab.GALLERY_SCENES[scene])
    assert list(point.nearest) == ["supcon", "ce_lin", "ce_arc"]


def test_a_way_does_not_go_beyond_its_ends(room):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        room.between(SOURCE, OTHER, TARGET, 1.1)


def test_a_made_persons_truth_is_what_the_renderer_says(room):
    person = lab.drawn(4)
    made = room.made(person, TARGET, 4)
    assert made.x_true is None
    done = room.with_truth(made, person, TARGET, 4)
    expected = render(person[0], person[1], room.person(TARGET)[2], 64, 4)
    assert (figures.to_pixels(done.x_true) == expected).all()
    passport = render(person[0], person[1], world.neutral_attributes(), 64, 4)
    assert (figures.to_pixels(done.x_source) == passport).all()


def test_drift_changes_age_and_weight_of_the_state_only(room):
    identity, state, attributes = room.person(SOURCE)
    drifted = lab.drifted((identity, state, attributes), 0.2, -0.1)
    assert drifted == (identity, replace(state, age=0.2, weight=-0.1), attributes)


@pytest.mark.parametrize("seed", range(12))
def test_a_drawn_person_stays_as_drawn_until_something_is_moved(seed):
    identity = lab.drawn(seed)[0]
    values = lab.traits_of(identity)
    assert lab.with_traits(identity, values) == identity
    for name, (_, least, most) in lab.TRAITS.items():
        assert least <= values[name] <= most
        moved = lab.with_traits(identity, values | {name: (least + most) / 3})
        assert lab.traits_of(moved) == values | {name: (least + most) / 3}
    color = np.array(lab.HAIR_COLORS[values["hair color"]])
    assert np.ptp(np.array(identity.hair) / color) < 1e-6  # a drawn color is a named one times a factor


def test_two_square_uploads_become_a_marked_swap_and_leave_no_file(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    files = [
        (f"{name}.png", png(figures.to_pixels(x))) for name, x in (("a", pair.x_source), ("b", pair.x_target))
    ]
    made = lab.swap_uploads(*files)
    assert list(tmp_path.iterdir()) == []
    assert torch.allclose(made.done.x_swap, pair.x_swap, atol=1e-4)
    assert made.verdict.marked
    (tmp_path / "kept.png").write_bytes(made.content)
    assert marking.verify(tmp_path / "kept.png").marked
    pixels = np.asarray(Image.open(io.BytesIO(made.content)).convert("RGB")).astype(float)
    assert np.sqrt(((pixels - figures.to_pixels(pair.x_swap)) ** 2).mean()) < 6  # the mark


@pytest.fixture(scope="module")
def photograph():
    """A wall with a face on it, 200 x 140 pixels, and the face's landmarks."""
    rendering = render_with_truth(*lab.drawn(2)[:2], world.neutral_attributes(), 96, 4)
    wall = np.full((140, 200, 3), 120, np.uint8)
    wall[30:126, 60:156] = rendering.image
    return wall, rendering.landmarks - 0.5 + [60, 30]


def test_a_photograph_is_changed_around_its_face_only(pair, photograph, monkeypatch):
    wall, landmarks = photograph
    monkeypatch.setattr(align_folder, "detector_installed", lambda: True)
    monkeypatch.setattr(align_folder, "detect", lambda pixels: landmarks)
    made = lab.swap_uploads(("a.png", png(figures.to_pixels(pair.x_source))), ("wall.png", png(wall)))
    changed = np.abs(made.done.picture.astype(int) - wall).max(axis=2) > 0
    assert made.done.picture.shape == wall.shape and made.verdict.marked
    assert not changed[:, :40].any() and not changed[:, 180:].any()
    assert changed[50:110, 80:140].mean() > 0.5


def test_a_picture_that_cannot_be_used_is_named_with_what_to_do(pair, photograph, monkeypatch):
    crop, wall = png(figures.to_pixels(pair.x_source)), png(photograph[0])
    with pytest.raises(lab.LabError, match=r"^the target \(notes.txt\) cannot be read as an image"):
        lab.swap_uploads(("a.png", crop), ("notes.txt", b"no picture"))
    with pytest.raises(lab.LabError, match=r"^the source \(half.png\) cannot be read"):
        lab.swap_uploads(("half.png", crop[: len(crop) // 2]), ("a.png", crop))
    monkeypatch.setattr(align_folder, "detector_installed", lambda: False)
    with pytest.raises(lab.LabError, match=r"the source \(wall.png\) is not a square face crop") as told:
        lab.swap_uploads(("wall.png", wall), ("a.png", crop))
    assert "tick 'face crops'" in str(told.value) and "--" not in str(told.value)
    monkeypatch.setattr(align_folder, "detector_installed", lambda: True)
    monkeypatch.setattr(align_folder, "detect", lambda pixels: None)
    with pytest.raises(lab.LabError, match=r"no face was found in the target \(wall.png\)") as told:
        lab.swap_uploads(("a.png", crop), ("wall.png", wall))
    assert "tick 'face crops'" in str(told.value) and tempfile.gettempdir() not in str(told.value)
    assert lab.swap_uploads(("a.png", crop), ("wall.png", wall), crops=True).done.picture.shape == (64, 64, 3)


def test_an_error_of_the_program_is_not_turned_into_a_message(pair, monkeypatch):
    crop = png(figures.to_pixels(pair.x_source))
    monkeypatch.setattr(photographs, "swap_files", lambda *a, **k: [][0])
    with pytest.raises(IndexError):
        lab.swap_uploads(("a.png", crop), ("b.png", crop))
