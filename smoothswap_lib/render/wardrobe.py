"""TrueSwap's clothes and glasses: what belongs to the picture and not to the person.

A garment is the skin below a neckline, lifted off the body; glasses are tubes around the eyes. Depends on
head, traits.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.sparse import csr_array, identity, vstack

from smoothswap_lib.render.head import HeadModel, Mesh, join_meshes, smoothstep, unit, vertex_normals
from smoothswap_lib.world.traits import Attributes

THROAT = (0.04, -0.157)  # y and z of the crew neckline at the throat, on the template, meters
RISE = 0.3  # of a neckline toward the nape
NECK_AXIS, NECK_RADIUS = 0.1, 0.07  # y of the neck's middle; farther out than this there are shoulders
STRIPE = 0.013  # meters
FOLD = 0.0015  # meters, of soft folds below the collar
# Lift off the skin by depth below the neckline, both in mm: (depth, lift) knots, linear between. A hem begins
# inside the skin and comes out within 2.5 mm, so that it is as crisp as the neckline's formula.
PLAIN_LIFT = ((0, -4), (2.5, 4.5), (15, 4.5), (17, 3.5), (50, 8))
LIFTS = {
    "turtleneck": ((0, -4), (2.5, 5), (8, 7), (30, 8), (32.5, 4), (60, 8)),
    "collar": ((0, -4), (2.5, 4), (30, 12), (32.5, 5), (60, 8)),
    "tank": ((0, -4), (2.5, 3), (8, 3), (9.5, 2.5), (50, 5)),
}
# How deep (mm) the accent's color reaches.
ACCENT_DEPTH = {"crew": 15, "v_neck": 15, "collar": 32.5, "tank": 8, "stripes": 15}
TUBE_SIDES, RIM_POINTS, TEMPLE_POINTS, BRIDGE_POINTS = 6, 28, 8, 7
LENS_GAP = 0.011  # meters from the lids to the rims: room for lashes
CLEARANCE = 0.001  # meters between a frame and the skin
REACH = 0.0045  # meters around a frame's point in which skin counts as under it, about the mesh's spacing
MOST_FORWARD = 0.011  # meters a frame moves forward to clear cheeks and brows
LENS_COLOR = (0.012, 0.012, 0.014)


@dataclass(frozen=True)
class GlassesStyle:
    """Lengths in meters; `power` 2 is an ellipse, more is nearer to a rectangle."""

    half_width: float
    half_height: float
    power: float
    tube: float  # radius
    lower_rim: bool = True
    lenses: bool = False


GLASSES_STYLES = {
    "round": GlassesStyle(0.0215, 0.0205, 2.0, 0.0015),
    "square": GlassesStyle(0.0245, 0.0175, 4.0, 0.0019),
    "half_rim": GlassesStyle(0.0250, 0.0170, 3.0, 0.0018, lower_rim=False),
    "sunglasses": GlassesStyle(0.0265, 0.0210, 2.8, 0.0019, lenses=True),
}


@dataclass(frozen=True)
class _Pattern:
    """A garment's cut on the template, of P points that are weighted means of the model's vertices.

    A point on the border of two colors is two vertices of the mesh: N in all.
    """

    skin: np.ndarray  # (S, 3) triangles of the model under and around it
    weights: csr_array  # (P, V)
    triangles: np.ndarray  # (T, 3) of points
    lift: np.ndarray  # (P, 1) meters
    shade: np.ndarray  # (P, 1) factor of the color, of soft folds
    point: np.ndarray  # (N,) of each vertex
    accent: np.ndarray  # (N,) whether it has the accent's color
    colored_triangles: np.ndarray  # (T, 3) of vertices


def garment_mesh(model: HeadModel, vertices: np.ndarray, attributes: Attributes) -> Mesh:
    """The garment on deformed vertices (V, 3), with vertex colors."""
    cut = _pattern(model, attributes.garment)
    points = cut.weights @ vertices + cut.lift * (cut.weights @ vertex_normals(vertices, cut.skin))
    normals = vertex_normals(points, cut.triangles)
    colors = np.where(cut.accent[:, None], attributes.clothes_accent, attributes.clothes)
    return Mesh(
        points[cut.point],
        cut.colored_triangles,
        normals[cut.point],
        colors=np.clip(colors * cut.shade[cut.point], 0, 1),
    )


@lru_cache(maxsize=16)  # one a garment and model
def _pattern(model, garment) -> _Pattern:
    """Cut a garment out of the skin, along its neckline, its hems and the borders of its colors."""
    skin = model.triangles[model.part == model.part_names.index("skin")]
    template = model.template
    near = (_depth(template, garment)[skin] > -0.03).any(1) & model.seen[skin].any(1)
    skin = skin[near]
    weights, triangles = _subdivide(skin, len(template))
    points = weights @ template
    fields = np.stack([_depth(points, garment), _stripe_place(points)], 1)
    knots = np.array(LIFTS.get(garment, PLAIN_LIFT)) / 1000
    for depth in (*knots[:, 0], ACCENT_DEPTH.get(garment, 0) / 1000):
        weights, fields, triangles = _split(weights, fields, triangles, 0, depth)
    if garment == "stripes":
        for place in STRIPE * np.arange(1, fields[:, 1].max() // STRIPE + 1):
            weights, fields, triangles = _split(weights, fields, triangles, 1, place)
    triangles = triangles[fields[triangles, 0].mean(1) > 0]
    used, triangles = np.unique(triangles, return_inverse=True)
    triangles = triangles.reshape(-1, 3)
    weights, fields = weights[used], fields[used]
    points, depth = weights @ template, fields[:, 0]
    fold = np.sin(90 * points[:, 0] + 40 * points[:, 2]) * smoothstep(0.02, 0.05, depth)
    lift = np.interp(depth, *knots.T) + FOLD * fold
    accent = _is_accent(fields[triangles].mean(1), garment)
    corners, colored = np.unique(2 * triangles + accent[:, None], return_inverse=True)
    return _Pattern(
        skin, weights, triangles, lift[:, None], 1 + 0.08 * fold[:, None], corners // 2, corners % 2 == 1,
        colored.reshape(-1, 3),
    )  # fmt: skip


def _is_accent(fields, garment):
    """Which places (N, 2) of depth and of stripes have the accent's color, (N,) bool."""
    depth, place = fields.T
    stripe = (place / STRIPE % 2 < 1) if garment == "stripes" else False
    return (depth < ACCENT_DEPTH.get(garment, 0) / 1000) | stripe


