"""Skin, eyes, clothes and glasses: each part as a texture or a mesh, against what its parameters promise."""

from dataclasses import replace

import numpy as np
import pytest
from people import NO_DRIFT, PASSPORT, check_mesh, draw, person, with_actions
from scipy.spatial import cKDTree

from smoothswap_lib import world
from smoothswap_lib.render import skin
from smoothswap_lib.render.eyes import eye_meshes
from smoothswap_lib.render.hair import hair_mesh
from smoothswap_lib.render.head import TEXTURE_SIZE
from smoothswap_lib.render.skin import paint, skin_color
from smoothswap_lib.render.texels import texel_map
from smoothswap_lib.render.wardrobe import garment_mesh, glasses_meshes
from smoothswap_lib.world.traits import GARMENTS, GLASSES

WORN = [style for style in GLASSES if style != "none"]
# A light, young face without hair on it; every test changes one thing.
PLAIN = {
    "age": 0.1, "melanin": 0.15, "skin_redness": 0.5, "freckles": 0.0, "moles": 0.0, "lip_redness": 0.5,
    "beard_style": "none", "gender": 0.8, "gray": 0.0, "hair": (0.02, 0.015, 0.01),
    "brow_density": 0.8, "brow_thickness": 3.0, "brow_arch": 0.0,
}  # fmt: skip
# Places on the template, meters: |x|, z at least and at most, in front.
CHEEK, FOREHEAD = ((0.03, 0.05), (-0.05, -0.025)), ((0.0, 0.03), (0.03, 0.06))
BROW, FOLD = ((0.015, 0.045), (0.012, 0.025)), ((0.018, 0.031), (-0.066, -0.04))


BALD = replace(PASSPORT, hair_style="bald")


def plain(**changes):
    return person(2, **PLAIN | changes)


def painted(model, state=NO_DRIFT, worn=BALD, **changes):
    """The skin of the plain face with changes, where no hair hides it."""
    return paint(model, plain(**changes), state, worn)


def texels(model, place):
    """The texture's colors (n, 3) at a place, as a function of the texture."""
    (least_x, most_x), (least_z, most_z) = place
    where = texel_map(model)
    x, y, z = where.points.T
    side = np.abs(x)
    chosen = (side > least_x) & (side < most_x) & (z > least_z) & (z < most_z) & (y < 0.02) & ~where.inside
    assert chosen.sum() > 50
    return lambda texture: texture.reshape(-1, 3)[where.index[chosen]]


@pytest.mark.parametrize("seed", range(2))
def test_a_texture_is_a_picture_of_reflectances(model, seed):
    parameters = draw(seed)
    texture = paint(model, *parameters)
    assert texture.shape == (TEXTURE_SIZE, TEXTURE_SIZE, 3) and texture.dtype == np.float32
    assert np.isfinite(texture).all() and texture.min() >= 0 and texture.max() <= 1
    whole = texture.copy()
    texture[:] = 0  # who gets a texture may write into it
    painted(model)
    skin._layers.cache_clear()
    assert (paint(model, *parameters) == whole).all()


def test_texels_know_their_places_on_the_head(model):
    """A vertex's own texture coordinate leads to a texel that lies where the vertex does."""
    where = texel_map(model)
    skin_part = model.part == model.part_names.index("skin")
    corners = np.unique(model.textured_triangles[skin_part])
    position = model.template[model.textured_vertex[corners]]
    front = (position[:, 1] < 0.04) & (position[:, 2] > -0.12)
    uv = model.textured_uv[corners[front]]
    column = np.floor(uv[:, 0] * TEXTURE_SIZE).astype(int)
    row = np.floor((1 - uv[:, 1]) * TEXTURE_SIZE).astype(int)
    found = np.full(TEXTURE_SIZE**2, -1)
    found[where.index] = np.arange(len(where.index))
    texel = found[row * TEXTURE_SIZE + column]
    assert (texel >= 0).mean() > 0.99
    known = texel >= 0
    away = np.linalg.norm(where.points[texel[known]] - position[front][known], axis=1)
    assert np.median(away) < 0.0015 and np.percentile(away, 98) < 0.004  # meters; a texel is about 2 mm


def test_skin_is_as_dark_as_its_melanin():
    tones = np.array([skin_color(m, 0.5) for m in np.linspace(0, 1, 6)])
    assert (np.diff(tones, axis=0) < 0).all() and tones.min() > 0 and tones.max() < 1
    assert (tones[:, 0] > tones[:, 1]).all() and (tones[:, 1] > tones[:, 2]).all()  # skin is never blue
    assert tones[0].mean() > 4 * tones[-1].mean()
    pale, red = (skin_color(0.15, r) for r in (0.0, 1.0))
    assert red[0] / red[1] > pale[0] / pale[1]


