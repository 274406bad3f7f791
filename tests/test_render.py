"""Rendered pictures: noise, masks, landmarks, framing, mirrors, and what a true swap keeps."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from smoothswap_lib import world
from smoothswap_lib.alignment import ffhq_quad
from smoothswap_lib.render import (
    BACKGROUND,
    CLOTHES,
    FACE,
    HAIR,
    background,
    render,
    render_with_truth,
    srgb,
    use_one_thread,
)

SIZE, FEW = 64, 4  # pixels, light paths
FILTER_REACH = 3  # pixels that the picture's filter and the mask's coarse samples can spread an edge
# Landmark i and its mirror image; 33, under the nose, is a vertex beside the middle and has none.
MIRRORED = [
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46,
    39, 38, 37, 36, 41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
]  # fmt: skip
PASSPORT = world.neutral_attributes()


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    use_one_thread()


def draw(seed, **changes):
    rng = np.random.default_rng(seed)
    identity, state, attributes = (
        world.sample_identity(rng),
        world.sample_state(rng),
        world.sample_attributes(rng),
    )
    return replace(identity, **changes), state, attributes


def mirrored(identity, attributes):
    """The same person and picture seen in a mirror."""
    strengths = dict(zip(world.ACTIONS, attributes.actions))
    other = str.maketrans({"<": "Right", ">": "Left"})
    names = [name.replace("Left", "<").replace("Right", ">").translate(other) for name in world.ACTIONS]
    turned = {n: -getattr(attributes, n) for n in ("yaw", "roll", "gaze_x", "light_azimuth", "shift_x")}
    identity = replace(identity, asymmetry=tuple(-a for a in identity.asymmetry), parting=-identity.parting)
    return identity, replace(attributes, actions=tuple(strengths[name] for name in names), **turned)


def rms(a, b):
    return np.sqrt(((a.astype(float) - b) ** 2).mean())


def far_from(mask):
    return ~binary_dilation(mask, np.ones((3, 3)), iterations=FILTER_REACH)


@pytest.fixture(scope="module")
def pictures():
    """Three random pictures with their parameters."""
    return [(draw(seed), render_with_truth(*draw(seed), SIZE, FEW)) for seed in range(3)]


@pytest.fixture(scope="module")
def passport():
    """A bald head in a frontal picture at FFHQ's crop, and its parameters."""
    attributes = replace(PASSPORT, zoom=1.0)
    identity, state, _ = draw(5, has_hair=False)
    return identity, state, attributes, render_with_truth(identity, state, attributes, SIZE, FEW)


def test_one_seed_is_one_picture_and_two_seeds_differ_little():
    """At the shipped 32 light paths a pixel, the mean over three pictures."""
    differences = []
    for seed in range(3):
        parameters = draw(seed)
        first, again, other = (render(*parameters, SIZE, 32, seed=s) for s in (1, 1, 2))
        assert first.shape == (SIZE, SIZE, 3) and first.dtype == np.uint8
        assert (first == again).all()
        differences.append(rms(first, other))
    assert 0.3 < np.mean(differences) < 2.5  # gray levels


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
        wall = np.round(255 * srgb(background(attributes, SIZE)))
        empty = far_from(picture.mask != BACKGROUND)
        assert empty.sum() > 500
        assert np.abs(picture.image[empty] - wall[empty]).max() <= 1


def test_the_wall_is_a_gradient_under_soft_shapes():
    plain = replace(PASSPORT, background_top=(0.2, 0.4, 0.6), background_bottom=(0.6, 0.2, 0.0))
    rows = (np.arange(8) + 0.5) / 8
    expected = np.outer(1 - rows, plain.background_top) + np.outer(rows, plain.background_bottom)
    assert background(plain, 8) == pytest.approx(np.repeat(expected[:, None], 8, 1))
    shaped = replace(plain, background_contrast=0.5, background_seed=3)
    assert rms(background(shaped, 8), background(plain, 8)) > 0.02
    assert rms(background(replace(shaped, background_seed=4), 8), background(shaped, 8)) > 0.02
    smaller, larger = background(shaped, 16), background(shaped, 32)
    assert larger.reshape(16, 2, 16, 2, 3).mean((1, 3)) == pytest.approx(smaller, abs=0.02)


