"""`python -m smoothswap_lib`: two files in, a marked swap out, and one clear message for what goes wrong."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import in_photograph, picture
from PIL import Image

from smoothswap_lib import checkpoints, datasets
from smoothswap_lib.__main__ import main
from smoothswap_lib.datasets import align_folder
from smoothswap_lib.datasets.images import read_picture
from smoothswap_lib.lab import manifest, marking, photographs, watermark

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def faces(test_split, tmp_path):
    """Files of a source and a target, and the rows that they are."""
    rows, paths = (30, 900), (tmp_path / "source.png", tmp_path / "target.png")
    for row, path in zip(rows, paths):
        picture(test_split, row).save(path)
    return *paths, rows


@pytest.fixture
def photograph(test_split, tmp_path, monkeypatch):
    """An oblong picture with a rendered face in it at (90, 50); a detector that knows where it is."""
    large, points = in_photograph(test_split, 900)
    large.save(tmp_path / "photograph.png")
    monkeypatch.setattr(align_folder, "detector_installed", lambda: True)
    monkeypatch.setattr(align_folder, "find_faces", lambda picture: [points, points / 4])
    return tmp_path / "photograph.png"


def call(*arguments):
    return main([str(argument) for argument in arguments])


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_a_swap_of_crops_is_the_librarys_and_marked(faces, test_split, tmp_path, capsys):
    source, target, rows = faces
    out = tmp_path / "out.png"
    assert call("swap", source, target, "-o", out) == 0
    assert "64 x 64 pixels, marked as synthetic" in capsys.readouterr().out
    x_source, x_target = (test_split.image_batch([row]) for row in rows)
    swapped = datasets.to_uint8(checkpoints.swap(x_source, x_target))[0].permute(1, 2, 0).numpy()
    assert (pixels(out) == watermark.embed(swapped)).all()
    assert call("verify", out) == 0
    assert "marked as synthetic (32 of 32 bits)" in capsys.readouterr().out
    assert call("verify", target) == 1
    assert "target.png: not marked" in capsys.readouterr().out


def test_the_command_runs_as_a_module(faces, tmp_path):
    source, target, _ = faces
    start = [sys.executable, "-m", "smoothswap_lib"]
    swap = [*start, "swap", source, target, "-o", "out.jpg", "--sheet", "sheet.png"]
    done = subprocess.run(swap, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and done.stdout.count("\n") == 2
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"source.png", "target.png", "out.jpg", "sheet.png"}
    assert all(marking.verify(tmp_path / name).marked for name in ("out.jpg", "sheet.png"))
    for command in ([], ["swap"], ["verify"]):
        with pytest.raises(SystemExit) as stop:
            main([*command, "--help"])
        assert stop.value.code == 0


def test_the_sheet_shows_source_target_and_swap(faces):
    source, target, _ = faces
    done = photographs.swap_photographs(*map(read_picture, (source, target)))
    sheet = photographs.comparison_sheet(done).astype(float)
    # a margin of .1 inch at 100 dots an inch
    tiles = [sheet[-266:-10, 10 + round(i * 256 * 67 / 64) :][:, :256] for i in range(3)]
    for tile, face in zip(tiles, (done.x_source, done.x_target, done.x_swap)):
        small = np.asarray(Image.fromarray(tile.astype(np.uint8)).resize((64, 64), Image.Resampling.BOX))
        wanted = datasets.to_uint8(face).permute(1, 2, 0).numpy()
        assert np.abs(small.astype(float) - wanted).mean() < 4


def test_a_photograph_is_changed_around_the_face_only(faces, photograph, tmp_path, capsys):
    source, out = faces[0], tmp_path / "out.png"
    assert call("swap", source, photograph, "-o", out) == 0
    assert "note: " in (said := capsys.readouterr().out) and "photograph.png shows 2 faces" in said
    before, after = pixels(photograph), pixels(out)
    assert after.shape == before.shape and marking.verify(out).marked
    away = np.abs(after[:40, :80] - before[:40, :80])  # the mark only
    face = np.abs(after[90:150, 130:180] - before[90:150, 130:180])
    assert away.mean() < 4 < 10 < face.mean()


def test_a_photograph_as_source_gives_its_faces_identity(faces, photograph, test_split, tmp_path):
    """The aligned face of the photograph swaps like the crop that was put into it, not like another's."""
    done = photographs.swap_photographs(*map(read_picture, (photograph, faces[1])))
    images = torch.stack([done.x_source, *test_split.image_batch([900, 30])])
    z = checkpoints.load_embedder()(images)  # (3, dim)
    assert z[0] @ z[1] > 0.5 > z[0] @ z[2]