def test_the_forehead_has_the_skins_color(model):
    for melanin in (0.0, 0.5, 1.0):
        forehead = texels(model, FOREHEAD)(painted(model, melanin=melanin)).mean(0)
        assert forehead == pytest.approx(skin_color(melanin, 0.5), rel=0.15)


def test_the_state_adds_years_to_the_identity(model):
    later = replace(NO_DRIFT, age=0.3)
    assert np.abs(painted(model, later, age=0.3) - painted(model, age=0.6)).max() < 1e-6
    assert np.abs(painted(model, later, age=0.9) - painted(model, age=1.0)).max() < 1e-6


def test_a_summer_tans_and_cold_reddens_the_same_skin(model):
    cheek = texels(model, CHEEK)
    pale, still, tanned = (
        cheek(painted(model, replace(NO_DRIFT, tan=t), freckles=0.5, moles=1.0)) for t in (-1.0, 0.0, 1.0)
    )
    assert (tanned < still).all() and (still < pale).all()
    assert (tanned / still).std(0).max() < 1e-5  # one factor: its spots stay where they are
    darker = skin_color(0.15 + skin.TAN, 0.5) / skin_color(0.15, 0.5)
    assert (tanned / still).mean(0) == pytest.approx(darker, rel=1e-4)
    warm = cheek(painted(model, replace(NO_DRIFT, redness=0.5), freckles=0.5, moles=1.0)).mean(0)
    assert warm[0] / warm[1] > 1.03 * still.mean(0)[0] / still.mean(0)[1]


def test_lipstick_covers_the_lips_and_nothing_else(model):
    where = texel_map(model)
    blue = (0.05, 0.05, 0.5)
    bare, made_up = (
        painted(model, replace(NO_DRIFT, lipstick=s, lipstick_color=blue)).reshape(-1, 3)[where.index]
        for s in (0.0, 1.0)
    )
    lips = where.masks["lips"]
    assert np.median(made_up[lips > 0.95], axis=0) == pytest.approx(blue, abs=0.1)
    assert (made_up[lips == 0] == bare[lips == 0]).all()


def test_twins_have_one_skin_and_four_heads(model):
    _, state, worn = draw(3)
    twins = world.sample_twins(np.random.default_rng(8))
    first, others = paint(model, twins[0], state, worn), twins[1:]
    assert all((paint(model, twin, state, worn) == first).all() for twin in others)
    heads = [model.deform(twin, state, PASSPORT) for twin in twins]
    colors = [hair_mesh(model, h, twin, state, PASSPORT).colors for h, twin in zip(heads, twins)]
    assert all((c == colors[0]).all() for c in colors)
    landmarks = np.array([head[model.landmarks] for head in heads])
    apart = np.linalg.norm(landmarks[:, None] - landmarks, axis=-1).mean(-1)[np.triu_indices(4, 1)]
    assert apart.min() > 0.002  # meters


def test_age_draws_lines(model):
    """Older skin is darker in the folds beside the nose and rougher on the forehead; younger is not."""
    fold, forehead = texels(model, FOLD), texels(model, FOREHEAD)
    young, old = (painted(model, age=a) for a in (0.1, 0.9))
    assert fold(old).mean() < 0.93 * fold(young).mean()
    assert fold(old).min() < 0.8 * fold(young).min()
    assert forehead(old).std(0).mean() > 1.5 * forehead(young).std(0).mean()


def test_freckles_and_moles_are_dark_spots_of_light_skin(model):
    cheek = texels(model, CHEEK)

    def share_darker(spots, melanin):
        clean = cheek(painted(model, melanin=melanin))
        spotted = cheek(painted(model, melanin=melanin, **spots))
        return (spotted.mean(1) < 0.93 * clean.mean(1)).mean()

    assert share_darker({"freckles": 1.0}, 0.0) > 0.05
    assert share_darker({"freckles": 0.4}, 0.0) < share_darker({"freckles": 1.0}, 0.0)
    assert share_darker({"freckles": 1.0}, 1.0) == 0
    where = texel_map(model)
    clean, mole = (painted(model, moles=m).reshape(-1, 3)[where.index] for m in (0.0, 1.0))
    darker = mole.mean(1) < 0.7 * clean.mean(1)
    assert 3 <= darker.sum() < 200  # a few spots, in front
    assert (mole <= clean + 1e-6).all()


