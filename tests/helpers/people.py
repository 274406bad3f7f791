"""What the tests of faces share: drawn people, a still picture, mirrors, and what every mesh must be."""

from dataclasses import replace

import numpy as np

from smoothswap_lib import world

SIZE, FEW = 64, 4  # of a picture: pixels, light paths
NO_DRIFT = world.State()
PASSPORT = world.neutral_attributes()
# 20 identities are the fewest that ten folds of verification pairs allow.
TINY = {"split": "test", "seed": 5, "identities": 20, "images": 1, "attributes": 2, "size": 16, "samples": 1}


def draw(seed, **changes):
    """Identity, state and attributes of one picture; a change goes to the first that knows its name."""
    rng = np.random.default_rng(seed)
    records = []
    for sample in (world.sample_identity, world.sample_state, world.sample_attributes):
        record = sample(rng)
        records.append(replace(record, **{n: changes.pop(n) for n in vars(record) if n in changes}))
    assert not changes, f"no record has {', '.join(changes)}"
    return tuple(records)


def person(seed=1, **changes):
    return draw(seed, **changes)[0]


def with_actions(**strengths):
    """The passport picture with an expression."""
    return replace(PASSPORT, actions=tuple(strengths.get(name, 0.0) for name in world.ACTIONS))


def rms(a, b):
    return np.sqrt(((a.astype(float) - b) ** 2).mean())


def check_mesh(mesh):
    """Finite, whole, with unit normals; what is carried along lies in its range."""
    count = len(mesh.vertices)
    assert mesh.vertices.shape == mesh.normals.shape == (count, 3)
    assert np.isfinite(mesh.vertices).all() and np.isfinite(mesh.normals).all()
    assert mesh.triangles.shape[1] == 3 and np.issubdtype(mesh.triangles.dtype, np.integer)
    assert mesh.triangles.min() >= 0 and mesh.triangles.max() < count
    used = np.unique(mesh.triangles)
    lengths = np.linalg.norm(mesh.normals[used], axis=1)
    # Where a fold or a collapsed ribbon leaves no area there is no normal.
    unit = np.abs(lengths - 1) < 1e-5
    assert unit.mean() > 0.99 and (unit | (lengths < 1 + 1e-5)).all()
    extra = mesh.uv if mesh.uv is not None else mesh.colors
    assert extra.shape == (count, 2 if mesh.uv is not None else 3)
    assert extra.min() >= 0 and extra.max() <= 1
    assert np.abs(mesh.vertices).max() < 0.6  # meters: a head, and what hangs from it
