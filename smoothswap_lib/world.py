"""TrueSwap's parameters: what makes a face this person, what drifts, and what belongs to the picture.

Every image of the course is `render(identity, state, attributes)`. A swap takes identity and state from the
source and attributes from the target, so the true swap of source s into target t is
`render(identity_s, state_s, attributes_t)`. Depends on nothing but numpy.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

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

# How an expression is drawn: (actions, probability, least, most). Left and right move together.
EXPRESSIONS = (
    (("mouthSmileLeft", "mouthSmileRight"), 0.45, 0.2, 1.0),
    (("mouthFrownLeft", "mouthFrownRight"), 0.15, 0.2, 0.9),
    (("jawOpen",), 0.35, 0.1, 0.8),
    (("browDownLeft", "browDownRight"), 0.25, 0.2, 1.0),
    (("browInnerUp",), 0.25, 0.2, 1.0),
    (("browOuterUpLeft", "browOuterUpRight"), 0.2, 0.2, 1.0),
    (("eyeBlinkLeft", "eyeBlinkRight"), 0.12, 0.2, 1.0),
    (("eyeSquintLeft", "eyeSquintRight"), 0.2, 0.2, 1.0),
    (("eyeWideLeft", "eyeWideRight"), 0.12, 0.2, 0.8),
    (("mouthPucker",), 0.1, 0.2, 0.9),
    (("mouthFunnel",), 0.08, 0.2, 0.7),
    (("mouthStretchLeft", "mouthStretchRight"), 0.08, 0.2, 0.8),
    (("noseSneerLeft", "noseSneerRight"), 0.08, 0.2, 0.8),
    (("cheekPuff",), 0.06, 0.2, 0.8),
)

HAIR_COLORS = ((0.018, 0.014, 0.012), (0.05, 0.03, 0.018), (0.13, 0.07, 0.035), (0.28, 0.17, 0.075),
               (0.46, 0.33, 0.16), (0.24, 0.07, 0.025), (0.36, 0.35, 0.34))  # fmt: skip
IRIS_COLORS = (
    (0.035, 0.018, 0.01),
    (0.09, 0.045, 0.018),
    (0.11, 0.16, 0.24),
    (0.09, 0.13, 0.06),
    (0.15, 0.14, 0.12),
)


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
    skin_seed: int  # of the low-frequency blotches
    iris: tuple[float, float, float]
    lip_redness: float
    brow_thickness: float  # mm
    brow_density: float
    brow_arch: float  # mm
    hair: tuple[float, float, float]
    has_hair: bool
    hairline: float  # mm, up from the mean hairline
    recession: float  # mm, at the temples
    hair_top: float  # mm of volume on top
    hair_side: float  # mm of volume at the sides
    hair_length: float  # mm that the sides and the back hang down, from 40 mm on; shorter hair lies flat
    fringe: float  # mm that the front hangs over the forehead
    parting: float  # -1 (subject's right) to 1
    hair_seed: int  # of the strands' shades
    beard: float
    mustache: float


@dataclass(frozen=True)
class State:
    """What drifts between pictures of one person, and comes from the source image (the case of Sec. 4.1)."""

    age: float  # added to the identity's age
    weight: float  # added to the identity's weight
    hair_length: float  # mm, added where the hair hangs
    stubble: float  # 0 to 1


@dataclass(frozen=True)
class Attributes:
    """What a swap keeps from the target. Angles in degrees, colors linear RGB in [0, 1]."""

    yaw: float  # > 0: turned toward the image's right
    pitch: float  # > 0: looks up
    roll: float  # > 0: tilted toward the image's right
    actions: tuple[float, ...]  # 0 to 1, one a name of ACTIONS
    gaze_x: float  # degrees, > 0: toward the image's right
    gaze_y: float  # degrees, > 0: up
    light_azimuth: float  # > 0: from the image's right
    light_elevation: float
    light_strength: float
    light_warmth: float  # -1 (blue) to 1 (orange)
    ambient: float
    ambient_warmth: float
    background_top: tuple[float, float, float]
    background_bottom: tuple[float, float, float]
    background_seed: int  # of the soft shapes
    background_contrast: float
    clothes: tuple[float, float, float]
    zoom: float  # 1 = FFHQ's crop; smaller shows more
    shift_x: float  # of the crop, in widths of the image
    shift_y: float


def sample_identity(rng: np.random.Generator) -> Identity:
    """Draw one adult who does not exist."""
    gender = float(np.clip(rng.normal(0.5, 0.38), 0, 1))
    age = float(rng.uniform(0, 0.9))
    hair = np.array(HAIR_COLORS[rng.integers(len(HAIR_COLORS) - 1)]) * rng.uniform(0.75, 1.3)
    gray = np.clip((age - 0.35) * 1.6, 0, 1) * rng.uniform(0, 1)
    hair = hair * (1 - gray) + np.array(HAIR_COLORS[-1]) * gray
    masculine = gender < 0.5
    long_hair = rng.random() < (0.15 if masculine else 0.75)
    has_beard, has_mustache = rng.random(2) < (0.3, 0.35)
    return Identity(
        gender=gender,
        age=age,
        weight=float(rng.uniform(0.1, 0.9)),
        shape=_floats(np.clip(rng.normal(0, 0.42, len(PAIRED_SHAPES) + len(SINGLE_SHAPES)), -1, 1)),
        asymmetry=_floats(rng.normal(0, 0.05, len(PAIRED_SHAPES))),
        melanin=float(rng.uniform(0, 1)),
        skin_redness=float(rng.uniform(0, 1)),
        skin_seed=int(rng.integers(2**31)),
        iris=_floats(np.array(IRIS_COLORS[rng.integers(len(IRIS_COLORS))]) * rng.uniform(0.8, 1.25)),
        lip_redness=float(rng.uniform(0, 1)),
        brow_thickness=float(rng.uniform(2.0, 4.5)),
        brow_density=float(rng.uniform(0.45, 1.0)),
        brow_arch=float(rng.uniform(-1.0, 4.0)),
        hair=_floats(hair),
        has_hair=bool(rng.random() > (0.12 if masculine else 0.01)),
        hairline=float(rng.normal(0, 5)),
        recession=float(rng.uniform(0, 16) if masculine else rng.uniform(0, 5)),
        hair_top=float(rng.uniform(3, 24)),
        hair_side=float(rng.uniform(2, 10) + 8 * long_hair),
        hair_length=float(rng.uniform(60, 170) if long_hair else rng.uniform(0, 18)),
        fringe=float(rng.uniform(12, 34) if rng.random() < 0.35 else 0),
        parting=float(rng.uniform(-1, 1)),
        hair_seed=int(rng.integers(2**31)),
        beard=float(rng.uniform(0.4, 1.0) if masculine and has_beard else 0),
        mustache=float(rng.uniform(0.4, 1.0) if masculine and has_mustache else 0),
    )


def sample_state(rng: np.random.Generator) -> State:
    """Draw a moment of a life: some years and kilograms away, hair before or after the barber."""
    return State(
        age=float(np.clip(rng.normal(0, 0.08), -0.2, 0.2)),
        weight=float(np.clip(rng.normal(0, 0.15), -0.35, 0.35)),
        hair_length=float(np.clip(rng.normal(0, 9), -20, 20)),
        stubble=float(rng.uniform(0, 1)),
    )


def sample_attributes(rng: np.random.Generator) -> Attributes:
    """Draw a picture for anyone to be in: pose, expression, gaze, light, background, clothes, camera."""
    actions = dict.fromkeys(ACTIONS, 0.0)
    for names, probability, least, most in EXPRESSIONS:
        strength = rng.uniform(least, most)
        if rng.random() < probability:
            actions |= {name: float(np.clip(strength + rng.normal(0, 0.04), 0, 1)) for name in names}
    gaze_x, gaze_y = np.clip(rng.normal(0, (12, 7)), -25, 25)
    top = _color(rng)
    return Attributes(
        yaw=float(np.clip(rng.normal(0, 18), -45, 45)),
        pitch=float(np.clip(rng.normal(0, 8), -25, 25)),
        roll=float(np.clip(rng.normal(0, 4), -15, 15)),
        actions=tuple(actions.values()),
        gaze_x=float(gaze_x),
        gaze_y=float(gaze_y),
        light_azimuth=float(rng.uniform(-70, 70)),
        light_elevation=float(rng.uniform(-5, 60)),
        light_strength=float(rng.uniform(0.9, 2.3)),
        light_warmth=float(rng.uniform(-1, 1)),
        ambient=float(rng.uniform(0.35, 0.8)),
        ambient_warmth=float(rng.uniform(-1, 1)),
        background_top=top,
        background_bottom=_floats(
            np.clip(np.array(top) * rng.uniform(0.3, 1.4) + rng.normal(0, 0.06, 3), 0, 1)
        ),
        background_seed=int(rng.integers(2**31)),
        background_contrast=float(rng.uniform(0, 0.5)),
        clothes=_color(rng),
        zoom=float(rng.uniform(0.84, 0.98)),
        shift_x=float(np.clip(rng.normal(0, 0.015), -0.04, 0.04)),
        shift_y=float(np.clip(rng.normal(0, 0.015), -0.04, 0.04)),
    )


def neutral_attributes() -> Attributes:
    """A passport picture: frontal, no expression, soft light from the upper left, gray background."""
    return replace(
        sample_attributes(np.random.default_rng(0)),
        yaw=0.0, pitch=0.0, roll=0.0, actions=(0.0,) * len(ACTIONS), gaze_x=0.0, gaze_y=0.0,
        light_azimuth=-35.0, light_elevation=35.0, light_strength=1.5, light_warmth=0.0,
        ambient=0.6, ambient_warmth=0.0, background_top=(0.3,) * 3, background_bottom=(0.22,) * 3,
        background_contrast=0.0, clothes=(0.05, 0.07, 0.12), zoom=0.88, shift_x=0.0, shift_y=0.0,
    )  # fmt: skip


def to_columns(identity: Identity, state: State, attributes: Attributes) -> dict[str, float | int | bool]:
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
    """
    return tuple(_record(kind, row) for kind in (Identity, State, Attributes))


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
    return kind(**values)


def _prefix(kind: type) -> str:
    return kind.__name__.lower()


def _parts(field_name) -> tuple[str, ...]:
    """Column suffixes of a field that holds several numbers; empty for a single number."""
    named = {"shape": PAIRED_SHAPES + SINGLE_SHAPES, "asymmetry": PAIRED_SHAPES, "actions": ACTIONS}
    colors = ("iris", "hair", "background_top", "background_bottom", "clothes")
    return named.get(field_name, ("red", "green", "blue") if field_name in colors else ())


def _color(rng: np.random.Generator) -> tuple[float, float, float]:
    return _floats(rng.uniform(0.03, 0.75) * rng.uniform(0.35, 1.0, 3))


def _floats(values) -> tuple[float, ...]:
    return tuple(float(v) for v in values)
