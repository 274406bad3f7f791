"""Hair and beards: where they grow, the ribbons they are made of, and what each style does with them."""

from dataclasses import replace

import numpy as np
import pytest
from people import NO_DRIFT, PASSPORT, check_mesh, draw, person, with_actions
from scipy.spatial import cKDTree

from smoothswap_lib.render import beard, hair, hairline, strands
from smoothswap_lib.render.beard import beard_mesh
from smoothswap_lib.render.hair import hair_mesh
from smoothswap_lib.render.head import SCALP_CENTER
from smoothswap_lib.world import HAIR_COLORS, HAIR_LENGTHS
from smoothswap_lib.world.traits import BEARD_STYLES, HAIR_STYLES

HAIRY = [style for style in HAIR_STYLES if style != "bald"]
WITH_LOCKS = [style for style in HAIRY if style != "buzz"]
BEARDED = [style for style in BEARD_STYLES if style != "none"]
# Template positions in meters.
FOREHEAD, CROWN, NOSE = [0.0, -0.02, 0.035], [0.0, 0.08, 0.13], [0.0, -0.03, -0.03]
UPPER_LIP, CHIN, CHEEK, JAW = (
    [0.01, -0.02, -0.062],
    [0.0, -0.015, -0.1],
    [0.05, 0.01, -0.06],
    [0.05, 0.04, -0.1],
)


MEAN = person(hairline=0.0, recession=0.0)


def cut(style, **changes):
    """A passport picture with hair of the middle length of its style."""
    return replace(
        PASSPORT, **{"hair_style": style, "hair_length": float(np.mean(HAIR_LENGTHS[style]))} | changes
    )


def locks(model, worn, identity=MEAN, vertices=None):
    """(N, POINTS, 3) middle lines of the locks on the template; a bun's or a tail's come last."""
    mesh = hair_mesh(model, model.template if vertices is None else vertices, identity, NO_DRIFT, worn)
    cap = np.prod(model.scalp(model.template).shape[:2])
    return mesh.vertices[cap:].reshape(-1, hair.POINTS, 2, 3).mean(2)


def combed(model, worn, identity=MEAN, vertices=None):
    """`locks` without the bun or the tail."""
    roots = hair._roots(model, identity, worn, *strands.hair_color(identity, NO_DRIFT))
    return locks(model, worn, identity, vertices)[: len(roots.cells)]


def above_skull(model, points, vertices):
    """Meters (N,) by which points lie farther out than the nearest place of the skull's surface."""
    skull = model.scalp(vertices).reshape(-1, 3) - SCALP_CENTER
    radius = np.linalg.norm(skull, axis=1)
    away = points - SCALP_CENTER
    distance = np.linalg.norm(away, axis=1)
    _, nearest = cKDTree(skull / radius[:, None]).query(away / distance[:, None])
    return distance - radius[nearest]


def test_the_hairline_is_where_its_numbers_say():
    azimuths = np.array([0.0, 0.62, np.pi])  # forehead, temple, nape
    still = hairline.height(azimuths, MEAN)
    assert still[0] > still[1] > 0 > still[2]
    higher = hairline.height(azimuths, replace(MEAN, hairline=8.0)) - still
    assert higher == pytest.approx([0.008, 0.008, 0.0], abs=1e-9)
    receding = hairline.height(azimuths, replace(MEAN, recession=10.0)) - still
    assert receding[1] == pytest.approx(0.010) and receding[0] < 0.002 and receding[2] == 0
    assert (hairline.height(-azimuths, MEAN) == still).all()


def test_hair_covers_the_skull_and_leaves_face_and_ears_free():
    points = np.array([FOREHEAD, CROWN, NOSE, hairline.EAR, hairline.EAR * [-1, 1, 1], CHIN])
    for style in HAIRY:
        cover = hairline.scalp_cover(points, MEAN, cut(style))
        assert cover[1] > 0.8 and not np.delete(cover, 1).any(), style
    assert not hairline.scalp_cover(points, MEAN, cut("bald")).any()


def test_each_beard_covers_its_areas():
    points = np.array([UPPER_LIP, CHIN, CHEEK, JAW, NOSE, FOREHEAD])

    def where(style, off_lips=1.0):
        cover = hairline.beard_cover(points, np.full(6, off_lips), person(beard_style=style), NO_DRIFT)
        return (cover > 0.4).tolist()

    assert where("none") == [False] * 6
    assert where("mustache") == [True, False, False, False, False, False]
    assert where("goatee") == [True, True, False, False, False, False]
    assert where("chin_strap") == [False, True, False, True, False, False]
    assert where("full") == where("short") == [True, True, True, True, False, False]
    assert where("full", off_lips=0.0) == [False] * 6