def test_square_images_are_crops_unless_told_otherwise(faces, tmp_path, monkeypatch, capsys):
    source, target, _ = faces
    monkeypatch.setattr(align_folder, "detector_installed", lambda: True)
    monkeypatch.setattr(align_folder, "find_faces", lambda picture: [])
    out = tmp_path / "out.png"
    assert call("swap", source, target, "-o", out) == 0
    capsys.readouterr()
    assert call("swap", source, target, "-o", out, "--photographs") == 2
    assert "no face was found in" in capsys.readouterr().err
    Image.open(target).resize((90, 64)).save(target)
    assert call("swap", source, target, "-o", out) == 2
    assert "no face was found in" in capsys.readouterr().err
    assert call("swap", source, target, "-o", out, "--aligned") == 0
    monkeypatch.setattr(align_folder, "detector_installed", lambda: False)
    assert call("swap", source, target, "-o", tmp_path / "none.png") == 2
    assert align_folder.INSTALL in capsys.readouterr().err and not (tmp_path / "none.png").exists()


def test_errors_name_the_file_and_write_nothing(faces, tmp_path, capsys):
    source, target, _ = faces
    cut, text, out = (tmp_path / name for name in ("cut.png", "text.jpg", "o.png"))
    cut.write_bytes(source.read_bytes()[:2000])
    text.write_text("no image")
    before = sorted(tmp_path.iterdir())
    calls = {
        "nowhere.png": (tmp_path / "nowhere.png", target, "-o", out),
        "cut.png": (cut, target, "-o", out),
        "text.jpg": (source, text, "-o", out),
        "target.png would be overwritten": (source, target, "-o", target),
        "o.png would be overwritten": (source, target, "-o", out, "--sheet", out),
        ".png": (source, target, "-o", tmp_path / "o.tiff"),
        "'best'": (source, target, "-o", out, "--weights", "best"),
        "Generator was asked for. Shipped ones": (source, target, "-o", out, "--weights", "robust"),
        "is a folder; name a file in it": (source, target, "-o", tmp_path),
        "text.jpg is a file, not a folder": (source, target, "-o", text / "o.png"),
    }
    for words, arguments in calls.items():
        assert call("swap", *arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and words in error and error.count("\n") == 1, error
    assert call("verify", cut) == 2 and "cut.png" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


FLAT, TINY, SLOPE = Image.new("RGB", (512, 512)), Image.new("RGB", (1, 1), "red"), Image.linear_gradient("L")
NO_FACES = {  # picture: (what it is, options, what is said)
    "black crop": (FLAT, ["--aligned"], "shows no face, only one color (512 x 512 pixels)"),
    "one pixel": (TINY, [], "too small to show a face (1 x 1 pixels); give one of 16 or more"),
    "square landscape": (SLOPE.resize((3000, 3000)), [], "no face was found"),
}


@pytest.mark.parametrize("kind", NO_FACES)
def test_a_picture_without_a_face_is_refused_with_the_mend(faces, tmp_path, monkeypatch, capsys, kind):
    wall, options, words = NO_FACES[kind]
    monkeypatch.setattr(align_folder, "detector_installed", lambda: True)
    monkeypatch.setattr(align_folder, "find_faces", lambda picture: [])
    wall.convert("RGB").save(tmp_path / "none.png")
    for pair in ((faces[0], tmp_path / "none.png"), (tmp_path / "none.png", faces[1])):
        assert call("swap", *pair, "-o", tmp_path / "out.png", *options) == 2
        error = capsys.readouterr().err
        assert words in error and "none.png" in error and error.count("\n") == 1
        assert ("datasets align" in error) == (wall is not TINY)  # nothing cuts a face out of one pixel
    assert not (tmp_path / "out.png").exists()


def test_a_name_that_no_terminal_can_show_is_written_and_said(faces, tmp_path):
    out = os.fsencode(tmp_path) + b"/\xff.png"
    swap = [sys.executable, "-m", "smoothswap_lib", "swap", *faces[:2], "-o", out]
    done = subprocess.run(swap, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0 and "\\udcff.png: 64 x 64 pixels" in done.stdout and done.stderr == ""
    assert marking.verify(os.fsdecode(out)).marked


@pytest.mark.skipif(not align_folder.detector_installed(), reason="needs the extra align")
def test_a_real_photograph_end_to_end(faces, tmp_path):
    from skimage import data

    portrait = data.astronaut()[:, :480]
    Image.fromarray(portrait).save(tmp_path / "portrait.jpg", quality=95)
    assert call("swap", faces[0], tmp_path / "portrait.jpg", "-o", tmp_path / "out.png") == 0
    after = pixels(tmp_path / "out.png")
    assert after.shape == portrait.shape
    changed = np.abs(after - pixels(tmp_path / "portrait.jpg"))
    assert changed[60:180, 170:280].mean() > 3 * changed[300:, :100].mean()
    Image.fromarray(data.coffee()).save(tmp_path / "cup.jpg")
    assert call("swap", faces[0], tmp_path / "cup.jpg", "-o", tmp_path / "none.png") == 2
    assert manifest.installed() == (marking.verify(tmp_path / "out.png").manifest is not None)