def test_srgb_is_the_standards():
    linear = np.array([-1.0, 0.0, 0.001, 0.0031308, 0.18, 0.5, 1.0, 2.0])
    standard = [0, 0, 0.01292, 0.0404500, 0.4613561, 0.7353569, 1, 1]  # IEC 61966-2-1
    assert srgb(linear) == pytest.approx(standard, abs=1e-6)


def test_mask_codes_name_what_is_seen():
    """Hair blue, clothes green, wall red under white light: each code's pixels have its color."""
    identity, state, _ = draw(
        3, has_hair=True, hair=(0.02, 0.02, 0.7), beard=0.0, mustache=0.0, brow_density=0.0
    )
    red = (0.7, 0.01, 0.01)
    attributes = replace(PASSPORT, clothes=(0.01, 0.7, 0.01), background_top=red, background_bottom=red)
    picture = render_with_truth(identity, state, attributes, SIZE, FEW)
    strongest = picture.image.argmax(-1)
    for code, channel in ((BACKGROUND, 0), (CLOTHES, 1), (HAIR, 2)):
        assert (picture.mask == code).sum() > 50
        assert (strongest[picture.mask == code] == channel).mean() > 0.93, code
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


def test_light_comes_from_where_it_says(passport):
    identity, state, attributes, picture = passport
    face = picture.mask == FACE
    right = np.arange(SIZE)[None] >= SIZE // 2

    def brightness(**changes):
        image = render(identity, state, replace(attributes, **changes), SIZE, FEW)
        return image[face & right].mean(), image[face & ~right].mean()

    from_right, from_left = brightness(light_azimuth=60.0), brightness(light_azimuth=-60.0)
    assert from_right[0] > from_right[1] + 10 and from_left[1] > from_left[0] + 10
    assert np.mean(brightness(light_strength=2.3)) > np.mean(brightness(light_strength=0.9)) + 5


def test_the_irises_follow_the_gaze(passport):
    identity, state, attributes, _ = passport
    dark = replace(identity, iris=(0.01, 0.01, 0.01))
    size = 4 * SIZE
    landmarks = 4 * passport[3].landmarks

    def sideways(image, eye):
        """How far to the image's right the dark of an eye lies, as a first moment."""
        left, top = np.floor(landmarks[eye].min(0)).astype(int)
        right, bottom = np.ceil(landmarks[eye].max(0)).astype(int)
        darkness = 255 - image[top:bottom, left:right].mean(-1)
        x = np.arange(right - left) - (right - left - 1) / 2
        return (darkness * x).sum() / darkness.sum()

    right, left = (render(dark, state, replace(attributes, gaze_x=g), size, FEW) for g in (25.0, -25.0))
    for eye in (slice(36, 42), slice(42, 48)):
        assert sideways(right, eye) > sideways(left, eye) + 0.05  # pixels


def test_skin_darkens_with_melanin(passport):
    identity, state, attributes, picture = passport
    face = picture.mask == FACE
    light, dark = (
        render(replace(identity, melanin=m), state, attributes, SIZE, FEW)[face].mean() for m in (0.0, 1.0)
    )
    assert light > dark + 50


@pytest.mark.parametrize("seed", [0, 2])
def test_a_mirrored_person_makes_a_mirrored_picture(seed):
    identity, state, attributes = draw(seed)
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


def test_the_state_is_seen_and_small():
    identity, _, _ = draw(4, gender=0.2, has_hair=True, hair_length=120.0)
    calm = world.State(0.0, 0.0, 0.0, 0.0)
    picture = render(identity, calm, PASSPORT, SIZE, 16)
    other = render(draw(9)[0], calm, PASSPORT, SIZE, 16)
    for name, value in (("age", 0.2), ("weight", 0.35), ("hair_length", 20.0), ("stubble", 1.0)):
        changed = rms(render(identity, replace(calm, **{name: value}), PASSPORT, SIZE, 16), picture)
        assert 0.5 < changed < 0.7 * rms(other, picture), name
