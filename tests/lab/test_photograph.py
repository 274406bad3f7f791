"""A photograph of a person through the whole way: align, swap with the shipped weights, paste back, mark.

NASA's portrait of an astronaut, in the public domain, from scikit-image; the landmarks by hand, and by the
detector where the extra `align` is there.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from smoothswap_lib import checkpoints, figures
from smoothswap_lib.datasets import TrueSwap, align_folder, alignment, to_float
from smoothswap_lib.lab import marking

LEFT_EYE, RIGHT_EYE, MOUTH = (202.5, 101.5), (248.5, 102.5), ((205, 141), (243, 142))  # x, y
SOURCE = 1471  # of the test split


@pytest.fixture(scope="module")
def landmarks():
    """(68, 2) whose means are those that the crop asks for."""
    points = np.tile(np.mean([LEFT_EYE, RIGHT_EYE, *MOUTH], axis=0), (68, 1))
    points[36:42], points[42:48], points[[48, 54]] = LEFT_EYE, RIGHT_EYE, MOUTH
    return points


def test_a_photograph_is_changed_at_its_face_only_and_marked(landmarks, tmp_path):
    portrait = astronaut()
    crop, transform = alignment.align(portrait, landmarks, 64)
    x_target = to_float(torch.from_numpy(crop.copy()).permute(2, 0, 1)[None])
    x_source = TrueSwap("test", size=64).image_batch([SOURCE])
    x_swap = checkpoints.swap(x_source, x_target)
    pasted = alignment.paste_back(portrait, figures.to_pixels(x_swap[0]), transform)
    marking.save_swap(pasted, tmp_path / "swap.png")
    assert marking.verify(tmp_path / "swap.png").marked

    changed = (pasted != portrait).any(axis=2)
    places = np.argwhere(changed)[:, ::-1]  # (N, 2), x and y
    corners = (transform @ np.array([[0, 0, 64, 64], [0, 64, 64, 0], [1, 1, 1, 1]])).T
    assert (corners.min(0) - 1 <= places.min(0)).all() and (places.max(0) <= corners.max(0)).all()
    eyes = np.mean([LEFT_EYE, RIGHT_EYE], axis=0).astype(int)
    assert changed[eyes[1] - 5 : eyes[1] + 30, eyes[0] - 10 : eyes[0] + 10].mean() > 0.9

    with torch.no_grad():
        z_source, z_target, z_swap = map(checkpoints.load_embedder("robust"), (x_source, x_target, x_swap))
    before, after = (torch.cosine_similarity(z, z_source).item() for z in (z_target, z_swap))
    assert after > before + 0.5, "the shipped embedder must see the source in the swap"


@pytest.mark.skipif(not align_folder.detector_installed(), reason=f"needs {align_folder.INSTALL}")
def test_the_detector_finds_her(landmarks):
    (found,) = align_folder.find_faces(Image.fromarray(astronaut()))
    for part in (alignment.LEFT_EYE, alignment.RIGHT_EYE, alignment.MOUTH_CORNERS):
        assert np.abs(found[part].mean(0) - landmarks[part].mean(0)).max() < 5
