"""TrueSwap's texels: where each lies on the template, and seeded patterns over them.

Waves, spots and strokes are formulas in meters, so that they do not depend on the texture's size. Depends on
head, hairline.
"""

from functools import lru_cache
from itertools import chain, pairwise

import numpy as np
from scipy.spatial import cKDTree

from smoothswap_lib.render.hairline import beard_areas
from smoothswap_lib.render.head import TEXTURE_SIZE, HeadModel

LOWEST_SKIN = -0.22  # meters; what lies deeper is always under clothes
SUBTEXELS = 3  # a texel is about 2 mm: what is finer is sampled so many times a side
SPOT_BLUR = 0.0006  # meters: what a spot loses of its sharpness between texels


class TexelMap:
    """Which texels of the texture are skin, and where on the template they lie.

    index: (N,) of the flattened texture. points: (N, 3) float32 meters. steps: (N, 2, 3) float32 meters from
    a texel to its right and its lower neighbor. masks: (N,) float32 in [0, 1] each. area: (N,) square meters.
    """

    def __init__(self, model: HeadModel):
        self.index, points, steps = _rasterize(model)
        self.points, self.steps = points.astype(np.float32), steps.astype(np.float32)
        self.area = np.linalg.norm(np.cross(self.steps[:, 0], self.steps[:, 1]), axis=1)
        scale = (next(iter(model.masks.values())).shape[0] - 1) / (TEXTURE_SIZE - 1)
        at = tuple((part * scale).round().astype(int) for part in np.divmod(self.index, TEXTURE_SIZE))
        self.masks = {name: mask[at].astype(np.float32) / 255 for name, mask in model.masks.items()}
        y, z = self.points[:, 1], self.points[:, 2]
        self.inside = self.masks["inside_mouth"] > 0.5
        self.front = np.flatnonzero((y < 0.045) & (z > -0.125) & (z < 0.085) & ~self.inside)
        self.tree = cKDTree(self.points[self.front])
        self.bearded = np.flatnonzero(np.max(beard_areas(self.points), axis=0) > 0)
        self.haired = np.flatnonzero((z > -0.06) & ~self.inside)  # the nape is the lowest place with hair
        self.off_lips = 1 - np.clip(1.5 * self.masks["lips"], 0, 1)

    def spread(self, chosen: np.ndarray) -> np.ndarray:
        """Points (n, SUBTEXELS^2, 3) on a grid inside each chosen texel."""
        offset = (np.arange(SUBTEXELS, dtype=np.float32) + 0.5) / SUBTEXELS - 0.5
        grid = np.stack(np.meshgrid(offset, offset), -1).reshape(-1, 2)  # (S, 2)
        return self.points[chosen, None] + grid @ self.steps[chosen]


def _rasterize(model):
    """(index, points, steps) of every texel that a skin triangle covers, with a border of one."""
    size = TEXTURE_SIZE
    is_skin = model.part == model.part_names.index("skin")
    is_skin &= model.template[model.triangles][:, :, 2].max(1) > LOWEST_SKIN
    corners = model.template[model.triangles[is_skin]]  # (T, 3, 3)
    pixel = (model.textured_uv * [1, -1] + [0, 1]) * size - 0.5
    pixel = pixel[model.textured_triangles[is_skin]]  # (T, 3, 2)
    low = np.maximum(np.floor(pixel.min(1)).astype(int) - 1, 0)
    width, height = (np.minimum(np.ceil(pixel.max(1)).astype(int) + 1, size - 1) - low + 1).T
    # One candidate for each triangle and each texel of its bounding box.
    count = width * height
    owner = np.repeat(np.arange(len(count)), count)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    x, y = low[owner, 0] + place % width[owner], low[owner, 1] + place // width[owner]
    homogeneous = np.concatenate([pixel, np.ones((len(pixel), 3, 1))], 2)
    to_weights = np.linalg.pinv(homogeneous)  # (T, 3, 3): (x, y, 1) -> weights
    weights = np.einsum("ni,nij->nj", np.stack([x, y, np.ones_like(x)], 1), to_weights[owner])
    # The border keeps bilinear look-ups off the empty texels; a texel's own triangle comes last and wins.
    reach = 1.0 / np.maximum(np.ptp(pixel, axis=1).max(1), 1.0)
    lowest = weights.min(1)
    kept = np.flatnonzero(lowest > -reach[owner])
    kept = kept[np.argsort(np.minimum(lowest[kept], 0), kind="stable")]
    texel, last = np.unique((y * size + x)[kept][::-1], return_index=True)
    chosen = kept[::-1][last]
    of = owner[chosen]
    points = np.einsum("nk,nkc->nc", weights[chosen], corners[of])
    steps = np.einsum("nik,nkc->nic", to_weights[of, :2], corners[of])
    return texel, points, steps