def test_brows_are_as_thick_dense_and_gray_as_they_say(model):
    brow = texels(model, BROW)
    tone = skin_color(0.15, 0.5).mean()

    def dark(state=NO_DRIFT, **changes):
        return (brow(painted(model, state, **changes)).mean(1) < 0.6 * tone).mean()

    assert dark(brow_thickness=5.0) > 1.3 * dark(brow_thickness=1.8) > 0.02
    assert dark(brow_density=1.0) > dark(brow_density=0.4)
    assert dark(gray=1.0) < 0.5 * dark()
    penciled, dyed = replace(NO_DRIFT, brow_pencil=1.0), replace(NO_DRIFT, dye=1.0, dye_color=(1.0, 1.0, 1.0))
    assert dark(penciled) > 1.2 * dark() and dark(dyed) == dark()

    def height(arch):
        """Of the brow's middle, above the eyes, weighed by how dark the skin is."""
        (least_x, most_x), (least_z, most_z) = (0.024, 0.04), (0.012, 0.034)
        where = texel_map(model)
        x, y, z = where.points.T
        near = (np.abs(x) > least_x) & (np.abs(x) < most_x) & (z > least_z) & (z < most_z) & (y < 0.02)
        texture = painted(model, brow_arch=arch)
        weight = np.clip(0.7 - texture.reshape(-1, 3)[where.index[near]].mean(1) / tone, 0, None)
        return (weight * z[near]).sum() / weight.sum()

    # meters of arch, a little less at its ends
    assert height(4.5) - height(-1.5) == pytest.approx(0.006, rel=0.3)


def test_hair_is_painted_under_the_locks(model):
    where = texel_map(model)
    crown = where.index[(where.points[:, 2] > 0.1)]

    def seen(state=NO_DRIFT, worn=PASSPORT, **changes):
        return painted(model, state, worn, **changes).reshape(-1, 3)[crown].mean(0)

    cropped = seen()
    assert cropped.mean() < 0.3 * seen(worn=BALD).mean()
    assert seen(gray=1.0).mean() > 4 * cropped.mean()
    dyed = seen(replace(NO_DRIFT, dye=1.0, dye_color=(0.5, 0.02, 0.02)), gray=1.0)
    assert dyed[0] > 4 * dyed[1:].max()


def test_stubble_darkens_a_masculine_chin_only(model):
    chin = texels(model, ((0.0, 0.02), (-0.11, -0.09)))

    def darkening(gender):
        shaved, stubbly = (
            chin(painted(model, replace(NO_DRIFT, stubble=s), gender=gender)).mean() for s in (0.0, 1.0)
        )
        return 1 - stubbly / shaved

    assert darkening(0.1) > 0.1 and abs(darkening(0.9)) < 1e-6


def eyes(model, identity, attributes):
    vertices = model.deform(identity, NO_DRIFT, attributes)
    return {name: (mesh, kind) for name, mesh, kind in eye_meshes(model, vertices, identity, attributes)}


@pytest.mark.parametrize("seed", range(3))
def test_eyes_and_mouth_are_whole_meshes(model, seed):
    identity, _, attributes = draw(seed)
    parts = eyes(model, identity, attributes)
    assert set(parts) >= {"eye_l", "eye_r", "teeth", "tongue"}
    assert {kind for _, kind in parts.values()} <= {"eye", "lash", "teeth", "tongue"}
    again = eyes(model, identity, attributes)
    for name, (mesh, _) in parts.items():
        check_mesh(mesh)
        assert (again[name][0].vertices == mesh.vertices).all()
    left, right = (parts[name][0].vertices.mean(0) for name in ("eye_l", "eye_r"))
    assert left[0] > 0.02 and right[0] < -0.02  # x goes toward the subject's left


@pytest.mark.parametrize("gaze", [(0.0, 0.0), (20.0, 0.0), (-15.0, 10.0), (0.0, -20.0)])
def test_pupils_lie_where_the_eyes_look(model, gaze):
    attributes = replace(PASSPORT, gaze_x=gaze[0], gaze_y=gaze[1])
    identity = plain(iris=(0.3, 0.3, 0.3))
    vertices = model.deform(identity, NO_DRIFT, attributes)
    for name, members in zip(("eye_l", "eye_r"), model.eye_vertices):
        mesh = eyes(model, identity, attributes)[name][0]
        pupil = mesh.vertices[mesh.colors.max(1) < 0.02]
        assert len(pupil) > 10
        x, y, z = pupil.mean(0) - vertices[members].mean(0)
        assert np.rad2deg(np.arctan2(x, -y)) == pytest.approx(gaze[0], abs=1)
        assert np.rad2deg(np.arctan2(z, np.hypot(x, y))) == pytest.approx(gaze[1], abs=1)


def test_irises_have_their_color_and_whites_are_white(model):
    def share(mesh, channel):
        vivid = mesh.colors[:, channel] > 3 * np.delete(mesh.colors, channel, 1).max(1)
        return vivid.mean()

    for channel in range(3):
        iris = tuple(0.5 if c == channel else 0.02 for c in range(3))
        mesh = eyes(model, plain(iris=iris), PASSPORT)["eye_l"][0]
        assert share(mesh, channel) > 0.1 and share(mesh, (channel + 1) % 3) == 0
        assert (mesh.colors.min(1) > 0.3).mean() > 0.2


