"""TrueSwap's backgrounds: eight kinds of wall as formulas without noise, soft as if out of focus.

The same wall has the same look at every size. Depends on head, traits.
"""

import numpy as np

from smoothswap_lib.render.head import smoothstep
from smoothswap_lib.world.traits import Attributes

# Width of an edge in widths of the picture: two pixels at 64, so that one value a pixel shows it and nothing
# finer is lost at the smallest size.
EDGE = 2 / 64
STRENGTH = 1.1  # of a pattern in log color, at a contrast of 1
BOKEH, LEAVES, CLOUD_WAVES = 16, 44, 24


def backdrop(attributes: Attributes, size: int) -> np.ndarray:
    """The wall behind the head, (size, size, 3) linear RGB in [0, 1].

    Its pattern is `background_seed`'s, its strength `background_contrast`'s (0 = flat), its colors go from
    `background_top` to `background_bottom`.
    """
    place = (np.arange(size) + 0.5) / size  # in widths of the picture, across as well as down
    top, bottom = np.array(attributes.background_top), np.array(attributes.background_bottom)
    rng = np.random.default_rng(attributes.background_seed)
    height = np.full_like(place, 0.5) if attributes.backdrop == "plain" else place
    wall = top * (1 - height[:, None]) + bottom * height[:, None]  # (size, 3)
    pattern = PATTERNS[attributes.backdrop](place[None], place[:, None], rng)  # (size, size, 1 or 3)
    strength = STRENGTH * attributes.background_contrast
    return np.clip(wall[:, None] * np.exp(strength * pattern), 0, 1)


# Each pattern takes x (1, W), y (H, 1) and the generator of its numbers; it returns (H, W, 1 or 3) log colors
# of about -1 to 1.


def _plain(x, y, rng):
    """A wall that is a little darker away from a lamp, with the faint edge of a shadow."""
    away = (x - rng.uniform(0, 1)) ** 2 + (y - rng.uniform(0, 1)) ** 2
    angle = rng.uniform(0, 2 * np.pi)
    across = np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5)
    return (-0.7 * away - 0.25 * _inside(across - rng.uniform(0.1, 0.4), 6 * EDGE))[..., None]


def _gradient(x, y, rng):
    """Light of one color that fades into another, over a curved screen."""
    angle = rng.uniform(0, 2 * np.pi)
    tint = rng.uniform(-0.3, 0.3, 3)
    slope = np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5)
    return 1.6 * slope[..., None] * (1 + tint) + 0.3 * np.sin(4 * slope)[..., None]


def _bokeh(x, y, rng):
    """Lamps out of focus: disks of light, brighter at the rim."""
    total = np.full((y.size, x.size, 3), -0.4)
    centers, radii = rng.uniform(-0.1, 1.1, (BOKEH, 2)), rng.uniform(0.04, 0.13, BOKEH)
    tints = rng.uniform(0.35, 1.6, (BOKEH, 3))
    for center, radius, tint in zip(centers, radii, tints):
        near, squares = _near(x, y, center, radius + EDGE)
        distance = np.sqrt(squares[0] + squares[1])
        disk = _inside(radius - distance) * (0.75 + 0.25 * (distance / radius) ** 2)
        total[near] += disk[..., None] * tint
    return np.minimum(total, 2.2)


def _stripes(x, y, rng):
    """Wallpaper, boards or blinds; every second stripe may be narrower."""
    angle = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])
    across = np.cos(angle) * x + np.sin(angle) * y
    period, share, second = rng.uniform(0.16, 0.4), rng.uniform(0.15, 0.35), rng.uniform(0.06, 0.3)
    turn = across / period + rng.uniform()
    first, other = (np.abs((turn + half) % 1 - 0.5) * period for half in (0, 0.5))
    bands = _inside(share * period / 2 - first) + rng.uniform(0.4, 1) * _inside(second * period / 2 - other)
    return (1.4 * bands - 0.7 + 0.25 * np.sin(9 * across))[..., None]


def _bricks(x, y, rng):
    """Courses of bricks that differ in shade, with lighter or darker joints."""
    high, wide = rng.uniform(0.08, 0.13), rng.uniform(0.18, 0.3)
    row = y / high + rng.uniform()
    course = np.floor(row).astype(int)
    along = x / wide + 0.5 * (course % 2) + rng.uniform()
    number = np.floor(along).astype(int)
    shades = rng.normal(0, 0.4, (16, 8))[course % 16, number % 8]
    edge = np.minimum((0.5 - np.abs(row % 1 - 0.5)) * high, (0.5 - np.abs(along % 1 - 0.5)) * wide)
    # A joint is whole where two bricks meet: it hides the step between their shades.
    joint = _inside(0.6 * EDGE - edge, 1.2 * EDGE)
    mortar = rng.choice([-0.9, 0.8])
    return (shades * (1 - joint) + mortar * joint)[..., None]


