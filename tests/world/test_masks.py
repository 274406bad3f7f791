"""Masks as bytes: the layout of the bits, and that nothing is lost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothswap_lib.world.masks import halved, pack, unpack


def test_the_first_pixel_has_the_highest_bits():
    assert pack(np.array([[0, 1], [2, 3]])) == bytes([0b00_01_10_11])
    three = np.array([[3, 0, 0], [0, 0, 2], [0, 0, 1]])
    assert pack(three) == bytes([0b11_00_00_00, 0b00_10_00_00, 0b01 << 6])


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 33), seed=st.integers(0, 1000))
def test_masks_come_back_from_their_bytes(size, seed):
    mask = np.random.default_rng(seed).integers(0, 4, (size, size), dtype=np.uint8)
    data = pack(mask)
    again = unpack(data, size)
    assert isinstance(data, bytes) and again.dtype == np.uint8
    assert (again == mask).all()


@pytest.mark.parametrize("code", [4, -1, 255])
def test_a_code_that_would_be_lost_is_refused(code):
    mask = np.zeros((4, 4), int)
    mask[2, 1] = code
    with pytest.raises(ValueError, match=f"codes 0 to 3, got .*{code}"):
        pack(mask)


@pytest.mark.parametrize("length", [0, 15, 17])
def test_bytes_of_another_size_are_refused(length):
    with pytest.raises(ValueError, match=f"a mask of 8 x 8 pixels has 16 bytes, got {length}"):
        unpack(bytes(length), 8)


def test_half_a_mask_is_what_most_of_four_pixels_show():
    blocks = {(3, 3, 3, 0): 3, (1, 2, 1, 0): 1, (0, 3, 3, 1): 3, (2, 1, 1, 2): 1, (3, 2, 1, 0): 0}
    mask = np.concatenate([np.reshape(block, (2, 2)) for block in blocks], axis=1)  # (2, 10)
    small = halved(np.concatenate([mask, mask[:, ::-1]]))  # of a tie, the lower code
    assert small.dtype == np.uint8
    assert small.tolist() == [[*blocks.values()], [*blocks.values()][::-1]]
