"""TrueSwap's parameters: what makes a face this person, what drifts, and what belongs to the picture.

Every image of the course is `render(identity, state, attributes)`. A swap takes identity and state from the
source and attributes from the target, so the true swap of source s into target t is
`render(identity_s, state_s, attributes_t)`. Here are the records and their columns; `world` draws them.
Depends on nothing.
"""

from dataclasses import dataclass, fields

# MakeHuman's local changes of the head. A paired change exists on both sides and is tied left to right.
PAIRED_SHAPES = (
    "cheek-bones-incr", "cheek-inner-incr", "cheek-trans-up", "cheek-volume-incr", "ear-flap-incr",
    "ear-lobe-incr", "ear-rot-forward", "ear-scale-depth-incr", "ear-scale-incr", "ear-scale-vert-incr",
    "ear-shape-round", "ear-shape-triangle", "ear-trans-forward", "ear-trans-up", "ear-wing-incr",
    "eye-bag-height-incr", "eye-bag-incr", "eye-bag-out", "eye-corner1-up", "eye-corner2-up",
    "eye-epicanthus-out", "eye-eyefold-angle-up", "eye-eyefold-up", "eye-height1-incr", "eye-height2-incr",
    "eye-height3-incr", "eye-push1-out", "eye-push2-out", "eye-scale-incr", "eye-trans-out", "eye-trans-up",
)  # fmt: skip
SINGLE_SHAPES = (
    "chin-jaw-drop-incr", "chin-height-incr", "chin-prominent-incr", "chin-bones-incr", "chin-width-incr",
    "chin-cleft-incr", "chin-prognathism-incr", "eyebrows-angle-up", "eyebrows-trans-up",
    "eyebrows-trans-forward", "forehead-temple-incr", "forehead-trans-forward", "forehead-scale-vert-incr",
    "forehead-nubian-incr", "head-angle-out", "head-scale-vert-incr", "head-fat-incr",
    "head-back-scale-depth-incr", "head-age-incr", "head-scale-depth-incr", "head-scale-horiz-incr",
    "mouth-lowerlip-height-incr", "mouth-scale-horiz-incr", "mouth-cupidsbow-incr", "mouth-laugh-lines-out",
    "mouth-scale-depth-incr", "mouth-lowerlip-volume-incr", "mouth-angles-up", "mouth-upperlip-ext-up",
    "mouth-lowerlip-width-incr", "mouth-trans-forward", "mouth-upperlip-width-incr",
    "mouth-scale-vert-incr", "mouth-dimples-out", "mouth-upperlip-height-incr",
    "mouth-upperlip-volume-incr", "mouth-cupidsbow-width-incr", "mouth-lowerlip-ext-up",
    "mouth-upperlip-middle-up", "mouth-trans-up", "mouth-lowerlip-middle-up", "mouth-philtrum-volume-incr",
    "neck-scale-depth-incr", "neck-double-incr", "neck-back-scale-depth-incr", "neck-scale-horiz-incr",
    "neck-scale-vert-incr", "nose-nostrils-angle-up", "nose-flaring-incr", "nose-curve-convex",
    "nose-scale-depth-incr", "nose-scale-vert-incr", "nose-point-width-incr", "nose-scale-horiz-incr",
    "nose-width1-incr", "nose-trans-forward", "nose-trans-up", "nose-hump-incr", "nose-nostrils-width-incr",
    "nose-greek-incr", "nose-point-up", "nose-width2-incr", "nose-width3-incr", "nose-base-up",
    "nose-compression-uncompress", "nose-volume-incr",
)  # fmt: skip
ACTIONS = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft",
    "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight",
    "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight",
    "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthDimpleLeft", "mouthDimpleRight",
    "mouthFrownLeft", "mouthFrownRight", "mouthFunnel", "mouthLeft", "mouthLowerDownLeft",
    "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip

