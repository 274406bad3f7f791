"""TrueSwap's eyes, lashes, teeth and tongue, with vertex colors.

An eyeball is a sphere whose rings lie around the gaze, so that pupil and iris have sharp borders wherever it
looks. Depends on head, strands, traits.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from smoothswap_lib.render.head import HeadModel, Mesh, head_mesh, smoothstep, vertex_normals
from smoothswap_lib.render.strands import ribbons
from smoothswap_lib.world.traits import Attributes, Identity

# Radians from the gaze, seen from the eyeball's center.
PUPIL, IRIS, LIMBUS = 0.18, 0.39, 0.48
RINGS = np.array([0.0, 0.09, 0.15, 0.17, 0.23, 0.29, 0.34, 0.38, 0.41, 0.44, 0.48, 0.6, 0.8, 1.05, 1.35, 1.7])
SEGMENTS = 28
SHRINK = 0.985  # of the lids' own sphere, so that closed lids cover it
CORNEA = 0.035  # share of the radius by which the cornea stands out
SCLERA = np.array([0.66, 0.63, 0.60])
SCLERA_EDGE = np.array([0.50, 0.40, 0.38])  # toward the corners
GUMS, TOOTH, TONGUE = np.array([0.35, 0.10, 0.09]), np.array([0.80, 0.76, 0.66]), (0.33, 0.10, 0.09)
# Meters: MakeHuman's upper teeth stand 12 mm behind the lips, where no light comes. The lower ones have no
# room: moved as well, they come through the chin of a wide smile.
UPPER_TEETH_SHIFT = np.array([0.0, 0.0, -0.002])
LASHES = ("helper-l-eyelashes-2", "helper-r-eyelashes-2")  # the upper ones
LASH_SLICES = 10  # of a lash strip: each gives one way from lid to tip
LASH_COUNT, LASH_WIDTH, LASH_SHARE = 34, 0.0006, 0.75  # an eye's, meters, share of the strip's depth
LASH_FACING = np.array([0.0, -1.0, 0.4])


def eye_meshes(
    model: HeadModel, vertices: np.ndarray, identity: Identity, attributes: Attributes
) -> Iterator[tuple[str, Mesh, str]]:
    """(name, mesh, kind of material) of both eyes, lashes, teeth and tongue on deformed vertices (V, 3)."""
    for side, members in zip("lr", model.eye_vertices):
        yield f"eye_{side}", _eyeball(vertices[members], identity, attributes), "eye"
    lash = np.array(identity.hair) * 0.3
    yield "lashes", _lashes(model, vertices, lash), "lash"
    yield "teeth", _teeth(model, vertices), "teeth"
    yield "tongue", _plain(head_mesh(model, vertices, ["helper-tongue"]), TONGUE), "tongue"


def _eyeball(points, identity, attributes) -> Mesh:
    center = points.mean(0)
    radius = SHRINK * np.median(np.linalg.norm(points - center, axis=1))
    yaw, pitch = np.deg2rad([attributes.gaze_x, attributes.gaze_y])
    gaze = np.array([np.sin(yaw) * np.cos(pitch), -np.cos(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    up = np.cross(right, -gaze)
    around = np.arange(SEGMENTS) * 2 * np.pi / SEGMENTS
    ring, turn = np.meshgrid(RINGS, around, indexing="ij")
    flat = np.cos(turn)[..., None] * right + np.sin(turn)[..., None] * up
    directions = np.cos(ring)[..., None] * gaze + np.sin(ring)[..., None] * flat  # (rings, segments, 3)
    bulge = 1 + CORNEA * np.cos(np.minimum(ring / LIMBUS, 1) * np.pi / 2) ** 2
    vertices = (center + radius * bulge[..., None] * directions).reshape(-1, 3)
    triangles = _ring_triangles(len(RINGS), SEGMENTS)
    colors = _eye_colors(ring, turn, directions, identity)
    return Mesh(vertices, triangles, vertex_normals(vertices, triangles), colors=colors.reshape(-1, 3))


def _eye_colors(ring, turn, directions, identity):
    rng = np.random.default_rng(identity.skin_seed)
    iris = np.array(identity.iris)
    rays = 1 + 0.18 * np.cos(7 * turn + rng.uniform(0, 6)) + 0.12 * np.cos(13 * turn + rng.uniform(0, 6))
    lighter = 0.55 + 0.5 * smoothstep(IRIS, PUPIL, ring)  # a light wreath around the pupil
    colors = iris * (rays * lighter)[..., None]
    colors = np.where((ring > IRIS)[..., None], iris * 0.2, colors)  # the dark rim
    corner = smoothstep(0.7, 1.4, ring)[..., None]
    lid_shadow = 1 - 0.25 * smoothstep(0.1, 0.6, directions[..., 2:])
    white = (SCLERA * (1 - corner) + SCLERA_EDGE * corner) * lid_shadow
    colors = np.where((ring > LIMBUS + 1e-9)[..., None], white, colors)
    return np.where((ring < PUPIL)[..., None], 0.004, colors)


def _teeth(model, vertices) -> Mesh:
    """Lighter in front, darker toward the back and the gums."""
    mesh = head_mesh(model, vertices, ["helper-upper-teeth", "helper-lower-teeth"])
    y, z = mesh.vertices[:, 1], mesh.vertices[:, 2]
    upper = z > (z.min() + z.max()) / 2
    gum = np.where(upper, z - z[upper].min(), z[~upper].max() - z)
    front = smoothstep(0.025, -0.01, y - y.min() - 0.012)[:, None]
    share = smoothstep(0.010, 0.016, gum)[:, None]
    colors = (TOOTH * (1 - share) + GUMS * share) * (0.25 + 0.75 * front)
    moved = mesh.vertices + upper[:, None] * UPPER_TEETH_SHIFT
    return Mesh(moved, mesh.triangles, mesh.normals, colors=colors)


def _lashes(model, vertices, color) -> Mesh:
    """Single lashes where MakeHuman has a closed strip, which would show as a black bar."""
    ways = vertices[_lash_ways(model)]  # (eye, slices, root and tip, 3)
    place = np.linspace(0, LASH_SLICES - 1, LASH_COUNT)
    low = np.minimum(place.astype(int), LASH_SLICES - 2)
    part = (place - low)[:, None, None]
    ways = (ways[:, low] * (1 - part) + ways[:, low + 1] * part).reshape(-1, 2, 3)
    # Every other lash is shorter, so that the tips do not form a second line.
    lengths = np.tile([LASH_SHARE, 0.7 * LASH_SHARE], LASH_COUNT)[:, None]
    root, reach = ways[:, 0], (ways[:, 1] - ways[:, 0]) * lengths
    bend = np.array([0.0, 0.0, -0.15]) * np.linalg.norm(reach, axis=1, keepdims=True)
    paths = np.stack([root, root + 0.5 * reach + bend, root + reach], 1)  # curled up: it sags in the middle
    widths = LASH_WIDTH * np.tile([1.0, 0.8, 0.1], (len(paths), 1))
    return ribbons(paths, widths, np.tile(LASH_FACING, (len(paths), 1)), np.tile(color, (len(paths), 1)))


@lru_cache(maxsize=2)
def _lash_ways(model) -> np.ndarray:
    """(eye, slices, 2) vertices: in each slice of a lash strip the nearest to the eye and the farthest."""
    ways = []
    for name, eye in zip(LASHES, model.eye_vertices):
        strip = model.vertices_of(name)
        x = np.abs(model.template[strip, 0])
        away = np.linalg.norm(model.template[strip] - model.template[eye].mean(0), axis=1)
        slices = np.array_split(np.argsort(x), LASH_SLICES)
        ways.append([(strip[s[away[s].argmin()]], strip[s[away[s].argmax()]]) for s in slices])
    return np.array(ways)


def _plain(mesh, color) -> Mesh:
    colors = np.tile(np.asarray(color, float), (len(mesh.vertices), 1))
    return Mesh(mesh.vertices, mesh.triangles, mesh.normals, colors=colors)


def _ring_triangles(rings, segments):
    i, j = np.meshgrid(np.arange(rings - 1), np.arange(segments), indexing="ij")
    right = (j + 1) % segments
    a, b, c, d = i * segments + j, i * segments + right, (i + 1) * segments + j, (i + 1) * segments + right
    return np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