def test_a_ribbon_is_as_wide_as_asked_and_lies_along_its_path():
    rng = np.random.default_rng(0)
    steps = rng.normal(0, 1, (5, 6, 3)) * 0.002 + [0, 0, -0.01]
    paths = np.cumsum(steps, 1)
    widths = rng.uniform(0.001, 0.005, (5, 6))
    facing = np.tile([0.0, -1.0, 0.0], (5, 1))
    mesh = strands.ribbons(paths, widths, facing, rng.uniform(0, 1, (5, 3)))
    check_mesh(mesh)
    assert len(mesh.vertices) == 2 * 5 * 6 and len(mesh.triangles) == 2 * 5 * 5
    edges = mesh.vertices.reshape(5, 6, 2, 3)
    assert edges.mean(2) == pytest.approx(paths, abs=1e-12)
    assert np.linalg.norm(edges[:, :, 1] - edges[:, :, 0], axis=-1) == pytest.approx(widths)
    assert (mesh.normals @ [0, -1, 0] > 0).all()
    owner = np.arange(60).reshape(5, 12)
    for lock in range(5):  # no triangle joins two locks
        inside = np.isin(mesh.triangles, owner[lock])
        assert (inside.all(1) == inside.any(1)).all()


def test_straight_locks_have_their_length_and_sag_by_its_square():
    roots, lengths = np.zeros((2, 3)), np.array([0.04, 0.1])
    paths = strands.straight(roots, np.array([[2.0, 0, 0], [0, -3.0, 0]]), lengths, 5)
    assert np.linalg.norm(np.diff(paths, axis=1), axis=-1).sum(1) == pytest.approx(lengths)
    sagging = strands.straight(roots, np.array([[2.0, 0, 0], [0, -3.0, 0]]), lengths, 5, sag=0.4)
    assert (sagging - paths)[:, :, 2] == pytest.approx(-0.4 * np.outer(lengths, np.linspace(0, 1, 5) ** 2))


def test_curls_wind_around_their_path():
    path = np.linspace([0.0, 0, 0], [0, 0, -0.1], 101)[None]
    facing = np.array([[0.0, -1.0, 0.0]])
    curled = strands.curl(path, facing, 0.005, 3, np.array([0.4]))[0]
    assert curled[0] == pytest.approx(path[0, 0], abs=1e-12)  # it stays rooted
    assert np.abs(curled[:, 0]).max() == pytest.approx(0.005, rel=0.01)
    assert (curled[:, 2] == path[0, :, 2]).all()
    sideways = curled[34:, 0]  # fully grown from a third on: two of the three turns cross the path twice each
    assert (np.diff(np.sign(sideways)) != 0).sum() == 4
    inward = curled[:, 1].max()
    assert inward <= 0.0025 + 1e-9  # half as deep as wide


@pytest.mark.parametrize("grown", HAIR_COLORS, ids=str)
def test_the_sun_lightens_hair_dye_hides_it_and_covers_gray(grown):
    identity = person(hair=grown, gray=0.8)
    assert strands.hair_color(identity, NO_DRIFT) == (pytest.approx(grown), 0.8)
    bleached, gray = strands.hair_color(identity, replace(NO_DRIFT, bleach=1.0))
    assert (bleached > grown).all() and gray == 0.8  # it cannot bleach what has no color
    blue = (0.02, 0.02, 0.5)
    covered = replace(NO_DRIFT, dye=1.0, dye_color=blue, bleach=1.0)
    assert strands.hair_color(identity, covered) == (pytest.approx(blue), 0.0)
    half, gray = strands.hair_color(identity, replace(NO_DRIFT, dye=0.5, dye_color=blue))
    assert half == pytest.approx((np.array(grown) + blue) / 2) and gray == pytest.approx(0.4)
    assert strands.gray_share(identity, covered) == 0.8  # brows and beard are not dyed
    assert strands.gray_share(identity, replace(NO_DRIFT, gray=0.5)) == 1