HAIR_STYLES = (
    "bald", "buzz", "crop", "side_part", "slick", "quiff", "curls", "afro", "bob", "long", "wavy", "bun",
    "ponytail",
)  # fmt: skip
BEARD_STYLES = ("none", "mustache", "goatee", "chin_strap", "short", "full")
LIGHTINGS = ("softbox", "window", "overcast", "two_sides", "rim", "ring")
BACKDROPS = ("plain", "gradient", "bokeh", "stripes", "bricks", "foliage", "clouds", "shelves")
GARMENTS = ("crew", "v_neck", "turtleneck", "collar", "stripes", "tank")
GLASSES = ("none", "round", "square", "half_rim", "sunglasses")


@dataclass(frozen=True)
class Identity:
    """What a swap takes from the source.

    Lengths in millimeters, colors linear RGB in [0, 1], the rest in [0, 1] where nothing else is said.
    """

    gender: float  # the head model's axis of shape, 0 = masculine, 1 = feminine
    age: float  # 0 = about 25 years, 1 = about 90
    weight: float
    shape: tuple[float, ...]  # one of [-1, 1] a name of PAIRED_SHAPES + SINGLE_SHAPES
    asymmetry: tuple[float, ...]  # one a name of PAIRED_SHAPES: left adds it, right subtracts it
    melanin: float
    skin_redness: float
    freckles: float
    moles: float
    skin_seed: int  # of blotches, freckles, moles and lines
    iris: tuple[float, float, float]
    lip_redness: float
    brow_thickness: float  # mm
    brow_density: float
    brow_arch: float  # mm
    hair: tuple[float, float, float]  # as it grows; brows and beard have it, too
    gray: float  # share of the strands without pigment
    hairline: float  # mm, up from the mean hairline
    recession: float  # mm, at the temples
    beard_style: str  # one of BEARD_STYLES


@dataclass(frozen=True)
class State:
    """What drifts between pictures of one person, and comes from the source image (the case of Sec. 4.1).

    `State()` is no drift.
    """

    age: float = 0.0  # added to the identity's age
    weight: float = 0.0  # added to the identity's weight
    tan: float = 0.0  # -1 (pale from a winter) to 1 (tanned)
    redness: float = 0.0  # added to the identity's skin_redness: cold, heat, wine
    gray: float = 0.0  # added to the identity's share of gray hair
    bleach: float = 0.0  # 0 = as the hair grows, 1 = a summer in the sun
    dye: float = 0.0  # share of the color that is the dye's; 0 for most
    dye_color: tuple[float, float, float] = (0.5, 0.5, 0.5)
    beard_length: float = 12.0  # mm, of whoever grows a beard
    stubble: float = 0.0  # 0 = just shaved, 1 = some days ago; shows with a beard style, weakly without
    lipstick: float = 0.0  # 0 = none, 1 = covers
    lipstick_color: tuple[float, float, float] = (0.5, 0.5, 0.5)
    brow_pencil: float = 0.0  # 0 = none, 1 = brows drawn dark


