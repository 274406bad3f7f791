"""TrueSwap's hair: a cap over the skull, and locks that are combed over it and hang, in twelve styles.

The cap hides the skin between the locks; the locks make the outline and the texture. Depends on hairline,
head, strands.
"""

from dataclasses import dataclass

import numpy as np

from smoothswap_lib.render.hairline import scalp_cover
from smoothswap_lib.render.head import (
    SCALP_CENTER,
    HeadModel,
    Mesh,
    join_meshes,
    smoothstep,
    unit,
    vertex_normals,
)
from smoothswap_lib.render.strands import curl, hair_color, lock_colors, ribbons
from smoothswap_lib.world.traits import Attributes, Identity, State

POINTS = 7  # of a lock's path
LOWEST = -50.0  # degrees, the last row of the exported scalp
LOWEST_CAP = -0.075  # meters
ROOT_COVER = 0.4  # hair is rooted where it covers the skin at least this densely
SHORTEST = 2.0  # mm, right from the barber
CROWN = np.array([0.0, 0.135, 0.105])  # meters: the whorl that short hair grows away from
TIE = np.array([0.0, 0.165, 0.065])  # where a bun or a tail is tied
DOWN = np.array([0.0, 0.0, -1.0])
TEMPLE = 0.075  # meters from the middle: hair that is no fringe hangs beside the face from here on
NECK = 0.052  # meters from the neck's axis that hanging hair keeps
BACK_OF_CHEEK = 0.018  # meters behind the eyes' middle, where hair beside the face hangs
CLEAR_OF_EYES = 0.030  # meters above the eyes: what is combed forward ends about here
HEAVIEST = 20.0  # pull of gravity on a long lock, against the comb's 1
CAP_SHADE = 0.75  # what lies under the locks gets less light than rendering without bounces gives it
ROOT_SHADE = 0.7


@dataclass(frozen=True)
class Style:
    """How one style is combed. Lengths in mm."""

    flow: str  # a name of FLOWS
    locks: int
    width: float
    least_depth: float  # how far the outermost hair lies off the skull, at hair_volume 0
    most_depth: float  # and at 1
    lift: float  # how steeply a lock leaves the skin: 0 along it, 1 straight up
    weight: float  # how soon gravity takes over from the comb
    radius: float = 0.0  # of curls, at hair_curl 1
    turns: float = 0.0


STYLES = {
    "buzz": Style("crown", 0, 3.0, 1.5, 3.0, 0.6, 0.0),
    "crop": Style("crown", 900, 4.0, 6, 14, 0.45, 0.1),
    "side_part": Style("part", 800, 5.5, 9, 20, 0.3, 0.35),
    "slick": Style("back", 700, 6.0, 4, 10, 0.1, 0.05),
    "quiff": Style("quiff", 800, 5.5, 8, 16, 0.35, 0.0),
    "curls": Style("crown", 800, 5.0, 18, 32, 0.7, 0.55, 11.0, 2.6),
    "afro": Style("up", 1300, 10.0, 18, 36, 0.8, 0.0, 9.0, 3.5),
    "bob": Style("part", 650, 8.0, 10, 20, 0.15, 0.6, 4.0, 0.8),
    "long": Style("part", 650, 9.0, 8, 18, 0.12, 0.6, 6.0, 1.2),
    "wavy": Style("part", 650, 9.0, 12, 26, 0.2, 0.6, 15.0, 2.5),
    "bun": Style("tie", 650, 6.0, 3, 9, 0.1, 0.0),
    "ponytail": Style("tie", 650, 6.0, 3, 9, 0.1, 0.0),
}
CLINGING = ("tie", "back")  # flows that hold the hair on the skull all the way
BESIDE_FACE = ("bob", "long", "wavy")  # styles that hang lower than the eyes
SHORT_SIDES = {"quiff": 0.35, "side_part": 0.4}  # length at the ears, as a share of the top's


@dataclass(frozen=True)
class _Roots:
    """Where the locks of one identity are rooted, and what chance decided about each."""

    cells: np.ndarray  # (N, 2) lower corner in the grid of `HeadModel.scalp`
    inside: np.ndarray  # (N, 2) place in that cell, 0 to 1
    layer: np.ndarray  # (N,) 0 = next to the skin, 1 = outermost
    length: np.ndarray  # (N,) factor
    stray: np.ndarray  # (N, 3) what the comb missed
    phase: np.ndarray  # (N,) radians, of curls
    colors: np.ndarray  # (N, 3)
    cap_cover: np.ndarray  # (A, E) of the grid's points
    cap_colors: np.ndarray  # (A, E, 3)
    cap_triangles: np.ndarray  # (T, 3) of the flattened grid


