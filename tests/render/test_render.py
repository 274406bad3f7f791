"""Rendered pictures: noise, masks, landmarks, framing, mirrors, and what a true swap keeps."""

from dataclasses import replace

import numpy as np
import pytest
from people import FEW, PASSPORT, SIZE, draw, rms
from scipy.ndimage import binary_dilation, binary_erosion

from smoothswap_lib import world
from smoothswap_lib.datasets.alignment import ffhq_quad
from smoothswap_lib.render import KNEE, render, render_with_truth, shoulder, srgb
from smoothswap_lib.render.backdrop import backdrop
from smoothswap_lib.render.build import SAMPLES
from smoothswap_lib.world.masks import BACKGROUND, CLOTHES, FACE, HAIR

pytestmark = pytest.mark.usefixtures("one_thread")
FILTER_REACH = 3  # pixels that the picture's filter and the mask's coarse samples can spread an edge
# Landmark i and its mirror image; 33, under the nose, is a vertex beside the middle and has none.
MIRRORED = [
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46,
    39, 38, 37, 36, 41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
]  # fmt: skip


def mirrored(identity, attributes):
    """The same person and picture seen in a mirror."""
    strengths = dict(zip(world.ACTIONS, attributes.actions))
    other = str.maketrans({"<": "Right", ">": "Left"})
    names = [name.replace("Left", "<").replace("Right", ">").translate(other) for name in world.ACTIONS]
    turned = {n: -getattr(attributes, n) for n in ("yaw", "roll", "gaze_x", "light_azimuth", "shift_x")}
    identity = replace(identity, asymmetry=tuple(-a for a in identity.asymmetry), parting=-identity.parting)
    return identity, replace(attributes, actions=tuple(strengths[name] for name in names), **turned)


def far_from(mask):
    return ~binary_dilation(mask, np.ones((3, 3)), iterations=FILTER_REACH)


@pytest.fixture(scope="module")
def pictures():
    """Three random pictures with their parameters."""
    return [(draw(seed), render_with_truth(*draw(seed), SIZE, FEW)) for seed in range(3)]


def test_one_seed_is_one_picture_and_two_seeds_differ_little():
    """At the shipped light paths a pixel, the mean over three pictures."""
    smooth, whole = [], []
    for seed in range(3):
        parameters = draw(seed)
        first, again, other = (render(*parameters, SIZE, SAMPLES, seed=s) for s in (1, 1, 2))
        assert first.shape == (SIZE, SIZE, 3) and first.dtype == np.uint8
        assert (first == again).all()
        hair = render_with_truth(*parameters, SIZE, 1).mask == HAIR
        smooth.append(rms(first[~hair], other[~hair]))
        whole.append(rms(first, other))
    assert 0.3 < np.mean(smooth) < 3.5  # gray levels
    assert np.mean(whole) < 4.5  # locks are finer than pixels


def test_a_picture_does_not_depend_on_those_before_it():
    """What is kept of one person for the next picture must not change it."""
    parameters = draw(1, hair_style="curls", beard_style="full")
    first = render_with_truth(*parameters, 32, FEW)
    for other in (draw(2), (parameters[0], *draw(3)[1:]), draw(4, hair_style="bun", beard_style="goatee")):
        render(*other, 32, 1)
    again = render_with_truth(*draw(1, hair_style="curls", beard_style="full"), 32, FEW)
    assert (again.image == first.image).all() and (again.mask == first.mask).all()
    assert (again.landmarks == first.landmarks).all()


def test_noise_falls_with_the_square_root_of_the_light_paths():
    parameters = draw(1)
    few, many = (rms(*(render(*parameters, 32, samples, seed=s) for s in (1, 2))) for samples in (4, 64))
    assert 2 < few / many < 6.5  # four in theory


