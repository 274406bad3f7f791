"""TrueSwap's population: draws identities, states and attributes, and smooth tracks of attributes.

Skin, age, weight and gender are drawn uniformly and independently, a style with equal chances. Only gray
hair goes with age, and beards and brows with the head model's axis of gender, loosely. Depends on traits.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from smoothswap_lib.world.traits import (
    ACTIONS,
    BACKDROPS,
    BEARD_STYLES,
    GARMENTS,
    GLASSES,
    HAIR_STYLES,
    LIGHTINGS,
    PAIRED_SHAPES,
    SINGLE_SHAPES,
    Attributes,
    Identity,
    State,
    between,
    from_columns,
    to_columns,
)

__all__ = [
    "ACTIONS", "PAIRED_SHAPES", "SINGLE_SHAPES", "Attributes", "Identity", "State", "between", "from_columns",
    "neutral_attributes", "sample_attributes", "sample_identity", "sample_state", "sample_twins", "sequence",
    "to_columns",
]  # fmt: skip

# How an expression is drawn: of each group at most one, as (actions, probability, least, most).
# Left and right move together.
EXPRESSIONS = (
    (
        (("mouthSmileLeft", "mouthSmileRight"), 0.4, 0.6, 1.0),
        (("mouthFrownLeft", "mouthFrownRight"), 0.12, 0.3, 0.9),
        (("mouthStretchLeft", "mouthStretchRight"), 0.07, 0.3, 0.9),
        (("mouthPucker",), 0.07, 0.3, 0.9),
        (("mouthFunnel",), 0.06, 0.3, 0.7),
    ),
    (
        (("eyeBlinkLeft", "eyeBlinkRight"), 0.1, 0.8, 1.0),
        (("eyeSquintLeft", "eyeSquintRight"), 0.18, 0.2, 1.0),
        (("eyeWideLeft", "eyeWideRight"), 0.12, 0.2, 0.8),
    ),
    ((("jawOpen",), 0.34, 0.4, 1.0),),
    ((("browDownLeft", "browDownRight"), 0.25, 0.2, 1.0),),
    ((("browInnerUp",), 0.25, 0.2, 1.0),),
    ((("browOuterUpLeft", "browOuterUpRight"), 0.2, 0.2, 1.0),),
    ((("noseSneerLeft", "noseSneerRight"), 0.08, 0.2, 0.8),),
    ((("cheekPuff",), 0.06, 0.2, 0.8),),
)
# What moves along, and by what share: a smile lifts the cheeks and bares the upper teeth.
FOLLOWERS = {
    f"mouthSmile{side}": ((f"cheekSquint{side}", 0.6), (f"mouthUpperUp{side}", 0.35))
    for side in ("Left", "Right")
}

# Linear RGB; a drawn color is one of these times a factor.
HAIR_COLORS = ((0.012, 0.010, 0.009), (0.04, 0.024, 0.015), (0.10, 0.055, 0.028), (0.22, 0.13, 0.06),
               (0.42, 0.29, 0.14), (0.22, 0.065, 0.022))  # fmt: skip
IRIS_COLORS = ((0.035, 0.018, 0.01), (0.09, 0.045, 0.018), (0.11, 0.16, 0.24), (0.09, 0.13, 0.06),
               (0.15, 0.14, 0.12))  # fmt: skip
HAIR_LENGTHS = {  # mm of a strand, least and most
    "bald": (0, 0), "buzz": (3, 7), "crop": (14, 32), "side_part": (40, 75), "slick": (60, 100),
    "quiff": (45, 75), "curls": (50, 95), "afro": (35, 90), "bob": (150, 210), "long": (260, 360),
    "wavy": (230, 340), "bun": (20, 45), "ponytail": (20, 45),
}  # fmt: skip
SHARE_BEARDED, SHARE_WITH_GLASSES, SHARE_DYED, SHARE_MADE_UP = 0.25, 0.1, 0.25, 0.3
SHARE_DARK = 0.1  # of the glasses: who wears dark ones shows no eyes
DYES = (*HAIR_COLORS, (0.30, 0.045, 0.03), (0.12, 0.03, 0.06), (0.62, 0.52, 0.36))
LIPSTICKS = ((0.42, 0.035, 0.045), (0.50, 0.16, 0.17), (0.22, 0.02, 0.045), (0.55, 0.27, 0.20))
ZOOM = 1.2  # times nearer than FFHQ's crop: chins stay in the picture, and the face is as large as can be
SPREAD = 0.75  # deviation of a local shape, before it is clipped to [-1, 1]
# Shapes whose ends look damaged rather than different, or like an expression or a pose: whose mouth corners
# point up by nature seems to smile, and a nose that points up makes a face look raised.
SMALLER_SPREADS = (
    dict.fromkeys((name for name in SINGLE_SHAPES if name.startswith("mouth")), 0.31)
    | dict.fromkeys((
        "chin-height-incr", "chin-jaw-drop-incr", "chin-prominent-incr", "eye-trans-up",
        "eyebrows-trans-forward", "eyebrows-trans-up", "forehead-nubian-incr", "head-scale-vert-incr",
        "nose-base-up", "nose-greek-incr", "nose-nostrils-angle-up", "nose-point-up",
        "nose-scale-depth-incr", "nose-scale-vert-incr", "nose-trans-forward", "nose-trans-up",
        "nose-volume-incr",
    ), 0.55)
    | dict.fromkeys((
        "eye-bag-incr", "eye-corner1-up", "eye-corner2-up", "eye-eyefold-up", "eye-height2-incr",
        "eye-scale-incr",
    ), 0.63)
    | {
        "ear-rot-forward": 0.34, "ear-wing-incr": 0.40, "head-age-incr": 0.34, "head-angle-out": 0.34,
        "eye-push1-out": 0.41, "eye-push2-out": 0.41, "eye-height1-incr": 0.48, "eye-height3-incr": 0.48,
        "mouth-scale-horiz-incr": 0.52, "mouth-angles-up": 0.21, "chin-prognathism-incr": 0.40,
        "neck-scale-vert-incr": 0.34, "nose-compression-uncompress": 0.48, "forehead-trans-forward": 0.40,
    }
)  # fmt: skip


def shape_spreads() -> np.ndarray:
    """(97,) the deviation of each local shape before clipping, in the order of `Identity.shape`."""
    return np.array([SMALLER_SPREADS.get(name, SPREAD) for name in PAIRED_SHAPES + SINGLE_SHAPES])


def sample_identity(rng: np.random.Generator) -> Identity:
    """Draw one adult who does not exist."""
    gender, age = (float(v) for v in rng.uniform((0, 0.05), (1, 0.95)))
    beard = BEARD_STYLES[rng.integers(1, len(BEARD_STYLES))]
    grows = rng.random() < 2 * SHARE_BEARDED and gender < 0.5
    return Identity(
        gender=gender,
        age=age,
        weight=float(rng.uniform(0.05, 0.95)),
        shape=_floats(np.clip(rng.normal(0, shape_spreads()), -1, 1)),
        asymmetry=_floats(rng.normal(0, 0.05, len(PAIRED_SHAPES))),
        melanin=float(rng.uniform(0, 1)),
        skin_redness=float(rng.uniform(0, 1)),
        freckles=float(rng.uniform(0, 1) ** 4),
        moles=float(rng.uniform(0, 1)),
        skin_seed=int(rng.integers(2**31)),
        iris=_floats(np.array(IRIS_COLORS[rng.integers(len(IRIS_COLORS))]) * rng.uniform(0.8, 1.25)),
        lip_redness=float(rng.uniform(0, 1)),
        brow_thickness=float(rng.uniform(1.8, 4.2) + 1.2 * (1 - gender)),
        brow_density=float(rng.uniform(0.4, 1.0)),
        brow_arch=float(rng.uniform(-1.5, 3.5) + 1.5 * gender),
        hair=_floats(np.array(HAIR_COLORS[rng.integers(len(HAIR_COLORS))]) * rng.uniform(0.75, 1.3)),
        gray=float(np.clip(1.5 * (age - 0.5) + rng.normal(0, 0.25), 0, 1)),
        hairline=float(np.clip(rng.normal(0, 5), -9, 12)),
        recession=float(rng.uniform(0, 16)),
        beard_style=beard if grows else "none",
    )


def sample_twins(rng: np.random.Generator, count: int = 4) -> list[Identity]:
    """`count` people who share skin, eyes, brows, hair and beard in every color and mark, not the bones."""
    first = sample_identity(rng)
    others = (sample_identity(rng) for _ in range(count - 1))
    return [first, *(replace(first, shape=o.shape, asymmetry=o.asymmetry) for o in others)]


def sample_state(rng: np.random.Generator) -> State:
    """Draw a moment of a life: some years and kilograms away, after a summer, a dye, a barber, a make-up."""
    dye = rng.random() < SHARE_DYED
    lipstick, pencil = rng.random(2) < SHARE_MADE_UP
    return State(
        age=float(np.clip(rng.normal(0, 0.12), -0.25, 0.25)),
        weight=float(np.clip(rng.normal(0, 0.12), -0.25, 0.25)),
        tan=float(np.clip(rng.normal(0, 0.7), -1, 1)),
        redness=float(np.clip(rng.normal(0, 0.35), -0.7, 0.7)),
        gray=float(np.clip(rng.normal(0, 0.1), -0.25, 0.25)),
        bleach=float(rng.uniform(0, 1)),
        dye=float(rng.uniform(0.5, 1.0)) if dye else 0.0,
        dye_color=_floats(np.array(DYES[rng.integers(len(DYES))]) * rng.uniform(0.75, 1.3)),
        beard_length=float(rng.uniform(3, 22)),
        stubble=float(rng.uniform(0, 1)),
        lipstick=float(rng.uniform(0.3, 0.9)) if lipstick else 0.0,
        lipstick_color=_floats(np.array(LIPSTICKS[rng.integers(len(LIPSTICKS))]) * rng.uniform(0.8, 1.2)),
        brow_pencil=float(rng.uniform(0.2, 1.0)) if pencil else 0.0,
    )


def sample_attributes(rng: np.random.Generator) -> Attributes:
    """Draw a picture for anyone to be in: pose, expression, gaze, light, background, clothes, cut, camera."""
    actions = _expression(rng)
    gaze_x, gaze_y = np.clip(rng.normal(0, (12, 7)), -25, 25)
    top = _color(rng)
    worn = "sunglasses" if rng.random() < SHARE_DARK else GLASSES[rng.integers(1, len(GLASSES) - 1)]
    style = HAIR_STYLES[rng.integers(len(HAIR_STYLES))]
    return Attributes(
        yaw=float(np.clip(rng.normal(0, 15), -40, 40)),
        pitch=float(np.clip(rng.normal(0, 7), -18, 18)),
        roll=float(np.clip(rng.normal(0, 4), -12, 12)),
        actions=actions,
        gaze_x=float(gaze_x),
        gaze_y=float(gaze_y),
        lighting=LIGHTINGS[rng.integers(len(LIGHTINGS))],
        light_azimuth=float(rng.uniform(-70, 70)),
        light_elevation=float(rng.uniform(-5, 60)),
        light_strength=float(rng.uniform(0.7, 1.4)),
        light_warmth=float(rng.uniform(-1, 1)),
        ambient=float(rng.uniform(0.4, 0.8)),
        ambient_warmth=float(rng.uniform(-1, 1)),
        backdrop=BACKDROPS[rng.integers(len(BACKDROPS))],
        background_top=top,
        background_bottom=_floats(
            np.clip(np.array(top) * rng.uniform(0.3, 1.4) + rng.normal(0, 0.06, 3), 0, 1)
        ),
        background_seed=int(rng.integers(2**31)),
        background_contrast=float(rng.uniform(0.1, 1)),
        garment=GARMENTS[rng.integers(len(GARMENTS))],
        clothes=_color(rng),
        clothes_accent=_color(rng),
        glasses=worn if rng.random() < SHARE_WITH_GLASSES else "none",
        glasses_color=_floats(np.full(3, rng.uniform(0.01, 0.12)) * rng.uniform(0.5, 1.5, 3)),
        hair_style=style,
        hair_volume=float(rng.uniform(0, 1)),
        hair_length=float(rng.uniform(*HAIR_LENGTHS[style])),
        hair_curl=float(rng.uniform(0, 1)),
        parting=float(rng.uniform(-1, 1)),
        fringe=float(max(rng.uniform(-1.5, 1), 0.0)),
        hair_seed=int(rng.integers(2**31)),
        exposure=float(np.clip(rng.normal(0, 0.28), -0.5, 0.6)),
        white_balance=float(np.clip(rng.normal(0, 0.4), -1, 1)),
        tint=float(np.clip(rng.normal(0, 0.35), -1, 1)),
        grain=float(rng.uniform(0, 2)),
        zoom=float(np.clip(rng.normal(ZOOM, 0.02), ZOOM - 0.05, ZOOM + 0.05)),
        shift_x=float(np.clip(rng.normal(0, 0.006), -0.015, 0.015)),
        shift_y=float(np.clip(rng.normal(0, 0.006), -0.015, 0.015)),
    )


def _expression(rng) -> tuple[float, ...]:
    """Strengths of all ACTIONS, in their order."""
    strengths = dict.fromkeys(ACTIONS, 0.0)
    for group in EXPRESSIONS:
        bounds = np.cumsum([probability for _, probability, _, _ in group])
        chosen = int(np.searchsorted(bounds, rng.random(), side="right"))
        if chosen == len(group):
            continue
        names, _, least, most = group[chosen]
        strength = rng.uniform(least, most)
        for name in names:
            strengths[name] = float(np.clip(strength + rng.normal(0, 0.04), 0, 1))
            strengths |= {other: share * strengths[name] for other, share in FOLLOWERS.get(name, ())}
    return tuple(strengths.values())


def neutral_attributes() -> Attributes:
    """A passport picture: frontal, no expression, soft light from the upper left, gray background."""
    return replace(
        sample_attributes(np.random.default_rng(0)),
        yaw=0.0, pitch=0.0, roll=0.0, actions=(0.0,) * len(ACTIONS), gaze_x=0.0, gaze_y=0.0,
        lighting="softbox", light_azimuth=-35.0, light_elevation=35.0, light_strength=1.0, light_warmth=0.0,
        ambient=0.6, ambient_warmth=0.0, backdrop="plain", background_top=(0.3,) * 3,
        background_bottom=(0.22,) * 3, background_contrast=0.0, garment="crew", clothes=(0.05, 0.07, 0.12),
        clothes_accent=(0.05, 0.07, 0.12), glasses="none", hair_style="crop", hair_volume=0.5,
        hair_length=22.0, hair_curl=0.3, parting=0.3, fringe=0.0, hair_seed=0, exposure=0.0,
        white_balance=0.0,
        tint=0.0, grain=0.0, zoom=ZOOM, shift_x=0.0, shift_y=0.0,
    )  # fmt: skip


# What a movement changes, as (column of the attributes or action, amplitude); angles in degrees.
MOVEMENTS: Mapping[str, tuple[tuple[str, float], ...]] = {
    "nod": (("pitch", 14.0),),
    "turn": (("yaw", 32.0),),
    "tilt": (("roll", 11.0),),
    "smile": (
        ("mouthSmileLeft", 0.9),
        ("mouthSmileRight", 0.9),
        ("cheekSquintLeft", 0.4),
        ("cheekSquintRight", 0.4),
    ),
    "speak": (("jawOpen", 0.45), ("mouthFunnel", 0.25)),
    "blink": (("eyeBlinkLeft", 1.0), ("eyeBlinkRight", 1.0)),
}


def sequence(start: Attributes, movement: str, frames: int) -> list[Attributes]:
    """A clip: `frames` attributes that move away from `start` and return to it, smoothly and in a loop.

    Angles swing to both sides as a sine; actions rise and fall once as (1 - cos) / 2, within [0, 1]. Frame 0
    is `start`, and the frame after the last one would be `start` again.

    Raises
    ------
    ValueError
        The movement is none of MOVEMENTS, or there are fewer than two frames.
    """
    if movement not in MOVEMENTS:
        raise ValueError(f"movement is {movement!r}; choose one of {', '.join(MOVEMENTS)}")
    if frames < 2:
        raise ValueError(f"frames is {frames}; a clip has at least 2")
    return [_moved(start, MOVEMENTS[movement], 2 * np.pi * frame / frames) for frame in range(frames)]


def _moved(start, changes, phase):
    actions = dict(zip(ACTIONS, start.actions, strict=True))
    angles = {}
    for name, amplitude in changes:
        if name in actions:
            rise = amplitude * (1 - np.cos(phase)) / 2
            actions[name] += float((1 - actions[name]) * min(rise, 1.0))
        else:
            angles[name] = float(getattr(start, name) + amplitude * np.sin(phase))
    return replace(start, actions=tuple(actions.values()), **angles)


def _color(rng: np.random.Generator) -> tuple[float, float, float]:
    return _floats(rng.uniform(0.03, 0.75) * rng.uniform(0.35, 1.0, 3))


def _floats(values) -> tuple[float, ...]:
    return tuple(float(v) for v in values)
