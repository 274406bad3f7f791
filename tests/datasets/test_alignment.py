"""FFHQ crops against the known frame, rotated photographs, and the way back into the photograph."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from smoothswap_lib.datasets import alignment


def landmarks_at(left=(96, 122), right=(160, 122), mouth=((100, 184), (157, 184)), nose=(128, 152)):
    """68 points, eyes and mouth corners where told and all else on the nose; by default FFHQ's mean."""
    points = np.tile(np.array(nose, dtype=float), (68, 1))
    ring = 4 * np.array([(np.cos(a), np.sin(a)) for a in np.arange(6) * np.pi / 3])
    points[36:42], points[42:48] = left + ring, right + ring
    points[48], points[54] = mouth
    return points


def turned_by(degrees):
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[cosine, -sine], [sine, cosine]])


def smooth_picture(height, width, seed=0):
    """Colors that vary slowly, so that resampling changes little and a wrong crop changes much."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def grey_levels(a, b):
    return np.abs(a.astype(float) - b.astype(float))


def test_quad_follows_the_formula_word_by_word():
    points = np.random.default_rng(1).uniform(0, 200, (68, 2))
    e_l, e_r = points[36:42].mean(0), points[42:48].mean(0)
    e, E, m = (e_l + e_r) / 2, e_r - e_l, (points[48] + points[54]) / 2
    V = m - e
    x = E - np.array([-V[1], V[0]])
    x = x / np.sqrt(x @ x) * max(2 * np.sqrt(E @ E), 1.8 * np.sqrt(V @ V))
    y, c = np.array([-x[1], x[0]]), e + 0.1 * V
    expected = [c - x - y, c - x + y, c + x + y, c + x - y]
    np.testing.assert_allclose(alignment.ffhq_quad(points), expected)


def test_mean_landmarks_of_the_frame_give_the_whole_frame():
    quad = alignment.ffhq_quad(landmarks_at())
    np.testing.assert_allclose(quad, [[0, 0], [0, 256], [256, 256], [256, 0]], atol=1.0)


@pytest.mark.parametrize("degrees", [0, 20, 90, 180, -135])
@pytest.mark.parametrize("scale", [0.5, 1.0, 4.2])
def test_every_face_comes_to_the_mean_position(degrees, scale):
    points = scale * (landmarks_at() - 128) @ turned_by(degrees).T + [900, 850]
    picture = np.zeros((1700, 1800, 3), np.uint8)
    x, y = points[[36, 37, 38, 39, 40, 41]].mean(0).round().astype(int)
    radius = max(int(8 * scale), 3)
    picture[y - radius : y + radius + 1, x - radius : x + radius + 1] = 255
    crop, transform = alignment.align(picture, points, 256)
    found = alignment.to_crop(points, transform)
    np.testing.assert_allclose(found[36:42].mean(0), (96, 122), atol=1.5)
    np.testing.assert_allclose(found[42:48].mean(0), (160, 122), atol=1.5)
    np.testing.assert_allclose(found[[48, 54]], [(100, 184), (157, 184)], atol=1.5)
    # What the transform says is what the pixels do: the white square lies around the left eye.
    weight = crop[..., 0].astype(float)
    center = [(weight.sum(axis) * np.arange(256)).sum() / weight.sum() for axis in (0, 1)]
    np.testing.assert_allclose(
        center, found[36:42].mean(0), atol=0.3 + 0.5 / scale
    )  # squares of whole pixels


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_rotated_photograph_gives_the_same_crop(turns):
    picture, points = smooth_picture(500, 600), landmarks_at() + np.array([170, 120])
    crop, _ = alignment.align(picture, points, 128)
    for _ in range(turns):  # np.rot90 turns counter-clockwise: the pixel (x, y) moves to (y, width - 1 - x)
        points = np.stack([points[:, 1], picture.shape[1] - 1 - points[:, 0]], axis=1)
        picture = np.ascontiguousarray(np.rot90(picture))
    turned, _ = alignment.align(picture, points, 128)
    # Half a pixel of FFHQ's "quad + .5" turns with the photograph only because centers are whole numbers.
    assert grey_levels(crop, turned).max() <= 3
    assert grey_levels(crop, np.rot90(turned)).mean() > 10


def test_a_large_face_is_shrunk_and_a_small_one_enlarged_to_the_same_crop():
    reference, _ = alignment.align(smooth_picture(700, 700), landmarks_at() + 220, 64)
    for scale in (2, 6):
        picture = np.asarray(Image.fromarray(smooth_picture(700, 700)).resize((700 * scale,) * 2))
        points = (landmarks_at() + 220 + 0.5) * scale - 0.5
        crop, transform = alignment.align(picture, points, 64)
        assert grey_levels(crop, reference).mean() < 1.5
        assert np.linalg.norm(transform[:, 0]) == pytest.approx(4 * scale, rel=0.01)


def test_padding_weights_follow_the_formula():
    picture = np.random.default_rng(2).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    pad, side = np.array([9, 7, 8, 10]), 50.0
    padded = alignment._pad(picture, pad, side)
    reflected = np.pad(picture, ((7, 10), (9, 8), (0, 0)), "reflect").astype(float)
    blurred = gaussian_filter(reflected, [0.02 * side, 0.02 * side, 0])
    y, x = np.mgrid[:37, :47].astype(float)
    mask = np.maximum(1 - np.minimum(x / 9, (46 - x) / 8), 1 - np.minimum(y / 7, (36 - y) / 10))[..., None]
    expected = reflected + (blurred - reflected) * np.clip(3 * mask + 1, 0, 1)
    expected += (np.median(expected, axis=(0, 1)) - expected) * np.clip(mask, 0, 1)
    assert grey_levels(padded, np.rint(expected)).max() <= 1  # float32 may round a half the other way
    assert grey_levels(padded, np.rint(expected)).mean() < 0.01
    assert 0 < (mask <= -1 / 3).mean() < (mask < 0).mean() < 1  # untouched, blurred, fading: all three occur


@pytest.mark.parametrize("degrees", [0, 25])
def test_round_trip_changes_nothing_outside_and_little_inside(degrees):
    picture = smooth_picture(480, 640, seed=3)
    noise = np.random.default_rng(4).integers(0, 256, (50, 50, 3))
    picture[10:60, 10:60] = noise  # sharp detail, outside of the crop
    points = (landmarks_at() - 128) @ turned_by(degrees).T * 0.8 + (350, 240)
    crop, transform = alignment.align(picture, points, 256)
    back = alignment.paste_back(picture, crop, transform)
    y, x = np.mgrid[:480, :640]
    place = alignment.to_crop(np.stack([x.ravel(), y.ravel()], 1), transform).reshape(480, 640, 2)
    outside = ((place < -1) | (place > 256)).any(-1)
    np.testing.assert_array_equal(back[outside], picture[outside])
    assert grey_levels(back, picture)[~outside].max() <= 3
    # The crop's middle is replaced in full, its edge not at all.
    painted = alignment.paste_back(picture, np.full_like(crop, 255), transform)
    middle = ((place > 60) & (place < 196)).all(-1)
    assert (painted[middle] == 255).all()
    np.testing.assert_array_equal(painted[outside], picture[outside])


def test_paste_back_with_a_mask_and_a_crop_larger_than_its_place():
    picture = smooth_picture(200, 200, seed=5)
    points = (landmarks_at() - 128) * 0.25 + 100  # a face of 64 pixels, aligned to 256
    crop, transform = alignment.align(picture, points, 256)
    assert grey_levels(alignment.paste_back(picture, crop, transform), picture).max() <= 3
    mask = np.zeros((256, 256), np.float32)
    mask[:, :128] = 1
    half = alignment.paste_back(picture, np.zeros_like(crop), transform, mask=mask)
    assert (half[90:110, 80:96] == 0).all()
    np.testing.assert_array_equal(half[:, 104:], picture[:, 104:])
    checks = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    shown = alignment.paste_back(picture, checks, transform)[90:110, 90:110]
    assert grey_levels(shown, np.full_like(shown, 127)).max() <= 20  # fine checks become grey, not moire


def test_a_crop_that_hangs_over_the_edge_is_pasted_where_it_fits():
    picture = smooth_picture(256, 256, seed=6)
    crop, transform = alignment.align(picture, landmarks_at() - (90, 60), 128)
    back = alignment.paste_back(picture, crop, transform)
    assert back.shape == picture.shape
    assert grey_levels(back, picture).mean() < 2
    elsewhere = transform + np.array([[0, 0, 5000], [0, 0, 0]])
    np.testing.assert_array_equal(alignment.paste_back(picture, crop, elsewhere), picture)


def test_bad_input_is_refused_in_words():
    picture = smooth_picture(64, 64)
    with pytest.raises(ValueError, match="68 finite"):
        alignment.align(picture, np.zeros((5, 2)))
    with pytest.raises(ValueError, match="no landmarks of a face"):
        alignment.align(picture, np.zeros((68, 2)))
    with pytest.raises(ValueError, match="outside of the photograph"):
        alignment.align(picture, landmarks_at() + 5000)
    with pytest.raises(ValueError, match="uint8"):
        alignment.align(picture / 255, landmarks_at())
    with pytest.raises(ValueError, match="feather"):
        alignment.paste_back(picture, picture, np.eye(3)[:2], feather=0)
    with pytest.raises(ValueError, match="square"):
        alignment.paste_back(picture, picture[:32], np.eye(3)[:2])
