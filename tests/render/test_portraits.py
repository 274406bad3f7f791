"""What the parameters do to the picture: light, gaze, lids, skin, hair, glasses, clothes, mouth, age."""

from dataclasses import replace

import numpy as np
import pytest
from people import FEW, NO_DRIFT, PASSPORT, SIZE, draw, person, rms
from scipy.ndimage import binary_erosion

from smoothswap_lib import world
from smoothswap_lib.render import render, render_with_truth
from smoothswap_lib.world import HAIR_LENGTHS
from smoothswap_lib.world.masks import FACE, HAIR
from smoothswap_lib.world.traits import HAIR_STYLES

BLACK, BROWN, BLOND = (0.012, 0.010, 0.009), (0.10, 0.055, 0.028), (0.42, 0.29, 0.14)
pytestmark = pytest.mark.usefixtures("one_thread")


def test_light_comes_from_where_it_says(passport):
    identity, state, attributes, picture = passport
    face = picture.mask == FACE
    right = np.arange(SIZE)[None] >= SIZE // 2

    def brightness(**changes):
        image = render(identity, state, replace(attributes, **changes), SIZE, FEW)
        return image[face & right].mean(), image[face & ~right].mean()

    from_right, from_left = brightness(light_azimuth=60.0), brightness(light_azimuth=-60.0)
    assert from_right[0] > from_right[1] + 10 and from_left[1] > from_left[0] + 10
    assert np.mean(brightness(light_strength=1.4)) > np.mean(brightness(light_strength=0.7)) + 5


VIVID = (0.01, 0.6, 0.01)  # an iris that no other part of the picture resembles


def green(picture):
    """Which pixels of an image show an iris of color VIVID."""
    red, middle, blue = (picture[..., channel].astype(int) for channel in range(3))
    return (middle > 1.3 * red) & (middle > 1.3 * blue) & (middle > 20)


@pytest.fixture(scope="module")
def staring(passport):
    """A function that renders the passport's person with green irises, and the centers (2, 2) of the eyes."""
    identity, state, attributes, picture = passport
    identity = replace(identity, iris=VIVID)

    def look(size=3 * SIZE, **changes):
        return green(render(identity, state, replace(attributes, **changes), size, FEW))

    return look, 3 * np.array([picture.landmarks[36:42].mean(0), picture.landmarks[42:48].mean(0)])


def acting(*names):
    return {"actions": tuple(float(name in names) for name in world.ACTIONS)}


def test_the_irises_move_with_the_gaze_in_both_directions(staring):
    look, _ = staring

    def center(**gaze):
        y, x = np.nonzero(look(**gaze, **acting("eyeWideLeft", "eyeWideRight")))
        return np.array([x.mean(), y.mean()])

    still = center()
    right, left = center(gaze_x=20.0), center(gaze_x=-20.0)
    assert left[0] + 1.5 < still[0] < right[0] - 1.5  # pixels
    up, down = center(gaze_y=15.0), center(gaze_y=-15.0)
    assert up[1] + 0.5 < still[1] < down[1] - 0.5


def test_open_eyes_show_irises_and_closed_ones_do_not(staring):
    look, eyes = staring
    open_eyes = look()
    y, x = np.nonzero(open_eyes)
    for eye in eyes:  # each pixel in one of the eyes, each eye with a good deal of them
        assert (np.hypot(x - eye[0], y - eye[1]) < 12).sum() > 25
    assert (np.hypot(x[:, None] - eyes[:, 0], y[:, None] - eyes[:, 1]).min(1) < 12).mean() > 0.97
    closed = look(**acting("eyeBlinkLeft", "eyeBlinkRight"))
    assert closed.sum() < 0.05 * open_eyes.sum()
    left = look(**acting("eyeBlinkLeft"))  # the subject's left is the image's right
    middle = eyes[:, 0].mean()
    x = np.nonzero(left)[1]
    assert (x < middle).sum() > 20 * max((x > middle).sum(), 1)


def test_sunglasses_hide_the_eyes_and_other_glasses_do_not(staring):
    look, _ = staring
    black, without = (0.02, 0.02, 0.02), look().sum()
    assert look(glasses="sunglasses", glasses_color=black).sum() < 0.03 * without
    for style in ("round", "square", "half_rim"):
        assert look(glasses=style, glasses_color=black).sum() > 0.8 * without, style