def test_locks_lose_their_pigment_with_gray():
    base = np.array([0.10, 0.05, 0.02])
    dark, gray = (strands.lock_colors(np.random.default_rng(0), base, g, 500) for g in (0.0, 1.0))
    assert dark.mean(0) == pytest.approx(base, rel=0.1) and dark.std(0).min() > 0
    assert gray.mean(0) == pytest.approx(strands.GRAY, rel=0.15)
    assert min(dark.min(), gray.min()) >= 0 and max(dark.max(), gray.max()) <= 1
    middle = strands.lock_colors(np.random.default_rng(0), base, 0.5, 500)
    assert (dark.mean(0) < middle.mean(0)).all() and (middle.mean(0) < gray.mean(0)).all()


@pytest.mark.parametrize("style", HAIRY)
def test_hair_is_a_whole_mesh(model, style):
    for seed in range(3):
        identity, state, worn = draw(seed, hair_style=style, hair_length=float(HAIR_LENGTHS[style][seed % 2]))
        vertices = model.deform(identity, state, PASSPORT)
        mesh = hair_mesh(model, vertices, identity, state, worn)
        check_mesh(mesh)
        again = hair_mesh(model, vertices, identity, state, worn)
        assert (again.vertices == mesh.vertices).all() and (again.colors == mesh.colors).all()
        other = hair_mesh(model, vertices, identity, state, replace(worn, hair_seed=worn.hair_seed + 1))
        assert other.vertices.shape != mesh.vertices.shape or (other.colors != mesh.colors).any()


def test_a_bald_head_has_no_hair(model):
    assert hair_mesh(model, model.template, MEAN, NO_DRIFT, cut("bald")) is None


@pytest.mark.parametrize("style", WITH_LOCKS)
def test_locks_are_rooted_where_the_hairline_lets_hair_grow(model, style):
    identity = replace(MEAN, recession=8.0, hairline=4.0)
    rooted = combed(model, cut(style), identity)[:, 0]
    assert len(rooted) > 300
    azimuth = np.arctan2(rooted[:, 0], SCALP_CENTER[1] - rooted[:, 1])
    edge = hairline.height(azimuth, identity)
    assert (rooted[:, 2] > edge - 0.010).all()  # a cell of the grid, and the edge's raggedness
    assert np.percentile(rooted[:, 2] - edge, 2) > -0.004
    assert np.abs(above_skull(model, rooted, model.template)).max() < 0.005
    lowest = combed(model, cut(style), replace(MEAN, recession=16.0, hairline=12.0))[:, 0]
    front = (np.abs(rooted[:, 0]) < 0.03) & (rooted[:, 1] < 0.03)
    bare_front = (np.abs(lowest[:, 0]) < 0.03) & (lowest[:, 1] < 0.03)
    assert lowest[bare_front, 2].min() > rooted[front, 2].min() + 0.004


@pytest.mark.parametrize("style", WITH_LOCKS)
@pytest.mark.parametrize("seed", [0, 1])
def test_hair_stays_out_of_the_skull(model, style, seed):
    identity, worn = person(seed), cut(style, hair_seed=seed)
    vertices = model.deform(identity, NO_DRIFT, PASSPORT)
    points = combed(model, worn, identity, vertices).reshape(-1, 3)
    points = points[points[:, 2] > 0.03]  # lower down it hangs beside the face and the neck
    outside = above_skull(model, points, vertices)
    assert (outside > -0.004).mean() > 0.99
    assert outside.min() > -0.02 and outside.max() < 0.16


@pytest.mark.parametrize("style", ["crop", "bob", "long", "wavy", "ponytail"])
def test_longer_hair_is_longer(model, style):
    middle = float(np.mean(HAIR_LENGTHS[style]))
    shorter, longer = (locks(model, cut(style, hair_length=middle + mm)) for mm in (-10.0, 10.0))
    lengths = [np.linalg.norm(np.diff(paths, axis=1), axis=-1).sum(1) for paths in (shorter, longer)]
    assert np.mean(lengths[1]) > np.mean(lengths[0]) + 0.003  # meters
    if style != "crop":
        assert np.percentile(longer[..., 2], 1) < np.percentile(shorter[..., 2], 1) - 0.008


def test_volume_lifts_the_hair(model):
    flat, full = (
        hair_mesh(model, model.template, MEAN, NO_DRIFT, cut("side_part", hair_volume=v)).vertices[:, 2].max()
        for v in (0.0, 1.0)
    )
    assert full > flat + 0.005