def hair_mesh(
    model: HeadModel, vertices: np.ndarray, identity: Identity, state: State, attributes: Attributes
) -> Mesh | None:
    """Cap and locks on deformed vertices (V, 3), with vertex colors; None for a bald head."""
    if attributes.hair_style == "bald":
        return None
    style = STYLES[attributes.hair_style]
    color, gray = hair_color(identity, state)
    roots = _roots(model, identity, attributes, color, gray)
    scalp = model.scalp(vertices)  # (A, E, 3)
    depth = _depth(style, attributes)
    meshes = [_cap(scalp, roots, style, depth)]
    points = _at(scalp, roots)
    if len(points):
        paths, facing = _comb(scalp, points, roots, style, attributes, depth)
        meshes.append(_locks(paths, facing, roots, style))
    if attributes.hair_style in ("bun", "ponytail"):
        meshes.append(_tied(attributes, color, gray))
    return join_meshes(meshes)


def _depth(style, attributes) -> float:
    """Meters from the skull to the outermost hair."""
    depth = style.least_depth + (style.most_depth - style.least_depth) * attributes.hair_volume
    if style.flow == "up":  # an afro is as deep as it is long
        depth = 0.55 * attributes.hair_length
    return max(depth, SHORTEST) / 1000


def _roots(model, identity, attributes, color, gray) -> _Roots:
    style, rng = STYLES[attributes.hair_style], np.random.default_rng(attributes.hair_seed)
    grid = model.scalp(model.template)
    cover = scalp_cover(grid.reshape(-1, 3), identity, attributes).reshape(grid.shape[:2])
    # Uniform over the skull: the cells at the crown are narrow.
    azimuths, elevations = grid.shape[0] - 1, grid.shape[1] - 1
    lowest = np.deg2rad(LOWEST)
    elevation = np.arcsin(rng.uniform(np.sin(lowest), 1, 6 * style.locks))
    at = np.stack(
        [
            rng.uniform(0, azimuths, len(elevation)),
            (np.pi / 2 - elevation) / (np.pi / 2 - lowest) * elevations,
        ],
        1,
    )
    cells = np.minimum(at.astype(int), [azimuths - 1, elevations - 1])
    rooted = cover[cells[:, 0], cells[:, 1]] > ROOT_COVER
    cells, inside = cells[rooted][: style.locks], (at - cells)[rooted][: style.locks]
    count = len(cells)
    shade = lock_colors(rng, color, gray, cover.size).reshape(*cover.shape, 3)
    shade[-1] = shade[0]  # the grid's seam
    triangles = _grid_triangles(*cover.shape)
    # The lowest rays meet the shoulders, far from the nape.
    kept = (cover.ravel()[triangles] > 0.02).any(1) & (grid.reshape(-1, 3)[triangles, 2] > LOWEST_CAP).all(1)
    triangles = triangles[kept]
    return _Roots(
        cells=cells,
        inside=inside,
        layer=rng.uniform(0, 1, count) ** 0.7,
        length=rng.uniform(0.75, 1.1, count),
        stray=rng.normal(0, 1, (count, 3)),
        phase=rng.uniform(0, 2 * np.pi, count),
        colors=lock_colors(rng, color, gray, count),
        cap_cover=cover,
        cap_colors=CAP_SHADE * shade,
        cap_triangles=triangles,
    )


def _at(grid, roots):
    """Values (N, 3) of a grid (A, E, 3) at the roots, between its points."""
    (a, e), (u, v) = roots.cells.T, roots.inside.T[..., None]
    low = grid[a, e] * (1 - v) + grid[a, e + 1] * v
    high = grid[a + 1, e] * (1 - v) + grid[a + 1, e + 1] * v
    return low * (1 - u) + high * u


def _cap(scalp, roots, style, depth) -> Mesh:
    """The skull's surface lifted where hair grows and sunk into the skin where none does."""
    out = unit(scalp - SCALP_CENTER)
    inside = smoothstep(0.15, 0.8, roots.cap_cover)
    share = 0.85 if style.flow == "up" else 0.45
    lifted = scalp + out * (share * depth * inside - 0.006 * (1 - inside))[..., None]
    points = lifted.reshape(-1, 3)
    normals = vertex_normals(points, roots.cap_triangles)
    return Mesh(points, roots.cap_triangles, normals, colors=roots.cap_colors.reshape(-1, 3))