def _stripe_place(points):
    """Level stripes that hang a little toward the arms: meters (N,) downward."""
    return -points[:, 2] + 0.2 * np.abs(points[:, 0])


def _depth(points, garment):
    """Meters (N,) below the neckline at template positions; negative where the skin is bare."""
    x, y, z = points.T
    side, front = np.abs(x), smoothstep(0.09, 0.06, y)
    line = THROAT[1] + RISE * (y - THROAT[0])
    shoulder = 0.8 * np.maximum(np.hypot(x, y - NECK_AXIS) - NECK_RADIUS, 0)
    if garment == "turtleneck":
        line = line + 0.018
    elif garment == "v_neck":
        line = line - 0.07 * front * np.clip(1 - side / 0.055, 0, 1)
        shoulder = shoulder * np.where(front > 0, smoothstep(0.03, 0.06, side), 1)
    elif garment == "collar":
        line = line + 0.012 - 0.05 * front * np.clip(1 - side / 0.032, 0, 1)
        shoulder = shoulder * np.where(front > 0, smoothstep(0.01, 0.035, side), 1)
    elif garment == "tank":
        inner = np.maximum(side - 0.062, line - 0.05 - z)
        below_head = line + 0.02 - z  # ears are as far from the middle as straps
        return np.minimum(np.minimum(inner, below_head), np.maximum(0.108 - side, -0.25 - z))
    return line - z + shoulder


def _subdivide(triangles, count):
    """Each triangle as four: (P, count) weights of the corners and the edges' middles, (4 T, 3) triangles."""
    a, b, c = triangles.T
    pairs = np.stack([(a, a), (b, b), (c, c), (a, b), (b, c), (c, a)]).transpose(2, 0, 1)  # (T, 6, 2)
    parents, index = np.unique(np.sort(pairs.reshape(-1, 2), 1), axis=0, return_inverse=True)
    rows = np.repeat(np.arange(len(parents)), 2)
    weights = csr_array((np.full(len(rows), 0.5), (rows, parents.ravel())), shape=(len(parents), count))
    index = index.reshape(-1, 6)
    return weights, index[:, [[0, 3, 5], [3, 1, 4], [5, 4, 2], [3, 4, 5]]].reshape(-1, 3)