def test_a_fringe_hangs_over_the_forehead_and_above_the_eyes(model):
    def on_forehead(amount):
        points = locks(model, cut("bob", fringe=amount)).reshape(-1, 3)
        return points[(np.abs(points[:, 0]) < 0.03) & (points[:, 1] < 0.0) & (points[:, 2] < 0.055)]

    assert len(on_forehead(0.0)) < 0.1 * len(on_forehead(0.8))
    assert len(on_forehead(0.8)) > 50 and on_forehead(0.8)[:, 2].min() > 0.0


def test_the_parting_moves_to_its_side(model):
    """Hair is parted where locks leave to both sides."""

    def parting(where):
        paths = locks(model, cut("long", parting=where))
        top = (paths[:, 0, 2] > 0.1) & (np.abs(paths[:, 0, 0]) < 0.06)
        left = paths[top, -1, 0] < paths[top, 0, 0]
        roots = paths[top, 0, 0]
        edges = np.linspace(-0.05, 0.05, 41)
        wrong = [(left & (roots > e)).sum() + (~left & (roots < e)).sum() for e in edges]
        return edges[int(np.argmin(wrong))]

    assert parting(-0.8) < -0.02 < 0.02 < parting(0.8)


@pytest.mark.parametrize("style", BEARDED)
def test_a_beard_is_a_whole_mesh_on_the_lower_face(model, style):
    for seed in range(2):
        identity = person(seed, beard_style=style)
        vertices = model.deform(identity, NO_DRIFT, PASSPORT)
        mesh = beard_mesh(model, vertices, identity, NO_DRIFT)
        check_mesh(mesh)
        nose_tip, mouth = vertices[model.landmarks[30]], vertices[model.landmarks[62]]
        assert mesh.vertices[:, 2].max() < nose_tip[2] + 0.03
        assert mesh.vertices[:, 1].max() < 0.12
        if style == "mustache":
            assert (mesh.vertices[:, 2] > mouth[2] - 0.012).mean() > 0.95
        beard._comb.cache_clear()
        again = beard_mesh(model, vertices, identity, NO_DRIFT)
        assert (again.vertices == mesh.vertices).all() and (again.colors == mesh.colors).all()


@pytest.mark.parametrize("style", BEARDED)
@pytest.mark.parametrize("mm", [11.0, 22.0])
def test_beards_are_as_long_as_they_are_said_to_be(model, style, mm):
    paths = beard_paths(model, style, beard_length=mm)
    lengths = np.linalg.norm(np.diff(paths, axis=1), axis=-1).sum(1)
    wanted = beard.LENGTH[style] * mm / 1000
    if style == "mustache":
        wanted = min(wanted, beard.MUSTACHE_LENGTH / 1000)
    # Locks vary from .7 to 1.15 of it, and in a goatee and a full beard some are a mustache's.
    assert 0.7 * wanted < np.median(lengths) < 1.3 * wanted
    assert lengths.min() > 0.3 * min(wanted, 0.009)


def beard_paths(model, style, **state):
    mesh = beard_mesh(model, model.template, person(beard_style=style), replace(NO_DRIFT, **state))
    return mesh.vertices.reshape(-1, beard.POINTS, 2, 3).mean(2)


def test_no_beard_and_a_beard_of_stubble_have_no_locks(model):
    cropped = replace(NO_DRIFT, beard_length=3.0)
    assert beard_mesh(model, model.template, person(beard_style="none"), NO_DRIFT) is None
    assert beard_mesh(model, model.template, person(beard_style="short"), cropped) is None


def test_a_beard_moves_with_the_jaw(model):
    identity = person(beard_style="full")
    closed, opened = (
        beard_mesh(model, model.deform(identity, NO_DRIFT, a), identity, NO_DRIFT).vertices
        for a in (PASSPORT, with_actions(jawOpen=1.0))
    )
    chin = model.landmarks[8]
    near = np.linalg.norm(closed - model.deform(identity, NO_DRIFT, PASSPORT)[chin], axis=1) < 0.02
    moved = opened - closed
    assert near.sum() > 50 and moved[near, 2].mean() < -0.008  # the chin goes down by about a centimeter
    jaw = model.deform(identity, NO_DRIFT, with_actions(jawOpen=1.0)) - model.deform(
        identity, NO_DRIFT, PASSPORT
    )
    assert np.abs(moved).max() < 1.5 * np.abs(jaw).max() and jaw[chin, 2] < -0.008