@dataclass(frozen=True)
class Attributes:
    """What a swap keeps from the target. Angles in degrees, colors linear RGB in [0, 1].

    The hair is worn like clothes: its cut comes from the target, its color from the source.
    """

    yaw: float  # > 0: turned toward the image's right
    pitch: float  # > 0: looks up
    roll: float  # > 0: tilted toward the image's right
    actions: tuple[float, ...]  # 0 to 1, one a name of ACTIONS
    gaze_x: float  # degrees, > 0: toward the image's right
    gaze_y: float  # degrees, > 0: up
    lighting: str  # one of LIGHTINGS
    light_azimuth: float  # > 0: from the image's right
    light_elevation: float
    light_strength: float
    light_warmth: float  # -1 (blue) to 1 (orange)
    ambient: float
    ambient_warmth: float
    backdrop: str  # one of BACKDROPS
    background_top: tuple[float, float, float]
    background_bottom: tuple[float, float, float]
    background_seed: int  # of the pattern
    background_contrast: float
    garment: str  # one of GARMENTS
    clothes: tuple[float, float, float]
    clothes_accent: tuple[float, float, float]  # of collar, stripes, seam
    glasses: str  # one of GLASSES
    glasses_color: tuple[float, float, float]
    hair_style: str  # one of HAIR_STYLES
    hair_volume: float
    hair_length: float  # mm of a strand; each style has its range
    hair_curl: float
    parting: float  # -1 (subject's right) to 1
    fringe: float  # how far the front hangs over the forehead, where the style has one
    hair_seed: int  # of the strands
    exposure: float  # stops, of the camera
    white_balance: float  # -1 (blue) to 1 (orange)
    tint: float  # -1 (green) to 1 (magenta)
    grain: float  # deviation of the sensor's noise, gray levels of 255
    zoom: float  # 1 = FFHQ's crop; larger is nearer
    shift_x: float  # of the crop, in widths of the image
    shift_y: float


CHOICES = {
    "hair_style": HAIR_STYLES,
    "beard_style": BEARD_STYLES,
    "lighting": LIGHTINGS,
    "backdrop": BACKDROPS,
    "garment": GARMENTS,
    "glasses": GLASSES,
}
COLORS = (
    "iris", "hair", "dye_color", "lipstick_color", "background_top", "background_bottom", "clothes",
    "clothes_accent", "glasses_color",
)  # fmt: skip


def to_columns(identity: Identity, state: State, attributes: Attributes) -> dict[str, float | int | str]:
    """Flatten the parameters of one image to named columns, e.g. `identity.shape.nose-hump-incr`."""
    columns = {}
    for record in (identity, state, attributes):
        for field in fields(record):
            value, name = getattr(record, field.name), f"{_prefix(type(record))}.{field.name}"
            if isinstance(value, tuple):
                columns |= {f"{name}.{part}": v for part, v in zip(_parts(field.name), value, strict=True)}
            else:
                columns[name] = value
    return columns


def from_columns(row: dict) -> tuple[Identity, State, Attributes]:
    """Rebuild the parameters of one image from its columns; the inverse of `to_columns`.

    Raises
    ------
    KeyError
        Names the first column that is missing.
    ValueError
        A style that is none of its kind.
    """
    return tuple(_record(kind, row) for kind in (Identity, State, Attributes))


def between(first: dict, second: dict, r: float) -> dict:
    """Columns on the straight line between two images' columns: r = 0 the first, 1 the second.

    Styles and seeds have nothing between: they are the first's below r = .5 and the second's from there on.
    """
    nearer = first if r < 0.5 else second
    return {
        name: (1 - r) * value + r * second[name] if isinstance(value, float) else nearer[name]
        for name, value in first.items()
    }


def _record(kind, row):
    values = {}
    for field in fields(kind):
        name = f"{_prefix(kind)}.{field.name}"
        parts = _parts(field.name)
        names = [f"{name}.{part}" for part in parts] if parts else [name]
        missing = [n for n in names if n not in row]
        if missing:
            raise KeyError(f"column {missing[0]!r} is missing; a TrueSwap table has one column a parameter")
        values[field.name] = tuple(row[n] for n in names) if parts else row[name]
        if field.name in CHOICES and row[name] not in CHOICES[field.name]:
            known = ", ".join(CHOICES[field.name])
            raise ValueError(f"column {name!r} is {row[name]!r}; choose one of {known}")
    return kind(**values)


def _prefix(kind: type) -> str:
    return kind.__name__.lower()


def _parts(field_name) -> tuple[str, ...]:
    """Column suffixes of a field that holds several numbers; empty for a single value."""
    named = {"shape": PAIRED_SHAPES + SINGLE_SHAPES, "asymmetry": PAIRED_SHAPES, "actions": ACTIONS}
    return named.get(field_name, ("red", "green", "blue") if field_name in COLORS else ())
