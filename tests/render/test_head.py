"""The head's geometry against anny's own forward pass, mirrors and closed forms."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from people import NO_DRIFT, PASSPORT, check_mesh, person, with_actions

from smoothswap_lib import world
from smoothswap_lib.files import data_folder
from smoothswap_lib.render import head

REFERENCE = Path(__file__).resolve().parents[1] / "reference" / "head_vertices.npz"
NAMES = world.PAIRED_SHAPES + world.SINGLE_SHAPES
UNIT = st.floats(0, 1)
# Nothing is added to this one's shapes but LARGER_EYES.
MEAN = person(shape=(0.0,) * 97, asymmetry=(0.0,) * 31, gender=0.5, age=0.4, weight=0.5)
# What experiments/make_head_reference.py added to the drawn shapes: name, slope, of what, from where on.
ADDED = (
    ("head-age-incr", 0.7, "age", 0.3), ("head-fat-incr", 0.9, "weight", 0.5),
    ("neck-double-incr", 0.8, "weight", 0.5), ("cheek-volume-incr", 0.8, "weight", 0.5),
    ("eye-bag-incr", 0.6, "age", 0.4),
)  # fmt: skip


@pytest.fixture(scope="module")
def mirror(model):
    """The vertex on the other side of the face, for every vertex, found on the template."""
    flipped = model.template * [-1, 1, 1]
    distance = np.array([((model.template - point) ** 2).sum(1) for point in flipped])
    assert distance.min(1).max() < 1e-12  # 1 micrometer: the template is symmetric
    return distance.argmin(1)


@pytest.mark.parametrize("case", range(3))
def test_vertices_equal_those_of_the_package_they_come_from(model, case, monkeypatch):
    for name in ("BY_GENDER", "BY_AGE", "BY_WEIGHT", "LARGER_EYES"):
        monkeypatch.setattr(head, name, {})  # what today's head adds by itself
    with np.load(REFERENCE) as file:
        reference = {name: file[name] for name in file.files}
    told = dict(zip(reference["shape_names"], reference["shape"][case]))
    asymmetry = dict(zip(reference["shape_names"], reference["asymmetry"][case]))
    actions = dict(zip(reference["action_names"], reference["actions"][case]))
    phenotype = {name: float(reference[name][case]) for name in ("gender", "age", "weight")}
    for name, slope, of, middle in ADDED:
        told[name] += slope * (phenotype[of] - middle)
    identity = person(
        **phenotype,
        shape=tuple(told[name] for name in NAMES),
        asymmetry=tuple(asymmetry[name] for name in world.PAIRED_SHAPES),
    )
    ours = model.deform(identity, NO_DRIFT, with_actions(**actions))[reference["chosen"]]
    moved = np.abs(reference["vertices"][case] - model.template[reference["chosen"]]).max()
    assert moved > 0.015  # meters: the faces differ by centimeters ...
    # ... and agree to .02 mm, float16's rounding
    assert np.abs(ours - reference["vertices"][case]).max() < 2e-5


def test_the_file_knows_every_name_and_no_other(model):
    sides = [f"{side}-{name}" for side in "lr" for name in world.PAIRED_SHAPES]
    assert set(model.shape_index) == {*sides, *world.SINGLE_SHAPES}
    assert set(model.action_index) == set(world.ACTIONS)
    assert (data_folder() / "head_model.npz").stat().st_size < 8e6


@settings(max_examples=25, deadline=None)
@given(gender=UNIT, age=UNIT, weight=UNIT)
def test_phenotypes_interpolate_linearly_in_each_axis(model, gender, age, weight):
    def hat(value, places):
        return np.maximum(1 - np.abs(value - np.array(places)) / (places[1] - places[0]), 0)

    weights = [hat(gender, [0, 1]), hat(age, [0, 1]), hat(weight, [0, 0.5, 1])]
    assert all(w.sum() == pytest.approx(1) for w in weights)
    expected = np.einsum("g,a,w,gawvc->vc", *weights, model.corners)
    assert np.abs(model._phenotype(gender, age, weight) - expected).max() < 1e-12


def test_expressions_are_sums_of_displacements(model):
    identity = person()
    still = model.deform(identity, NO_DRIFT, PASSPORT)
    smile = {"mouthSmileLeft": 0.7, "mouthSmileRight": 0.4}
    both = model.deform(identity, NO_DRIFT, with_actions(jawOpen=0.5, **smile)) - still
    jaw, lips = (model.deform(identity, NO_DRIFT, with_actions(**a)) - still for a in ({"jawOpen": 1}, smile))
    assert np.abs(both - 0.5 * jaw - lips).max() < 1e-12
    assert np.abs(jaw).max() > 0.01  # meters
    chin = model.landmarks[8]
    assert jaw[chin, 2] < -0.008  # the chin goes down


def test_local_shapes_differ_in_sign_and_scale(model):
    still = model.deform(MEAN, NO_DRIFT, PASSPORT)
    position = NAMES.index("chin-width-incr")

    def change(amount):
        shape = tuple(amount * (i == position) for i in range(97))
        return model.deform(replace(MEAN, shape=shape), NO_DRIFT, PASSPORT) - still

    assert np.abs(change(1.0)).max() > 0.002
    assert np.abs(change(0.5) - 0.5 * change(1.0)).max() < 1e-12
    assert np.abs(change(3.0) - change(1.0)).max() == 0  # shapes end at 1
    wider, narrower = (change(sign)[:, 0] * np.sign(still[:, 0]) for sign in (1.0, -1.0))
    assert wider.sum() > 0 > narrower.sum()


def test_gender_age_and_weight_are_seen_in_the_face(model):
    """Millimeters of what a camera sees from the front, from one end of each axis to the other."""

    def measured(**ends):
        points = 1000 * model.deform(replace(MEAN, **ends), NO_DRIFT, PASSPORT)[model.landmarks]
        jaw, nose = points[12, 0] - points[4, 0], points[35, 0] - points[31, 0]
        return {"jaw": jaw, "nose": nose, "lips": np.ptp(points[48:60, 2])}

    masculine, feminine = (measured(gender=g) for g in (0.05, 0.95))
    assert masculine["jaw"] > feminine["jaw"] + 5 and masculine["nose"] > feminine["nose"] + 2
    slim, heavy = (measured(weight=w) for w in (0.05, 0.95))
    assert heavy["jaw"] > slim["jaw"] + 10
    young, old = (measured(age=a) for a in (0.05, 0.95))
    assert old["lips"] < young["lips"] - 1


def test_the_state_adds_to_the_identity(model):
    identity = person(age=0.4, weight=0.5)
    older = model.deform(identity, replace(NO_DRIFT, age=0.15, weight=-0.2), PASSPORT)
    assert (older == model.deform(replace(identity, age=0.55, weight=0.3), NO_DRIFT, PASSPORT)).all()
    most = model.deform(identity, replace(NO_DRIFT, age=5.0, weight=5.0), PASSPORT)
    assert (most == model.deform(replace(identity, age=1.0, weight=1.0), NO_DRIFT, PASSPORT)).all()


@pytest.mark.parametrize("seed", range(4))
def test_tied_shapes_make_symmetric_faces(model, mirror, seed):
    vertices = model.deform(person(seed, asymmetry=(0.0,) * 31), NO_DRIFT, PASSPORT)
    # meters; the shapes are not exact mirrors
    assert np.abs(vertices[mirror] * [-1, 1, 1] - vertices).max() < 2e-4


def test_asymmetry_and_expressions_have_mirror_images(model, mirror):
    identity = person(asymmetry=tuple(np.random.default_rng(0).normal(0, 0.3, 31)))
    wink = with_actions(eyeBlinkLeft=1.0, mouthLeft=0.5)
    other = with_actions(eyeBlinkRight=1.0, mouthRight=0.5)
    mirrored = replace(identity, asymmetry=tuple(-a for a in identity.asymmetry))
    one, two = model.deform(identity, NO_DRIFT, wink), model.deform(mirrored, NO_DRIFT, other)
    assert np.abs(one[mirror] * [-1, 1, 1] - one).max() > 3e-3
    assert np.abs(one[mirror] * [-1, 1, 1] - two).max() < 3e-4


def test_landmarks_lie_in_ibug_order(model):
    x, y, z = model.template[model.landmarks].T
    assert y.max() < 0.05 and y[17:].max() < 0.02  # meters: none at the back of the head
    assert (np.diff(x[:17]) > 0).all()  # the jaw from the image's left to its right
    assert z[8] == z[:17].min() and abs(x[8]) < 1e-3
    assert (np.diff(x[17:22]) > 0).all() and (np.diff(x[22:27]) > 0).all()
    assert z[17:27].min() > z[36:48].max()  # brows above eyes
    assert x[36] < x[39] < x[42] < x[45]
    assert x[48] < x[51] < x[54] and z[57] < z[51]
    assert z[48:68].max() < z[30] < z[27]
    pairs = [(0, 16), (4, 12), (17, 26), (21, 22), (36, 45), (39, 42), (31, 35), (48, 54), (60, 64), (50, 52)]
    for left, right in pairs:
        assert x[left] == pytest.approx(-x[right], abs=1e-6) and z[left] == pytest.approx(z[right], abs=1e-6)


def test_the_head_turns_as_one_piece_and_the_shoulders_follow_in_part(model):
    top = model.template[model.template[:, 2] > -0.1]
    pose = replace(PASSPORT, yaw=30.0, pitch=-12.0, roll=7.0)
    turned = head.turn(top, pose)
    chosen = np.random.default_rng(0).integers(0, len(top), (200, 2))
    before, after = (np.linalg.norm(p[chosen[:, 0]] - p[chosen[:, 1]], axis=1) for p in (top, turned))
    assert np.abs(before - after).max() < 1e-12
    assert np.abs(head.turn(top, PASSPORT) - top).max() < 1e-12
    nose = model.template[model.landmarks[30]][None]
    assert head.turn(nose, replace(PASSPORT, yaw=20.0))[0, 0] > nose[0, 0] + 0.02  # toward the image's right
    assert head.turn(nose, replace(PASSPORT, pitch=15.0))[0, 2] > nose[0, 2] + 0.02  # up
    crown = np.array([[0.0, 0.05, 0.1]])
    assert head.turn(crown, replace(PASSPORT, roll=10.0))[0, 0] > 0.02
    shoulder = np.array([[0.2, 0.1, -0.26]])
    angle = np.arctan2(
        *(head.turn(shoulder, replace(PASSPORT, yaw=30.0)) - head.PIVOT)[0, [1, 0]]
    ) - np.arctan2(*(shoulder - head.PIVOT)[0, [1, 0]])
    assert np.rad2deg(angle) == pytest.approx(head.SHOULDERS_FOLLOW * 30, abs=0.5)


def test_normals_are_unit_and_point_outward(model):
    skin = model.triangles[model.part == 0]
    normals = head.vertex_normals(model.template, skin)[np.unique(skin)]
    assert np.linalg.norm(normals, axis=1) == pytest.approx(np.ones(len(normals)))
    crown = model.template[np.unique(skin)][:, 2] > 0.05
    outward = model.template[np.unique(skin)][crown] - head.SCALP_CENTER
    assert ((normals[crown] * outward).sum(1) > 0).mean() > 0.97


@pytest.mark.parametrize("seed", range(3))
def test_meshes_are_finite_and_whole(model, seed):
    vertices = model.deform(person(seed), NO_DRIFT, PASSPORT)
    mesh = head.head_mesh(model, vertices, ["skin"])
    check_mesh(mesh)
    assert len(mesh.uv) == len(mesh.vertices)
    # What lies deeper or farther to a side than any picture shows is left out.
    assert 0.2 < np.ptp(mesh.vertices[:, 2]) < 0.6 and len(mesh.triangles) < (model.part == 0).sum()


@pytest.mark.parametrize("damage", ["cut", "not an archive", "flipped"])
def test_a_damaged_file_is_named(tmp_path, damage):
    whole = (data_folder() / "head_model.npz").read_bytes()
    flipped = bytes(byte ^ 255 for byte in whole[50_000:51_000])
    damaged = {
        "cut": whole[:100_000],
        "not an archive": b"hello",
        "flipped": whole[:50_000] + flipped + whole[51_000:],
    }
    path = tmp_path / "head_model.npz"
    path.write_bytes(damaged[damage])
    with pytest.raises(ValueError, match="head_model.npz is damaged"):
        head.HeadModel(path)