def _comb(scalp, points, roots, style, attributes, depth):
    """Paths (N, POINTS, 3) of the locks, root first, and the way (N, POINTS, 3) their broad side looks."""
    out = unit(points - SCALP_CENTER)
    flow = FLOWS[style.flow](points, out, attributes) + 0.12 * roots.stray
    length = _lengths(points, out, roots, attributes)
    fringe = _is_fringe(out, roots, attributes)
    if style.flow in ("crown", "up"):
        front = (out[:, 1] < -0.3) & (np.abs(points[:, 0]) < 0.065)
        reach = np.maximum(1.4 * (points[:, 2] - CLEAR_OF_EYES), 0.012) * (0.8 + 0.4 * roots.layer)
        length = np.where(front, np.minimum(length, reach), length)
    flow = np.where(fringe[:, None], np.array([0.0, -1.0, -0.6]) + 0.25 * roots.stray, flow)
    length = np.where(fringe, np.minimum(length, _fringe_length(points, roots, attributes)), length)
    clearance = depth * (0.25 + 0.75 * roots.layer)
    radius = _radius(scalp)
    step = length / (POINTS - 1)
    position = points + 0.001 * out
    paths = [position]
    for number in range(1, POINTS):
        along = number / (POINTS - 1)
        out = unit(position - SCALP_CENTER)
        if style.flow == "tie":  # the way to it changes as the lock gets there
            flow = TIE + 0.012 * roots.stray - position
        tangent = unit(flow - (flow * out).sum(1, keepdims=True) * out)
        rise = style.lift * max(1 - along, 0 if style.flow != "up" else 1)
        direction = (1 - rise) * tangent + rise * out
        pull = np.minimum(style.weight * 3 * along * (length / 0.06), HEAVIEST)[:, None]
        position = position + step[:, None] * unit(direction + pull * DOWN)
        grown = np.minimum(along * 3, 1)
        position = _outside(position, radius, clearance * grown, cling=style.flow in CLINGING)
        if attributes.hair_style in BESIDE_FACE:
            position = np.where(fringe[:, None], position, _beside_face(position, roots))
        paths.append(position)
    paths = np.stack(paths, 1)
    facing = unit(paths - SCALP_CENTER)
    hanging = smoothstep(-0.02, -0.08, paths[..., 2:])
    facing = unit(facing - hanging * facing * [0, 0, 1])
    if style.turns:
        amount = 0.35 + 0.65 * attributes.hair_curl
        turns = style.turns * roots.length * np.sqrt(length / np.median(length))
        paths = curl(paths, facing, style.radius / 1000 * amount, turns, roots.phase)
    return paths, facing


def _lengths(points, out, roots, attributes):
    """Meters (N,) of each lock."""
    length = max(attributes.hair_length, SHORTEST)
    share = SHORT_SIDES.get(attributes.hair_style)
    factor = roots.length
    if share:
        factor = factor * (share + (1 - share) * smoothstep(0.25, 0.65, out[:, 2]))
    if attributes.hair_style in ("bun", "ponytail"):  # combed to the tie, whatever is behind it
        return np.linalg.norm(points - TIE, axis=1) * 1.1
    return length * factor / 1000


def _is_fringe(out, roots, attributes):
    """Which locks (N,) hang over the forehead."""
    if attributes.hair_style not in ("bob", "long", "wavy", "crop", "curls", "side_part"):
        return np.zeros(len(out), bool)
    front = (out[:, 1] < -0.45) & (np.abs(out[:, 0]) < 0.62) & (out[:, 2] < 0.9)
    return front & (attributes.fringe > 0.15) & (roots.layer > 0.3)


def _fringe_length(points, roots, attributes):
    """Meters (N,): down to the brows at the most, ragged."""
    end = CLEAR_OF_EYES - 0.012 * attributes.fringe
    return np.maximum(1.15 * (points[:, 2] - end), 0.015) * roots.length


def _from_crown(points, out, attributes):
    away = points - CROWN
    return unit(away) + np.array([0.15 * np.sign(attributes.parting), -0.1, -0.1])


def _from_part(points, out, attributes):
    """To both sides of the parting, a little backward, so that the forehead stays free."""
    line = 0.042 * attributes.parting
    side = np.tanh((points[:, 0] - line) / 0.006)
    back = 0.35 + 0.5 * smoothstep(-0.3, -0.8, out[:, 1])
    return np.stack([side, back, -0.4 * np.abs(side)], 1)


def _backward(points, out, attributes):
    return np.stack([0.1 * out[:, 0], np.ones(len(out)), 0.15 - 0.5 * (1 - np.abs(out[:, 2]))], 1)


def _quiff(points, out, attributes):
    """Up and back at the front, down at the sides."""
    front = (smoothstep(-0.1, -0.7, out[:, 1]) * smoothstep(0.2, 0.6, out[:, 2]))[:, None]
    up = np.array([0.3 * attributes.parting, 0.5, 1.3]) + 0.5 * out
    side = np.stack([0.2 * out[:, 0], 0.7 * np.ones(len(out)), -0.8 * (1 - out[:, 2])], 1)
    return front * up + (1 - front) * side