def test_glasses_change_the_picture_around_the_eyes_only(passport):
    identity, state, attributes, picture = passport
    color = (0.02, 0.02, 0.02)
    worn = render_with_truth(
        identity, state, replace(attributes, glasses="square", glasses_color=color), SIZE, FEW
    )
    changed = np.abs(worn.image.astype(int) - picture.image).max(-1) > 25
    y, _ = np.nonzero(changed)
    eyes = picture.landmarks[36:48, 1].mean()
    assert changed.sum() > 30 and (np.abs(y - eyes) < SIZE / 5).mean() > 0.9
    frame = worn.image[changed].mean()
    assert frame < picture.image[changed].mean()  # it is darker than the skin
    assert (worn.mask[changed] == FACE).mean() > 0.9  # glasses count as face


def cut(style, **changes):
    """The passport picture under hair of the middle length of its style."""
    return replace(
        PASSPORT, **{"hair_style": style, "hair_length": float(np.mean(HAIR_LENGTHS[style]))} | changes
    )


@pytest.mark.parametrize("style", [style for style in HAIR_STYLES if style != "bald"])
def test_no_hair_style_hides_the_features(style):
    """Whatever is drawn, eyes, nose and mouth of a frontal face are free."""
    free, covered = [], []
    for seed in range(2):
        identity, state, drawn = draw(40 + seed)
        worn = {name: getattr(drawn, name) for name in ("hair_volume", "parting", "fringe", "hair_seed")}
        picture = render_with_truth(identity, state, cut(style, **worn), SIZE, 1)
        x, y = np.floor(picture.landmarks[27:]).astype(int).T
        free.append((picture.mask[y, x] == FACE).mean())
        covered.append((picture.mask == HAIR).mean())
    assert np.mean(free) > 0.97
    assert min(covered) > 0.03


def test_a_beard_counts_as_face_and_is_seen(passport):
    identity, _, attributes, _ = passport
    dark = replace(identity, beard_style="full", hair=(0.01, 0.01, 0.01), gray=0.0, melanin=0.0)
    shaved = render(replace(dark, beard_style="none", gender=1.0), NO_DRIFT, attributes, SIZE, FEW)
    bearded = render_with_truth(replace(dark, gender=1.0), NO_DRIFT, attributes, SIZE, FEW)
    x, y = np.floor(bearded.landmarks[[6, 7, 8, 9, 10]] - [0, 2]).astype(int).T
    assert (bearded.mask[y, x] == FACE).all()
    assert bearded.image[y, x].mean() < 0.7 * shaved[y, x].mean()


def test_the_state_is_seen_and_small():
    identity = person(4, age=0.5, weight=0.5, beard_style="short", melanin=0.3, gray=0.3, hair=BROWN)
    other = person(9, melanin=0.8, gray=0.0, hair=BLACK)

    def seen(who=identity, **state):
        return render(who, replace(NO_DRIFT, **state), cut("bob"), SIZE, 16)

    picture = seen()
    another = rms(seen(other), picture)
    lips = {"lipstick": 0.9, "lipstick_color": (0.42, 0.035, 0.045)}
    for state in (
        {"age": 0.25}, {"weight": 0.25}, {"tan": 1.0}, {"redness": 0.7}, {"gray": 0.25}, {"bleach": 1.0},
        {"beard_length": 22.0}, {"stubble": 1.0}, lips, {"brow_pencil": 1.0},
    ):  # fmt: skip
        assert 0.5 < rms(seen(**state), picture) < 0.4 * another, state


def test_the_cut_is_the_pictures_and_the_color_the_persons():
    """Two people under one cut, one of them under two cuts and after a dye."""
    dark, fair = person(21, hair=BLACK, gray=0.0), person(22, hair=BLOND, gray=0.0)

    def seen(who, style, **state):
        picture = render_with_truth(who, replace(NO_DRIFT, **state), cut(style), SIZE, FEW)
        hair = picture.mask == HAIR
        return hair, picture.image[binary_erosion(hair)].mean(0)

    def overlap(one, two):
        return (one[0] & two[0]).sum() / (one[0] | two[0]).sum()

    def apart(one, two):
        return np.linalg.norm(one[1] - two[1])

    black, blond, short = seen(dark, "long"), seen(fair, "long"), seen(fair, "crop")
    assert overlap(black, blond) > 0.7 > 0.5 > overlap(blond, short)
    assert apart(black, blond) > 80 > 40 > apart(blond, short)  # gray levels
    for again in (seen(fair, "long", dye=1.0, dye_color=BLACK), seen(replace(fair, hair=BLACK), "long")):
        assert (again[0] == blond[0]).all() and apart(again, black) < 10