def test_the_truth_comes_with_the_same_picture(pictures):
    parameters, picture = pictures[0]
    assert (render(*parameters, SIZE, FEW) == picture.image).all()
    assert picture.mask.shape == (SIZE, SIZE) and picture.mask.dtype == np.uint8
    assert picture.landmarks.shape == (68, 2) and picture.landmarks.dtype == np.float32


def test_where_no_head_is_the_picture_is_the_wall(pictures):
    for (_, _, attributes), picture in pictures:
        wall = np.round(255 * srgb(shoulder(backdrop(attributes, SIZE))))
        empty = far_from(picture.mask != BACKGROUND)
        assert empty.sum() > 500
        assert np.abs(picture.image[empty] - wall[empty]).max() <= 1


def test_the_films_curve_is_smooth_and_cuts_nothing():
    linear = np.linspace(0, 8, 4001)
    film = shoulder(linear)
    assert (film[linear <= KNEE] == linear[linear <= KNEE]).all()
    assert (np.diff(film) > 0).all() and film[-1] < 1
    slope = np.diff(film) / np.diff(linear)
    assert np.abs(np.diff(slope)).max() < 0.01  # no kink at the knee


def test_srgb_is_the_standards():
    linear = np.array([-1.0, 0.0, 0.001, 0.0031308, 0.18, 0.5, 1.0, 2.0])
    standard = [0, 0, 0.01292, 0.0404500, 0.4613561, 0.7353569, 1, 1]  # IEC 61966-2-1
    assert srgb(linear) == pytest.approx(standard, abs=1e-6)


def test_mask_codes_name_what_is_seen():
    """Hair blue, clothes green, wall red under white light: each code's pixels have its color."""
    identity, state, _ = draw(
        3, hair_style="side_part", hair=(0.02, 0.02, 0.7), gray=0.0, beard_style="none", brow_density=0.0
    )
    red = (0.7, 0.01, 0.01)
    green = (0.01, 0.7, 0.01)
    attributes = replace(
        PASSPORT, clothes=green, clothes_accent=green, background_top=red, background_bottom=red, zoom=0.75
    )
    picture = render_with_truth(identity, state, attributes, SIZE, FEW)
    strongest = picture.image.argmax(-1)
    for code, channel in ((BACKGROUND, 0), (CLOTHES, 1), (HAIR, 2)):
        of_code = picture.mask == code
        if code == HAIR:  # its edge of locks lets the wall through
            of_code = binary_erosion(of_code, np.ones((3, 3)))
        assert of_code.sum() > 50
        assert (strongest[of_code] == channel).mean() > 0.93, code
    face = picture.image[picture.mask == FACE].astype(int)
    assert len(face) > 600
    assert (np.ptp(face, axis=1) < 120).mean() > 0.9  # skin is none of the three
    rows = {code: np.nonzero(picture.mask == code)[0].mean() for code in (HAIR, FACE, CLOTHES)}
    assert rows[HAIR] < rows[FACE] < rows[CLOTHES]
    eyes = picture.landmarks[[range(36, 42), range(42, 48)]].mean(1).astype(int)
    assert (picture.mask[eyes[:, 1], eyes[:, 0]] == FACE).all()


def test_a_bald_head_has_no_hair_and_landmarks_on_its_face(passport):
    *_, picture = passport
    assert not (picture.mask == HAIR).any()
    x, y = np.floor(picture.landmarks).astype(int).T
    assert (picture.mask[y[17:], x[17:]] == FACE).all()
    near = binary_dilation(picture.mask == FACE, np.ones((3, 3)), iterations=2)
    assert near[y[:17], x[:17]].all()


def test_landmarks_stay_on_the_face_in_any_pose(pictures):
    for _, picture in pictures:
        x, y = np.floor(picture.landmarks[27:]).astype(int).T  # nose, eyes, mouth: no fringe hides them
        assert (picture.mask[y, x] == FACE).mean() > 0.95