def _upward(points, out, attributes):
    return out


def _to_tie(points, out, attributes):
    return unit(TIE - points)


FLOWS = {
    "crown": _from_crown,
    "part": _from_part,
    "back": _backward,
    "quiff": _quiff,
    "up": _upward,
    "tie": _to_tie,
}


def _radius(scalp):
    """(A, E) distances of the skull's surface from its center, by the direction of the exported rays."""
    return np.linalg.norm(scalp - SCALP_CENTER, axis=-1)


def _outside(points, radius, clearance, cling):
    """Push points (N, 3) out of the skull and of the neck; with `cling`, also back onto the skull."""
    away = points - SCALP_CENTER
    distance = np.linalg.norm(away, axis=1)
    azimuth = np.arctan2(away[:, 0], -away[:, 1])
    elevation = np.arcsin(np.clip(away[:, 2] / distance, -1, 1))
    column = (azimuth / (2 * np.pi) + 0.5) * (radius.shape[0] - 1)
    row = (np.pi / 2 - elevation) / np.deg2rad(90 - LOWEST) * (radius.shape[1] - 1)
    low = np.minimum(row, radius.shape[1] - 1).astype(int)
    wall = radius[column.round().astype(int), low] + clearance
    head = row < radius.shape[1] - 0.5
    scale = np.where(head, wall / distance if cling else np.maximum(wall / distance, 1), 1)
    points = SCALP_CENTER + away * scale[:, None]
    below = points[:, 2] < -0.06
    flat = points[:, :2] - SCALP_CENTER[:2]
    span = np.linalg.norm(flat, axis=1)
    keep = np.where(below, np.maximum((NECK + clearance) / np.maximum(span, 1e-6), 1), 1)
    points[:, :2] = SCALP_CENTER[:2] + flat * keep[:, None]
    return points


def _beside_face(points, roots):
    """Keep hair that hangs at the front off the face: it falls past the temples."""
    front = smoothstep(0.055, 0.02, points[:, 1]) * smoothstep(0.075, 0.03, points[:, 2])
    side = np.where(points[:, 0] < 0, -1, 1)
    least = front * (TEMPLE + 0.012 * roots.layer)
    kept = points.copy()
    kept[:, 0] = side * np.maximum(np.abs(points[:, 0]), least)
    kept[:, 1] = (1 - front) * points[:, 1] + front * np.maximum(points[:, 1], BACK_OF_CHEEK)
    return kept


def _locks(paths, facing, roots, style) -> Mesh:
    shade = np.minimum(ROOT_SHADE + 2 * (1 - ROOT_SHADE) * np.linspace(0, 1, POINTS), 1)
    colors = roots.colors[:, None] * shade[:, None]
    widths = style.width / 1000 * (0.7 + 0.6 * roots.length)
    return ribbons(paths, widths, facing, colors)


def _tied(attributes, color, gray) -> Mesh:
    """A bun on the tie, or a tail that hangs from it."""
    rng = np.random.default_rng([attributes.hair_seed, 1])
    size = 0.024 + 0.014 * attributes.hair_volume
    if attributes.hair_style == "bun":
        center = TIE + np.array([0, 0.012, 0.045]) * (1 + attributes.hair_volume)
        start = unit(rng.normal(0, 1, (260, 3)))
        turn = unit(np.cross(start, rng.normal(0, 1, (260, 3))))
        angle = np.linspace(0, 1.6, POINTS)[:, None]
        out = start[:, None] * np.cos(angle) + turn[:, None] * np.sin(angle)
        paths, facing = center + size * out, out
    else:
        length = 0.16 + 0.0045 * attributes.hair_length
        spread = rng.normal(0, 1, (220, 1, 3)) * [0.6 * size, 0.4 * size, 0.3 * size]
        along = np.linspace(0, 1, POINTS)[:, None]
        sway = np.array([0.10 * np.sign(attributes.parting), 0.0, 0.0])  # over one shoulder, to be seen
        middle = TIE + along * (length * DOWN + sway) + np.sin(np.pi * along) * [0, 0.03, 0.02]
        paths = middle + spread * np.sqrt(along)
        facing = unit(spread + np.array([0, 0.005, 0])) + 0 * paths
    colors = lock_colors(rng, color, gray, len(paths))
    return ribbons(paths, np.full(len(paths), 0.008), facing, colors)


def _grid_triangles(columns, rows):
    index = np.arange(columns * rows).reshape(columns, rows)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]
    return np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