def test_teeth_stay_inside_the_head_and_the_lower_ones_follow_the_jaw(model):
    identity = plain()
    vertices = model.deform(identity, NO_DRIFT, PASSPORT)
    closed, opened = (
        eyes(model, identity, a)["teeth"][0].vertices for a in (PASSPORT, with_actions(jawOpen=1.0))
    )
    lips = vertices[model.landmarks[48:68]]
    assert closed[:, 1].min() > lips[:, 1].min()
    moved = (opened - closed)[:, 2]
    assert moved.min() < -0.006 and np.abs(moved).min() < 1e-6  # the upper ones stay


def dressed(model, garment, seed=1, **changes):
    attributes = replace(PASSPORT, garment=garment, **changes)
    vertices = model.deform(plain(), NO_DRIFT, attributes)
    return vertices, garment_mesh(model, vertices, attributes)


@pytest.mark.parametrize("garment", GARMENTS)
def test_garments_are_whole_meshes_below_the_face(model, garment):
    vertices, mesh = dressed(model, garment)
    check_mesh(mesh)
    again = dressed(model, garment)[1]
    assert (again.vertices == mesh.vertices).all() and (again.colors == mesh.colors).all()
    chin = vertices[model.landmarks[8]]
    front = (np.abs(mesh.vertices[:, 0]) < 0.04) & (mesh.vertices[:, 1] < 0.03)
    assert mesh.vertices[front, 2].max() < chin[2] + 0.01
    # Cloth lies on the body: shoulders are covered, and a little outside the skin.
    bare = model.vertices_of("skin")
    tree = cKDTree(vertices[bare])
    low = mesh.vertices[(mesh.vertices[:, 2] < -0.2) & (np.abs(mesh.vertices[:, 0]) < 0.1)]
    assert len(low) > 50 and tree.query(low)[0].max() < 0.035


def test_necklines_differ_as_their_names_say(model):
    """How much skin of the throat is free: most in a V, least in a turtleneck."""

    def highest(garment):
        mesh = dressed(model, garment)[1]
        throat = (np.abs(mesh.vertices[:, 0]) < 0.006) & (mesh.vertices[:, 1] < 0.05)
        return mesh.vertices[throat, 2].max()

    assert highest("turtleneck") > highest("crew") + 0.008
    assert highest("crew") > highest("v_neck") + 0.02


@pytest.mark.parametrize("garment", GARMENTS)
def test_clothes_have_their_two_colors(model, garment):
    red, blue = (0.6, 0.02, 0.02), (0.02, 0.02, 0.6)
    mesh = dressed(model, garment, clothes=red, clothes_accent=blue)[1]
    reddish, bluish = mesh.colors[:, 0] > 0.3, mesh.colors[:, 2] > 0.3
    assert reddish.mean() > 0.2 and not (mesh.colors[:, 1] > 0.05).any()
    assert bluish.any() or garment == "turtleneck"
    plain_cloth = dressed(model, garment, clothes=red, clothes_accent=red)[1].colors
    assert (np.argmax(plain_cloth, axis=1) == 0).all()


@pytest.mark.parametrize("style", WORN)
@pytest.mark.parametrize("seed", range(3))
def test_glasses_sit_before_the_eyes(model, style, seed):
    color = (0.05, 0.02, 0.01)
    attributes = replace(PASSPORT, glasses=style, glasses_color=color)
    vertices = model.deform(person(seed), NO_DRIFT, attributes)
    meshes = glasses_meshes(model, vertices, attributes)
    assert set(meshes) == ({"frame", "lenses"} if style == "sunglasses" else {"frame"})
    for mesh in meshes.values():
        check_mesh(mesh)
    frame = meshes["frame"]
    assert np.unique(frame.colors, axis=0) == pytest.approx(np.array([color]))
    eyes_at = vertices[model.landmarks[36:48]]
    rims = frame.vertices[frame.vertices[:, 1] < eyes_at[:, 1].min()]
    for eye in (eyes_at[:6], eyes_at[6:]):
        center = eye.mean(0)
        mine = rims[np.sign(rims[:, 0]) == np.sign(center[0])]
        assert mine[:, 0].min() < eye[:, 0].min() and mine[:, 0].max() > eye[:, 0].max()
        assert mine[:, 2].max() > eye[:, 2].max() and np.abs(mine[:, 1] - center[1]).max() < 0.04
    if style == "half_rim":
        assert rims[:, 2].min() > eyes_at[:, 2].mean() - 0.008
    else:
        assert rims[:, 2].min() < eyes_at[:, 2].min()
    ears = vertices[model.landmarks[[0, 16]], 1]
    assert frame.vertices[:, 1].max() > ears.min()  # the temples reach them