@lru_cache(maxsize=2)
def texel_map(model: HeadModel) -> TexelMap:
    """The texel map of a head model, made once a process."""
    return TexelMap(model)


def waves(points, rng, count, shortest, longest):
    """(N,) smooth random field of unit variance: a sum of waves with lengths in meters."""
    waves = rng.normal(0, 1, (3, count))
    waves *= 2 * np.pi / rng.uniform(shortest, longest, count) / np.linalg.norm(waves, axis=0)
    phases = rng.uniform(0, 2 * np.pi, count)
    # Wave by wave: a matrix product would wake all of the machine's threads for three columns.
    x, y, z = np.ascontiguousarray(points.T)
    field = np.zeros(len(points), np.float32)
    for (a, b, c), phase in zip(waves.T.astype(np.float32), phases.astype(np.float32), strict=True):
        field += np.cos(a * x + b * y + c * z + phase)
    return field * np.float32(np.sqrt(2 / count))


def random_places(texels, likely, count, rng):
    """(count, 3) random places in front of the head, drawn by how likely a spot is at each texel there."""
    weight = np.cumsum(likely * texels.area[texels.front], dtype=np.float64)
    chosen = texels.front[np.searchsorted(weight, rng.uniform(0, weight[-1], count))]
    within = rng.uniform(-0.5, 0.5, (count, 1, 2))
    return texels.points[chosen] + (within @ texels.steps[chosen])[:, 0]


def soft_spots(texels, centers, radii):
    """Round soft spots as (number of the spot, place in `front`, density at its middle 1): three (M,) arrays.

    A spot that is smaller than a texel keeps its area but is paler.
    """
    size2 = radii**2 + SPOT_BLUR**2
    near = texels.tree.query_ball_point(centers, 3.5 * np.sqrt(size2))
    number = np.repeat(np.arange(len(centers)), [len(found) for found in near])
    place = np.fromiter(chain.from_iterable(near), np.int64, len(number))
    d2 = ((texels.points[texels.front[place]] - centers[number]) ** 2).sum(1)
    return number, place, np.exp(-d2 / (2 * size2[number])) * (radii**2 / size2)[number]


def spot_density(texels, centers, radii, strength):
    """(F,) sum of spots of the given strengths (K,) over the texels in front."""
    number, place, density = soft_spots(texels, centers, radii)
    return np.bincount(place, strength[number] * density, len(texels.front))


def squared_distance(x, z, corners):
    """Squared distance to a chain of straight pieces through corners (x, z)."""
    best = np.full(x.shape, np.inf, np.float32)
    for (x0, z0), (x1, z1) in pairwise(corners):
        dx, dz = x1 - x0, z1 - z0
        t = np.clip(((x - x0) * dx + (z - z0) * dz) / (dx * dx + dz * dz), 0, 1)
        best = np.minimum(best, (x - x0 - t * dx) ** 2 + (z - z0 - t * dz) ** 2)
    return best


def stroke(x, z, corners, width):
    return np.exp(-squared_distance(x, z, corners) / (2 * width**2))


def blob(side, z, x0, z0, radius):
    return np.exp(-((side - x0) ** 2 + (z - z0) ** 2) / (2 * radius**2))