def _foliage(x, y, rng):
    """Leaves in light before a darker ground, the later ones in front."""
    ground = -0.7 + 0.35 * _waves(x, y, rng, 8, 4, 14)
    total = ground[..., None] + np.array([-0.1, 0.1, -0.15])
    centers, turns = rng.uniform(-0.05, 1.05, (LEAVES, 2)), rng.uniform(0, np.pi, LEAVES)
    lengths, widths = rng.uniform(0.06, 0.14, LEAVES), rng.uniform(0.35, 0.6, LEAVES)
    colors = (
        rng.normal(0.15, 0.5, (LEAVES, 1)) + np.array([-0.25, 0.2, -0.4]) + rng.normal(0, 0.1, (LEAVES, 3))
    )
    for center, turn, length, width, color in zip(centers, turns, lengths, widths * lengths, colors):
        # The ellipse a dx^2 + 2 b dx dy + c dy^2 = 1.
        cos, sin = np.cos(turn), np.sin(turn)
        a, c = (cos / length) ** 2 + (sin / width) ** 2, (sin / length) ** 2 + (cos / width) ** 2
        b = cos * sin * (length**-2 - width**-2)
        near, (dx2, dy2), (dx, dy) = _near(x, y, center, length + EDGE, offsets=True)
        radius2 = a * dx2 + c * dy2 + (2 * b * dy) * dx
        leaf = _inside(0.5 * width * (1 - radius2))[..., None]
        total[near] += leaf * (color - total[near])
    return total


def _clouds(x, y, rng):
    """Large soft shapes with brighter and darker sides."""
    shape, detail = _waves(x, y, rng, CLOUD_WAVES, 2, 12), _waves(x, y, rng, CLOUD_WAVES, 10, 32)
    return (0.9 * np.tanh(1.3 * shape + 0.5 * detail) + 0.25 * detail)[..., None]


def _waves(x, y, rng, count, slow, fast):
    """A sum (H, W) of plane waves of deviation 1, the fast ones weaker (radians a picture's width)."""
    frequency, angle = np.linspace(slow, fast, count), rng.uniform(0, 2 * np.pi, count)
    weight = (slow / frequency) ** 0.75
    weight /= np.sqrt(0.5 * (weight**2).sum())
    phase_x = np.exp(1j * (frequency * np.cos(angle) * x.T + rng.uniform(0, 2 * np.pi, count)))  # (W, count)
    phase_y = weight * np.exp(1j * frequency * np.sin(angle) * y)  # (H, count)
    return (phase_y @ phase_x.T).real


def _shelves(x, y, rng):
    """Boards with the backs of books in many colors and heights."""
    high = rng.uniform(0.22, 0.34)
    row = (y[:, 0] + rng.uniform(0, high)) / high
    shelf, inside = np.floor(row).astype(int), row % 1 * high  # (H,), the place below the board above
    total = np.empty((y.size, x.size, 3))
    for number in range(int(np.ceil(1 / high)) + 1):  # every shelf draws its books, whatever the size
        books = 24
        edges = np.cumsum(rng.uniform(0.035, 0.085, books)) - 0.1
        tops = rng.uniform(0.03, 0.1, books + 1)
        colors = rng.normal(0, 0.4, (books + 1, 1)) + rng.normal(0, 0.25, (books + 1, 3))
        here = shelf == number
        steps = _inside(x.T - edges, 1.5 * EDGE)  # (W, books): soft, so is the change from book to book
        top = tops[0] + steps @ np.diff(tops)
        cover = colors[0] + steps @ np.diff(colors, axis=0)  # (W, 3)
        shown = _inside(inside[here, None] - top, 1.5 * EDGE)[..., None]
        total[here] = shown * cover - 1.0 * (1 - shown)
    # A board hides the step from one shelf's books to the next one's.
    board = _inside(1.1 * EDGE - np.minimum(inside, high - inside))[:, None, None]
    return total * (1 - board) + 0.5 * board


def _inside(distance, width=EDGE):
    """0 outside, 1 inside an edge at distance 0, over `width` of the picture."""
    return smoothstep(-width / 2, width / 2, distance)


def _near(x, y, center, reach, offsets=False):
    """The slices within `reach` of a center (x, y), and (dx^2, dy^2) there, as a row and a column."""
    size = x.size
    across, down = (
        slice(max(int((c - reach) * size), 0), max(int((c + reach) * size) + 1, 0)) for c in center
    )
    dx, dy = x[:, across] - center[0], y[down] - center[1]
    squares = dx * dx, dy * dy
    return ((down, across), squares, (dx, dy)) if offsets else ((down, across), squares)


PATTERNS = {
    "plain": _plain, "gradient": _gradient, "bokeh": _bokeh, "stripes": _stripes, "bricks": _bricks,
    "foliage": _foliage, "clouds": _clouds, "shelves": _shelves,
}  # fmt: skip
