"""Looking at folders of photographs, and aligning them: miniatures with the real names."""

import json

import numpy as np
import pytest
from pictures import in_photograph, put
from PIL import Image

from smoothswap_lib.datasets import __main__ as datasets_cli
from smoothswap_lib.datasets import align_folder as aligning
from smoothswap_lib.datasets.align_folder import align_folder, read_landmarks
from smoothswap_lib.datasets.alignment import ffhq_quad
from smoothswap_lib.datasets.check_folder import check_folder


def check(path):
    return check_folder(path, processes=1, progress=False)


def test_ffhq_is_known_and_its_gap_is_missing(tmp_path):
    for number in (0, 1, 999, 1000):
        put(tmp_path / f"{number // 1000 * 1000:05d}" / f"{number:05d}.png")
    report = check(tmp_path)
    assert report.layout.startswith("FFHQ") and report.people is None and report.files == 4
    assert report.missing == ["image 00002 (and 996 others below 01000)"] and not report.fine
    assert report.notes == ["4 of FFHQ's 70,000 images"]
    for number in range(2, 999):
        (tmp_path / "00000" / f"{number:05d}.png").symlink_to(tmp_path / "00000" / "00000.png")
    assert check(tmp_path).fine and check(tmp_path).missing == []


PEOPLE = {
    "VGGFace2's layout": ("train/n000002/0001_01", "train/n000002/0002_01", "test/n000001/0001_01"),
    "LFW's layout": (
        "lfw-deepfunneled/A_B/A_B_0001",
        "lfw-deepfunneled/A_B/A_B_0002",
        "lfw-deepfunneled/C/1",
    ),
    "a folder a person": ("0000045/001", "0000045/002", "0000099/001"),
}


@pytest.mark.parametrize("layout", PEOPLE)
def test_people_are_counted(tmp_path, layout):
    for file in PEOPLE[layout]:
        put(tmp_path / f"{file}.jpg")
    report = check(tmp_path)
    assert (report.layout, report.people, report.images_a_person) == (layout, 2, (1, 1.5, 2))
    assert report.fine and "2 people have fewer than 4 images" in str(report)
    assert report.sizes == {(8, 8): 3}


def test_celeba_misses_what_its_list_misses(tmp_path):
    for number in (1, 2, 3):
        put(tmp_path / "img_align_celeba" / f"{number:06d}.jpg", size=(178, 218))
    assert "identity_CelebA.txt" in check(tmp_path).missing[0]
    (tmp_path / "identity_CelebA.txt").write_text("000001.jpg 7\n000002.jpg 7\n000009.jpg 8\n")
    report = check(tmp_path)
    assert report.missing == [
        "a line for 000003.jpg (and 0 others) in identity_CelebA.txt",
        "000009.jpg (and 0 others) of identity_CelebA.txt",
    ]
    assert any("3 images are not square" in note for note in report.notes)
    (tmp_path / "identity_CelebA.txt").write_text("000001.jpg 7\n000002.jpg 7\n000003.jpg 8\n")
    assert check(tmp_path).fine


def test_every_broken_file_is_counted_and_named(tmp_path, capsys):
    put(tmp_path / "a" / "1.png")
    put(tmp_path / "b" / "1.png", size=(64, 64))
    whole = (tmp_path / "b" / "1.png").read_bytes()
    (tmp_path / "b" / "1.png").write_bytes(whole[: len(whole) - 30])  # its header is fine
    (tmp_path / "b" / "2.jpg").write_text("no image")
    assert datasets_cli.main(["check", str(tmp_path), "--processes", "1"]) == 1
    text = capsys.readouterr().out
    assert "b/1.png" in text and "b/2.jpg" in text and text.rstrip().endswith("NOT fine")
    assert datasets_cli.main(["check", str(tmp_path / "nowhere")]) == 2
    assert "nowhere is not a folder" in capsys.readouterr().err


@pytest.fixture
def photographs(test_split, tmp_path):
    """Three rendered faces in larger pictures, and the file of their landmarks."""
    points = {}
    (tmp_path / "in" / "x").mkdir(parents=True)
    for number, row in enumerate((30, 400, 900)):
        large, landmarks = in_photograph(test_split, row)
        large.save(tmp_path / "in" / "x" / f"{number}.png")
        points[f"x/{number}.png"] = landmarks.tolist()
    file = tmp_path / "landmarks.json"
    file.write_text(json.dumps(points))
    return tmp_path / "in", tmp_path / "out", file


