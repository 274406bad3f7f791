"""A miniature of FaceForensics++ made of rendered frames: the true swap must rank best."""

import numpy as np
import pandas as pd
import pytest
import torch
from pictures import picture
from PIL import Image

from smoothswap_lib import checkpoints
from smoothswap_lib.datasets import align_folder, to_uint8
from smoothswap_lib.evaluation import ffpp

POSE = ("attributes.yaw", "attributes.pitch", "attributes.roll")  # degrees
COLUMNS = range(6)  # attribute sets: the frames of a clip
PAIRS = [(0, 3), (3, 0), (7, 12), (12, 7), (20, 30), (30, 20)]  # target, source


def write(folder, images):
    folder.mkdir(parents=True)
    for number, pixels in enumerate(images):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / f"{number:04d}.png")


@pytest.fixture(scope="module")
def root(test_split, tmp_path_factory):
    """Six people; four methods, one of which hands back the target and one the source."""
    root, matrix = tmp_path_factory.mktemp("ffpp"), test_split.matrix_indices()
    # a person's own clip shows other attribute sets than the next one's
    sets = {p: [(c + 4 * i) % matrix.shape[1] for c in COLUMNS] for i, (p, _) in enumerate(PAIRS)}
    for person, columns in sets.items():
        clip = root / "original_sequences" / "youtube" / "c23" / "images" / f"{person:03d}"
        write(clip, test_split.pixels(matrix[person, columns]))
    for target, source in PAIRS:
        rows = {"source": matrix[source, sets[source]], "target": matrix[target, sets[target]]}
        x_source, x_target = (test_split.image_batch(rows[name]) for name in ("source", "target"))
        methods = {
            "TrueSwap": test_split.pixels(matrix[source, sets[target]]),
            "Ours": to_uint8(checkpoints.swap(x_source, x_target)),
            "CopyTarget": test_split.pixels(rows["target"]),
            "CopySource": test_split.pixels(rows["source"]),
        }
        for name, images in methods.items():
            folder = root / "manipulated_sequences" / name / "c23" / "images"
            write(folder / f"{target:03d}_{source:03d}", images)
    return root


@pytest.fixture(scope="module")
def reader(test_split):
    """Pose and expression of the render that a crop is nearest to: known answers instead of a detector."""
    matrix = test_split.matrix_indices()
    rows = np.array([matrix[person] for person, _ in PAIRS]).ravel()
    known = test_split.pixels(rows).float().flatten(1)
    values = np.stack([test_split.table[name].to_numpy()[rows] for name in POSE], axis=1)

    def read(crop):
        x = torch.from_numpy(crop.copy()).permute(2, 0, 1).float().flatten()
        return {"pose": values[int((known - x).square().mean(dim=1).argmin())]}

    return read


def test_the_true_swap_ranks_best(root, reader):
    table = ffpp.score_folder(root, reader=reader, frames=6, progress=False)
    assert set(table.index) == {"TrueSwap", "Ours", "CopyTarget", "CopySource"}
    assert (table.clips == len(PAIRS)).all() and (table.frames == 36).all()
    assert table.overall.idxmin() == "TrueSwap"
    assert table.identity_r_robust["TrueSwap"] < 0.5 < table.identity_r_robust["CopyTarget"]
    assert table.identity_r_robust["TrueSwap"] < table.identity_r_robust["Ours"]
    assert table.pose["TrueSwap"] == 0 and table.pose_r["CopySource"] == 1
    assert table.change["CopyTarget"] == 0 < table.change["TrueSwap"] < table.change["CopySource"]


def test_the_command_prints_and_writes_the_table(root, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(align_folder, "detector_installed", lambda: False)
    out = tmp_path / "table.csv"
    assert ffpp.main(["ffpp", str(root), "--frames", "2", "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "identity_r_robust" in shown.out and align_folder.INSTALL in shown.err
    table = pd.read_csv(out, index_col="method")
    assert table.frames["Ours"] == 12 and "pose" not in table


def test_what_is_not_of_this_shape_is_said(root, tmp_path, capsys):
    assert ffpp.main(["ffpp", str(tmp_path)]) == 2
    assert "original_sequences/youtube/c23/videos" in capsys.readouterr().err
    write(tmp_path / "original_sequences" / "youtube" / "c23" / "images" / "000", [])
    write(tmp_path / "manipulated_sequences" / "Deepfakes" / "c23" / "images" / "000_999", [])
    assert ffpp.main(["ffpp", str(tmp_path)]) == 2  # 999 is no original
    assert "TARGET_SOURCE" in capsys.readouterr().err
    with pytest.raises(ValueError, match="000 holds no frame"):
        ffpp.Frames(tmp_path / "original_sequences" / "youtube" / "c23" / "images" / "000")


def test_hidden_files_are_no_clips_and_no_frames(test_split, tmp_path):
    write(tmp_path / "images" / "000", test_split.pixels(np.arange(2)))
    (tmp_path / "images" / "000" / "._0000.png").write_bytes(b"written by another system")
    (tmp_path / "images" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "._001.mp4").touch()
    clips = ffpp._clips(tmp_path)
    assert list(clips) == ["000"] and ffpp.Frames(clips["000"]).count == 2


def test_frames_without_a_face_are_left_out(root, reader, monkeypatch):
    found, calls = ffpp.face_crop, []

    def every_seventh_fails(*arguments):
        calls.append(arguments)
        if len(calls) % 7 == 0:
            raise ValueError("no face was found")
        return found(*arguments)

    monkeypatch.setattr(ffpp, "face_crop", every_seventh_fails)
    table = ffpp.score_folder(root, reader=reader, frames=4, progress=False)
    assert (table.frames < 24).all() and (table.frames > 0).all()


def test_videos_are_read_where_there_are_no_frames(test_split, tmp_path):
    cv2 = pytest.importorskip("cv2", reason="needs the extra judges")
    folder = tmp_path / "youtube" / "videos"
    folder.mkdir(parents=True)
    writer = cv2.VideoWriter(str(folder / "000.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 25, (64, 64))
    images = test_split.pixels(np.arange(3)).permute(0, 2, 3, 1).numpy()
    for pixels in images:
        writer.write(np.ascontiguousarray(pixels[..., ::-1]))
    writer.release()
    clips = ffpp._clips(tmp_path / "youtube")
    frames = ffpp.Frames(clips["000"])
    assert frames.count == 3
    for number in (2, 0):
        assert np.abs(np.asarray(frames[number]).astype(int) - images[number]).mean() < 12
    (tmp_path / "youtube" / "images" / "000").mkdir(parents=True)
    assert ffpp._clips(tmp_path / "youtube")["000"].is_dir()  # extracted frames come first


@pytest.mark.skipif(not align_folder.detector_installed(), reason="needs the extra align")
def test_mediapipe_reads_pose_and_expression(test_split):
    rows = test_split.matrix_indices()[3, :8]
    crops = [picture(test_split, row) for row in rows]
    said = [ffpp.read_face(np.asarray(crop.resize((256, 256), Image.Resampling.LANCZOS))) for crop in crops]
    seen = [(row, reading) for row, reading in zip(rows, said) if reading is not None]
    assert len(seen) >= 6 and seen[0][1]["expression"].shape == (52,)
    yaw = np.array([test_split.table["attributes.yaw"][int(row)].as_py() for row, _ in seen])
    assert abs(np.corrcoef(yaw, [reading["pose"][0] for _, reading in seen])[0, 1]) > 0.8