def _split(weights, fields, triangles, column, level):
    """Cut the triangles that cross fields[:, column] == level, so that none crosses it any more."""
    above = fields[:, column] > level
    count = above[triangles].sum(1)
    crossing = (count == 1) | (count == 2)
    cut, kept = triangles[crossing], triangles[~crossing]
    lone = np.argmax(above[cut] == (count[crossing] == 1)[:, None], axis=1)
    a, b, c = (cut[np.arange(len(cut)), (lone + i) % 3] for i in range(3))
    edges = np.sort(np.concatenate([np.stack([a, b], 1), np.stack([a, c], 1)]), 1)
    edges, index = np.unique(edges, axis=0, return_inverse=True)
    ab, ac = len(fields) + index.reshape(2, -1)
    first, second = edges.T
    span = fields[second, column] - fields[first, column]
    share = (level - fields[first, column]) / span
    mean = vstack([identity(len(fields), format="csr"), _pair_weights(first, second, share, len(fields))])
    fields = mean @ fields
    fields[-len(edges) or len(fields) :, column] = level
    pieces = [np.stack(corners, 1) for corners in ((a, ab, ac), (ab, b, c), (ab, c, ac))]
    return csr_array(mean @ weights), fields, np.concatenate([kept, *pieces])


def _pair_weights(first, second, share, count):
    """(E, count) weights of points on edges, at `share` of the way from `first` to `second`."""
    rows = np.arange(len(first))
    data = np.concatenate([1 - share, share])
    return csr_array(
        (data, (np.concatenate([rows, rows]), np.concatenate([first, second]))), shape=(len(first), count)
    )


