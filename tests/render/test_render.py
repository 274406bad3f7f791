"""Rendered pictures: noise, masks, landmarks, framing, mirrors, and what a true swap keeps."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from people import FEW, NO_DRIFT, PASSPORT, SIZE, draw, person, rms, with_actions
from scipy.ndimage import binary_dilation, binary_erosion

from smoothswap_lib import world
from smoothswap_lib.datasets.alignment import ffhq_quad
from smoothswap_lib.datasets.trueswap import halved
from smoothswap_lib.render import KNEE, render, render_with_truth, shoulder, srgb
from smoothswap_lib.render.backdrop import backdrop
from smoothswap_lib.render.build import SAMPLES
from smoothswap_lib.render.denoise import _filter, denoise
from smoothswap_lib.render.light import white_balance
from smoothswap_lib.world.masks import BACKGROUND, CLOTHES, FACE, HAIR

pytestmark = pytest.mark.usefixtures("one_thread")
REACH = 2  # pixels: locks are finer than the mask's samples
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
    turned = {
        n: -getattr(attributes, n) for n in ("yaw", "roll", "gaze_x", "light_azimuth", "parting", "shift_x")
    }
    identity = replace(identity, asymmetry=tuple(-a for a in identity.asymmetry))
    return identity, replace(attributes, actions=tuple(strengths[name] for name in names), **turned)


def far_from(mask):
    return ~binary_dilation(mask, np.ones((3, 3)), iterations=REACH)


@pytest.fixture(scope="module")
def pictures():
    """Three random pictures with their parameters."""
    return [(draw(seed), render_with_truth(*draw(seed), SIZE, FEW)) for seed in range(3)]


def test_one_seed_is_one_picture_and_two_seeds_differ_little():
    """As the edition is rendered and read at 64 px, the mean over three pictures."""
    noise = []
    for seed in range(3):
        parameters = draw(seed, grain=0.0)
        first, other = (render(*parameters, 128, SAMPLES, seed=s) for s in (1, 2))
        noise.append(rms(halved(first), halved(other)))
    assert first.shape == (128, 128, 3) and first.dtype == np.uint8
    assert (first == render(*parameters, 128, SAMPLES, seed=1)).all()
    assert 0.3 < np.mean(noise) < 2.5  # gray levels


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
    few, many = (
        rms(*(render(*parameters, 32, samples, seed=s, denoised=False) for s in (1, 2)))
        for samples in (4, 64)
    )
    assert 2 < few / many < 6.5  # four in theory


@pytest.mark.parametrize("seed", range(2))
def test_a_denoised_picture_is_nearer_to_the_truth(seed):
    identity, state, attributes = draw(seed, grain=0.0)
    truth = render(identity, state, attributes, SIZE, 256, denoised=False)
    raw, clean = (
        render(identity, state, attributes, SIZE, 8, seed=1, denoised=denoised) for denoised in (False, True)
    )
    assert rms(clean, truth) < 0.95 * rms(raw, truth)


def test_the_truth_comes_with_the_same_picture(pictures):
    parameters, picture = pictures[0]
    assert (render(*parameters, SIZE, FEW) == picture.image).all()
    assert picture.mask.shape == (SIZE, SIZE) and picture.mask.dtype == np.uint8
    assert picture.landmarks.shape == (68, 2) and picture.landmarks.dtype == np.float32


def test_where_no_head_is_the_picture_is_the_wall(pictures):
    """Under the camera's exposure and white balance, and with its grain."""
    noise = []
    for (_, _, attributes), picture in pictures:
        wall = 2**attributes.exposure * white_balance(attributes) * backdrop(attributes, SIZE)
        empty = far_from(picture.mask != BACKGROUND)
        empty[(wall > 0.9).any(-1) | (wall < 0.02).any(-1)] = False  # where grain would be cut off
        assert empty.sum() > 300
        noise.append((picture.image[empty] - 255 * srgb(shoulder(wall[empty]))) / attributes.grain)
    noise = np.concatenate(noise)
    assert abs(noise.mean()) < 0.05 and noise.std() == pytest.approx(1, abs=0.1)


def test_a_stop_doubles_the_light(passport):
    """What one picture says of the other, within its rounding, below the film's knee."""
    identity, state, attributes, _ = passport
    one, two = (
        render(identity, state, replace(attributes, exposure=stops), SIZE, FEW).astype(float)
        for stops in (-1.0, 0.0)
    )
    least, most = (255 * srgb(2 * linear_of((one + half) / 255)) for half in (-0.5, 0.5))
    below = linear_of((two + 0.5) / 255) < KNEE
    assert below.mean() > 0.9
    assert (np.floor(least - 0.5) <= two)[below].all() and (two <= np.ceil(most + 0.5))[below].all()


def linear_of(encoded):
    """The inverse of `srgb` (IEC 61966-2-1)."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((np.maximum(encoded, 0) + 0.055) / 1.055) ** 2.4)


def test_white_balance_and_tint_keep_about_the_brightness():
    ends = [(w, t) for w in (-1, 0, 1) for t in (-1, 0, 1)]
    gains = {(w, t): white_balance(replace(PASSPORT, white_balance=w, tint=t)) for w, t in ends}
    assert (gains[0, 0] == 1).all()
    warm, cold, magenta, green = (gains[key] for key in ((1, 0), (-1, 0), (0, 1), (0, -1)))
    assert warm[0] > warm[1] > warm[2] and warm * cold == pytest.approx(np.ones(3))
    assert magenta[1] < magenta[0] == magenta[2] and magenta * green == pytest.approx(np.ones(3))
    assert all(abs(gain @ [0.2126, 0.7152, 0.0722] - 1) < 0.1 for gain in gains.values())


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
    identity = person(3, hair=(0.02, 0.02, 0.7), gray=0.0, beard_style="none", brow_density=0.0)
    red = (0.7, 0.01, 0.01)
    green = (0.01, 0.7, 0.01)
    attributes = replace(
        PASSPORT, clothes=green, clothes_accent=green, background_top=red, background_bottom=red, zoom=0.75,
        hair_style="side_part", hair_length=60.0,
    )  # fmt: skip
    picture = render_with_truth(identity, NO_DRIFT, attributes, SIZE, FEW)
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
    # the image's right eye is lower
    assert np.rad2deg(np.arctan2(line[1], line[0])) == pytest.approx(10, abs=1)


@pytest.mark.parametrize("seed", [0, 2])
def test_a_mirrored_person_makes_a_mirrored_picture(seed):
    # Locks, grain and an open mouth have no mirror image.
    acting = with_actions(mouthSmileLeft=0.9, eyeBlinkRight=1.0, browDownLeft=0.8).actions
    identity, state, attributes = draw(seed, hair_style="buzz", grain=0.0, actions=acting)
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
    camera = {"exposure": 0.5, "white_balance": -0.8, "tint": 0.6, "grain": 2.0}
    source, target = draw(11), draw(12, hair_style="crop", hair_length=20.0, zoom=1.0, **camera)
    truth = render_with_truth(*source[:2], target[2], SIZE, FEW)
    original = render_with_truth(*target, SIZE, FEW)
    wall = far_from((truth.mask != BACKGROUND) | (original.mask != BACKGROUND))
    assert wall.sum() > 400
    assert (truth.image[wall] == original.image[wall]).all()
    face = (truth.mask == FACE) & (original.mask == FACE)
    assert rms(truth.image[face], original.image[face]) > 10


def test_without_the_denoiser_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyoidn", None)
    _filter.cache_clear()
    with pytest.raises(ModuleNotFoundError, match="pip install pyoidn"):
        denoise(np.zeros((4, 4, 3)))