@pytest.mark.parametrize("seed", [5, 6, 7])
def test_the_crop_is_ffhqs(seed):
    identity, state, attributes = draw(seed)
    centered = replace(attributes, yaw=0.0, pitch=0.0, roll=0.0, zoom=1.0, shift_x=0.0, shift_y=0.0)
    landmarks = render_with_truth(identity, state, centered, SIZE, 1).landmarks
    corners = [[0, 0], [0, SIZE], [SIZE, SIZE], [SIZE, 0]]
    assert ffhq_quad(landmarks) == pytest.approx(np.array(corners, float), abs=1.0)


def test_zoom_and_shift_move_the_crop(passport):
    identity, state, attributes, picture = passport

    def landmarks(**changes):
        return render_with_truth(identity, state, replace(attributes, **changes), SIZE, 1).landmarks

    shifted = landmarks(shift_x=0.03, shift_y=0.02) - picture.landmarks
    expected = np.tile([-0.03 * SIZE, 0.02 * SIZE], (68, 1))  # the crop moves right and up
    assert shifted == pytest.approx(expected, abs=0.4)
    wide = landmarks(zoom=0.8)
    assert np.ptp(wide, axis=0) == pytest.approx(0.8 * np.ptp(picture.landmarks, axis=0), rel=1e-3)


def test_poses_turn_the_way_they_say(passport):
    identity, state, attributes, _ = passport

    def landmarks(**changes):
        return render_with_truth(identity, state, replace(attributes, **changes), SIZE, 1).landmarks

    def nose_from_eyes(points):
        return points[30] - points[36:48].mean(0)

    still = landmarks()
    assert nose_from_eyes(landmarks(yaw=25.0))[0] > nose_from_eyes(still)[0] + 2  # toward the image's right
    assert nose_from_eyes(landmarks(yaw=-25.0))[0] < nose_from_eyes(still)[0] - 2
    up, down = (nose_from_eyes(landmarks(pitch=angle))[1] for angle in (15.0, -15.0))
    assert up < nose_from_eyes(still)[1] - 1 < down - 2
    tilted = landmarks(roll=10.0)
    line = tilted[42:48].mean(0) - tilted[36:42].mean(0)
    assert np.rad2deg(np.arctan2(line[1], line[0])) == pytest.approx(
        10, abs=1
    )  # the image's right eye is lower


@pytest.mark.parametrize("seed", [0, 2])
def test_a_mirrored_person_makes_a_mirrored_picture(seed):
    identity, state, attributes = draw(seed, hair_style="buzz")  # locks have no mirror image
    identity = replace(identity, asymmetry=tuple(4 * a for a in identity.asymmetry))
    here = render_with_truth(identity, state, attributes, SIZE, FEW)
    other, attributes = mirrored(identity, attributes)
    there = render_with_truth(other, state, attributes, SIZE, FEW)
    assert (here.mask[:, ::-1] == there.mask).mean() > 0.975
    points = [i for i in range(68) if i != 33]
    flipped = here.landmarks[MIRRORED][points] * [-1, 1] + [SIZE, 0]
    assert flipped == pytest.approx(there.landmarks[points], abs=0.15)
    both = (here.mask[:, ::-1] == FACE) & (there.mask == FACE)
    # Blotches of the skin have no mirror image.
    assert rms(here.image[:, ::-1][both], there.image[both]) < 0.6 * rms(here.image[both], there.image[both])


def test_a_true_swap_keeps_the_target_and_takes_the_source():
    source, target = draw(11), draw(12)
    truth = render_with_truth(*source[:2], target[2], SIZE, FEW)
    original = render_with_truth(*target, SIZE, FEW)
    wall = far_from((truth.mask != BACKGROUND) | (original.mask != BACKGROUND))
    assert wall.sum() > 400
    assert (truth.image[wall] == original.image[wall]).all()
    face = (truth.mask == FACE) & (original.mask == FACE)
    assert rms(truth.image[face], original.image[face]) > 10