def glasses_meshes(model: HeadModel, vertices: np.ndarray, attributes: Attributes) -> dict[str, Mesh]:
    """{"frame": ..., "lenses": ...} on deformed vertices (V, 3); empty without glasses, lenses if dark."""
    if attributes.glasses == "none":
        return {}
    style, points = GLASSES_STYLES[attributes.glasses], vertices[model.landmarks]
    front_skin, side_skin = (vertices[chosen] for chosen in _skin_around_glasses(model))
    # Landmarks 36-41 belong to the eye at x < 0.
    eyes = points[36:42].mean(0), points[42:48].mean(0)
    rims = [_rim(eye, side, style) for eye, side in zip(eyes, (-1, 1))]
    shown = [rim if style.lower_rim else rim[: RIM_POINTS // 2 + 1] for rim in rims]
    lids = points[36:48, 1].min() - LENS_GAP
    room = _front_of(np.concatenate(shown), front_skin) - np.concatenate(shown)[:, 1]
    front = np.clip(room.min() - style.tube - CLEARANCE, lids - MOST_FORWARD, lids)
    for rim in rims:
        rim[:, 1] += front  # `shown` are views: they move too
    tubes = [_tube(rim, style.tube, closed=style.lower_rim) for rim in shown]
    for rim, side, ear in zip(rims, (-1, 1), (points[0], points[16])):
        tubes.append(_tube(_temple(rim, side, ear, side_skin), 0.8 * style.tube))
    tubes.append(_tube(_bridge(rims, style, front_skin), style.tube))
    frame = _painted(tubes, attributes.glasses_color)
    if not style.lenses:
        return {"frame": frame}
    return {"frame": frame, "lenses": _painted([_disk(rim) for rim in rims], LENS_COLOR)}


@lru_cache(maxsize=2)
def _skin_around_glasses(model):
    """Vertices of the face's front that rims and bridge may touch, and of its sides for the temples."""
    skin = model.vertices_of("skin")
    side, y, z = np.abs(model.template[skin, 0]), model.template[skin, 1], model.template[skin, 2]
    front = (side < 0.075) & (y < 0.045) & (z > -0.05) & (z < 0.045)
    sides = (side > 0.05) & (y < 0.075) & (z > -0.035) & (z < 0.035)
    return skin[front], skin[sides]


def _front_of(points, skin):
    """y (N,) of the foremost skin around each point, seen from the front; infinite where there is none."""
    near = ((points[:, None, [0, 2]] - skin[:, [0, 2]]) ** 2).sum(-1) < REACH**2  # (N, skin)
    return np.where(near, skin[:, 1], np.inf).min(1)


def _rim(eye, side, style):
    """Closed path (RIM_POINTS, 3), y from the frame's front: the upper half first, from the outer side."""
    angle = np.arange(RIM_POINTS) * 2 * np.pi / RIM_POINTS
    cos, sin = np.cos(angle), np.sin(angle)
    x = side * style.half_width * np.sign(cos) * np.abs(cos) ** (2 / style.power)
    z = style.half_height * np.sign(sin) * np.abs(sin) ** (2 / style.power)
    center = side * max(abs(eye[0]), style.half_width + 0.008)
    out = np.abs(center + x)
    y = 16 * np.maximum(out - 0.03, 0) ** 2 - 0.06 * z  # bent around the face, the top leans forward
    return np.stack([center + x, y, eye[2] - 0.002 + z], 1)


def _temple(rim, side, ear, skin):
    """Path (TEMPLE_POINTS, 3) from a rim's outer corner to the ear, outside the face's side."""
    start = rim[2]
    end = np.array([side * (abs(ear[0]) + 0.003), ear[1] + 0.012, start[2] - 0.004])
    along = np.linspace(0, 1, TEMPLE_POINTS)[:, None]
    path = start * (1 - along) + end * along
    own = skin[skin[:, 0] * side > 0]
    near = ((path[:, None, 1:] - own[:, 1:]) ** 2).sum(-1) < (1.5 * REACH) ** 2
    out = np.where(near, np.abs(own[:, 0]), 0).max(1) + 0.003
    path[1:, 0] = side * np.maximum(np.abs(path[1:, 0]), out[1:])
    return path


def _bridge(rims, style, skin):
    """Path (BRIDGE_POINTS, 3) between the rims, over the nose."""
    first, second = (rim[int(0.42 * RIM_POINTS)] for rim in rims)
    along = np.linspace(0, 1, BRIDGE_POINTS)[:, None]
    path = first * (1 - along) + second * along + np.sin(np.pi * along) * [0, -0.003, 0.003]
    path[1:-1, 1] = np.minimum(path[1:-1, 1], _front_of(path[1:-1], skin) - style.tube - CLEARANCE)
    return path


def _tube(path, radius, closed=False) -> Mesh:
    """A round tube along (K, 3) points."""
    ahead = np.roll(path, -1, 0) if closed else np.concatenate([path[1:], 2 * path[-1:] - path[-2:-1]])
    back = np.roll(path, 1, 0) if closed else np.concatenate([2 * path[:1] - path[1:2], path[:-1]])
    tangent = unit(ahead - back)
    # Rims and bridge lie across the view, temples along it.
    helper = [0.0, 1.0, 0.0] if np.abs(tangent[:, 1]).mean() < 0.7 else [0.0, 0.0, 1.0]
    first = unit(np.cross(tangent, helper))
    second = np.cross(tangent, first)
    angle = np.arange(TUBE_SIDES) * 2 * np.pi / TUBE_SIDES
    normals = np.cos(angle)[:, None] * first[:, None] + np.sin(angle)[:, None] * second[:, None]
    points = path[:, None] + radius * normals  # (K, sides, 3)
    return Mesh(points.reshape(-1, 3), _tube_triangles(len(path), closed), normals.reshape(-1, 3))


@lru_cache(maxsize=8)
def _tube_triangles(count, closed):
    i, j = np.meshgrid(np.arange(count - (not closed)), np.arange(TUBE_SIDES), indexing="ij")
    up, right = (i + 1) % count, (j + 1) % TUBE_SIDES
    a, b, c, d = (r * TUBE_SIDES + k for r, k in ((i, j), (i, right), (up, j), (up, right)))
    return np.concatenate([np.stack(corners, -1).reshape(-1, 3) for corners in ((a, b, c), (b, d, c))])


def _disk(rim) -> Mesh:
    """A dark lens that fills a rim and bulges a little."""
    points = np.concatenate([rim, rim.mean(0, keepdims=True) - [[0, 0.001, 0]]])
    number = np.arange(len(rim))
    triangles = np.stack([number, np.roll(number, -1), np.full(len(rim), len(rim))], 1)
    normals = unit(points - [rim[:, 0].mean(), 0.06, rim[:, 2].mean()])  # a shallow dome's: it has a glint
    return Mesh(points, triangles, normals)


def _painted(meshes, color) -> Mesh:
    mesh = join_meshes(meshes)
    mesh.colors = np.tile(np.clip(color, 0, 1), (len(mesh.vertices), 1))
    return mesh
