"""Pictures that can hold no face are refused before anything is swapped; the rest is tests/lab's."""

import numpy as np
import pytest
from PIL import Image

from smoothswap_lib.datasets.photograph import face_crop


@pytest.mark.parametrize("color", [(128, 128, 128), (250, 20, 20), (0, 0, 0)])
def test_one_color_is_no_face(color):
    with pytest.raises(ValueError, match="flat.png shows no face, only one color"):
        face_crop(Image.new("RGB", (64, 64), color), 64, name="flat.png")


@pytest.mark.parametrize("faces", ["auto", "crops"])
def test_a_tiny_picture_is_told_its_least_side_and_nothing_that_would_not_help(faces):
    noise = Image.fromarray(np.random.default_rng(0).integers(256, size=(10, 10, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="tiny.png is too small .*16 or more a side") as told:
        face_crop(noise, 64, faces, "tiny.png")
    assert "--aligned" not in str(told.value)