def test_aligned_crops_hold_the_face_of_the_landmarks(photographs):
    source, target, file = photographs
    report = align_folder(source, target, 64, read_landmarks(file), processes=1, progress=False)
    assert (report.written, report.there_already, report.failed) == (3, 0, {})
    for name, points in read_landmarks(file).items():
        crop = np.asarray(Image.open(target / name)).astype(float)
        assert crop.shape == (64, 64, 3)
        photograph = np.asarray(Image.open(source / name)).astype(float)
        quad = ffhq_quad(points)
        for u, v in ((0.4, 0.5), (0.6, 0.6)):  # places on the face
            place = quad[0] + u * (quad[3] - quad[0]) + v * (quad[1] - quad[0])
            x, y = np.rint(place).astype(int)
            seen = photograph[y - 1 : y + 2, x - 1 : x + 2].mean((0, 1))
            row, column = int(v * 64), int(u * 64)
            shown = crop[row - 1 : row + 1, column - 1 : column + 1].mean((0, 1))
            assert np.abs(seen - shown).max() < 30


def test_alignment_goes_on_and_lists_what_it_could_not_do(photographs, capsys):
    source, target, file = photographs
    points = json.loads(file.read_text())
    del points["x/1.png"]
    file.write_text(json.dumps(points))
    (source / "x" / "3.png").write_text("no image")
    call = ["align", str(source), str(target), "--size", "32", "--landmarks", str(file), "--processes", "1"]
    assert datasets_cli.main(call) == 1
    assert "2 aligned now, 0 were there already, 2 could not be aligned" in capsys.readouterr().out
    listed = (target / aligning.LISTED).read_text().splitlines()
    assert [line.split("\t")[0] for line in listed] == ["x/1.png", "x/3.png"]
    before = (target / "x" / "0.png").stat().st_mtime_ns
    assert datasets_cli.main(call) == 1
    assert "0 aligned now, 2 were there already" in capsys.readouterr().out
    assert (target / "x" / "0.png").stat().st_mtime_ns == before


def test_a_wrong_landmark_file_is_named(photographs, capsys):
    source, target, file = photographs
    file.write_text('{"x/0.png": [[1, 2]]}')
    assert datasets_cli.main(["align", str(source), str(target), "--landmarks", str(file)]) == 2
    assert "landmarks.json: x/0.png has an array of shape (1, 2)" in capsys.readouterr().err


def test_without_a_detector_the_mend_is_said(photographs, capsys, monkeypatch):
    monkeypatch.setattr(aligning, "detector_installed", lambda: False)
    assert datasets_cli.main(["align", *map(str, photographs[:2])]) == 2
    assert aligning.INSTALL in capsys.readouterr().err


@pytest.mark.skipif(not aligning.detector_installed(), reason="needs the extra align")
def test_a_small_face_is_found_and_several_are_said(photographs, tmp_path, capsys):
    """A head of 300 px in 3000 x 2200, which the detector alone does not see."""
    source, target, file = photographs
    points = np.array(json.loads(file.read_text())["x/0.png"])
    small, two = Image.new("RGB", (3000, 2200), "gray"), Image.new("RGB", (300, 240), "gray")
    photograph = Image.open(source / "x" / "0.png")
    small.paste(photograph.resize((600, 480)), (1700, 1200))
    for number, left in enumerate((10, 160)):
        face = Image.open(source / "x" / f"{number}.png").crop((90, 50, 218, 178))
        two.paste(face.resize((130 - 10 * number,) * 2), (left, 50))
    assert not aligning._detect(small)
    (face,) = aligning.find_faces(small)
    assert np.abs(face.mean(0) - (points.mean(0) * 2 + [1700, 1200])).max() < 20
    (tmp_path / "both").mkdir()
    two.save(tmp_path / "both" / "two.png")
    assert datasets_cli.main(["align", str(tmp_path / "both"), str(target), "--processes", "1"]) == 0
    assert "1 show several faces, of which the largest was taken (such as two.png)" in capsys.readouterr().out


REFUSED = {  # (SRC, DST) below the folder, and what is said
    "one place": ("in", "in", "lies in"),
    "below": ("in", "in/out", "lies in"),
    "one stem": ("in", "out", "0.jpg and x/0.png would both become"),
    "one name": ("in", "out", "x/A.png and x/a.png would both become"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_crops_that_would_mix_are_refused_before_anything_is_written(photographs, kind, capsys):
    (source, _, file), (_, out, words) = photographs, REFUSED[kind]
    if kind == "one stem":
        put(source / "x" / "0.jpg")
    if kind == "one name":
        put(source / "x" / "A.png")
        put(source / "x" / "a.png")
    before = sorted(source.parent.rglob("*"))
    call = ["align", str(source), str(source.parent / out), "--landmarks", str(file)]
    assert datasets_cli.main(call) == 2
    assert words in capsys.readouterr().err
    assert sorted(source.parent.rglob("*")) == before


@pytest.mark.parametrize("key", ["x\\Zoe\u0308.png", "x/Zo\u00eb.png"])
def test_keys_of_landmarks_are_normalized(photographs, key):
    source, target, file = photographs
    (source / "x" / "0.png").rename(source / "x" / "Zo\u00eb.png")
    points = json.loads(file.read_text())
    file.write_text(json.dumps({key if name == "x/0.png" else name: p for name, p in points.items()}))
    assert align_folder(source, target, 32, read_landmarks(file), processes=1, progress=False).written == 3
