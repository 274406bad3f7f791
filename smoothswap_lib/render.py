"""TrueSwap's camera: parameters -> image, mask and landmarks, path-traced by Mitsuba.

The only module that imports Mitsuba. `python -m smoothswap_lib.render build ...` renders a whole data set.
Depends on world, head, skin.
"""

from dataclasses import dataclass

import numpy as np

from smoothswap_lib.files import data_folder
from smoothswap_lib.head import Mesh, clothes_mesh, hair_mesh, head_mesh, load_head, turn
from smoothswap_lib.skin import paint
from smoothswap_lib.world import Attributes, Identity, State

VARIANT = "scalar_rgb"  # runs everywhere; for another one call mitsuba.set_variant before the first render
CAMERA_DISTANCE = 1.1  # meters in front of the eyes
LIGHT_DISTANCE, LIGHT_RADIUS = 1.4, 0.35  # meters
MASK_SUPERSAMPLING = 2
BACKGROUND, FACE, HAIR, CLOTHES = 0, 1, 2, 3  # codes of the mask; skin, eyes and mouth are all FACE
MASK_NAMES = ("background", "face", "hair", "clothes")
LASHES = tuple(f"helper-{side}-eyelashes-{row}" for side in "lr" for row in (1, 2))


@dataclass(frozen=True)
class Rendering:
    """A picture with what is known about it.

    image: (H, W, 3) uint8 sRGB.
    mask: (H, W) uint8, one code of MASK_NAMES a pixel.
    landmarks: (68, 2) float32 pixels (x, y), iBUG order, the center of the top left pixel at (0.5, 0.5).
    """

    image: np.ndarray
    mask: np.ndarray
    landmarks: np.ndarray


def render(
    identity: Identity, state: State, attributes: Attributes, size: int = 64, samples: int = 64, seed: int = 0
) -> np.ndarray:
    """Render one picture of one face.

    Parameters
    ----------
    size : pixels a side.
    samples : light paths a pixel; noise falls with their square root.
    seed : of those paths.

    Returns
    -------
    (size, size, 3) uint8 sRGB. The true swap of source s into target t is
    `render(identity_s, state_s, attributes_t)`.
    """
    scene, _ = _build(identity, state, attributes, size, samples)
    return _develop(scene, attributes, size, seed)


def render_with_truth(
    identity: Identity, state: State, attributes: Attributes, size: int = 64, samples: int = 64, seed: int = 0
) -> Rendering:
    """Like `render`, with the mask of face, hair, clothes and background and the 68 landmarks."""
    scene, frame = _build(identity, state, attributes, size, samples)
    return Rendering(_develop(scene, attributes, size, seed), _mask(scene, size), frame.landmarks(size))


@dataclass(frozen=True)
class _Frame:
    """The crop: center and half width (meters, in the plane through the eyes), and the points that set it."""

    center: np.ndarray
    half: float
    points: np.ndarray  # (68, 3) meters

    def landmarks(self, size):
        plane = _project(self.points, self.center)
        pixels = (plane - self.center) / self.half * [1, -1] * size / 2 + size / 2
        return pixels.astype(np.float32)


def _project(points, camera):
    """Perspective onto the plane y = 0, seen from CAMERA_DISTANCE in front of `camera` (x, z)."""
    depth = (points[:, 1:2] + CAMERA_DISTANCE) / CAMERA_DISTANCE
    return (points[:, [0, 2]] - camera) / depth + camera


def _frame(points, attributes) -> _Frame:
    """FFHQ's crop of the landmarks, kept upright so that roll stays visible, then zoomed and shifted."""
    plane = _project(points, points[:, [0, 2]].mean(0))
    left, right = plane[36:42].mean(0), plane[42:48].mean(0)  # the image's left and right
    eyes, mouth = (left + right) / 2, (plane[48] + plane[54]) / 2
    across, down = right - left, mouth - eyes
    half = max(2 * np.linalg.norm(across), 1.8 * np.linalg.norm(down)) / attributes.zoom
    center = eyes + 0.1 * down + 2 * half * np.array([attributes.shift_x, attributes.shift_y])
    return _Frame(center, half, points)


def _build(identity, state, attributes, size, samples):
    """The Mitsuba scene of a picture and its frame."""
    mi = _mitsuba()
    model = load_head(str(data_folder() / "head_model.npz"))
    vertices = model.deform(identity, state, attributes)
    frame = _frame(turn(vertices[model.landmarks], attributes), attributes)
    painted = paint(model, identity, state, attributes)[::-1]  # Mitsuba's first row is v = 0
    texture = mi.load_dict(
        {"type": "bitmap", "bitmap": mi.Bitmap(np.ascontiguousarray(painted)), "raw": True}
    )
    skin = {"type": "principled", "base_color": texture, "roughness": 0.48, "specular": 0.45}
    eye = {"type": "principled", "base_color": texture, "roughness": 0.08, "specular": 0.7}
    teeth = _plain((0.62, 0.58, 0.50), roughness=0.3)
    tongue, lash = _plain((0.33, 0.09, 0.08), 0.4), _plain(np.array(identity.hair) * 0.5, 0.8)
    cloth = {"type": "diffuse", "reflectance": {"type": "mesh_attribute", "name": "vertex_color"}}
    strands = {
        "type": "principled",
        "base_color": {"type": "mesh_attribute", "name": "vertex_color"},
        "roughness": 0.42,
        "specular": 0.5,
    }
    meshes = {
        "face": (head_mesh(model, vertices, ["skin"]), skin),
        "face_eyes": (head_mesh(model, vertices, ["helper-l-eye", "helper-r-eye"]), eye),
        "face_teeth": (head_mesh(model, vertices, ["helper-upper-teeth", "helper-lower-teeth"]), teeth),
        "face_tongue": (head_mesh(model, vertices, ["helper-tongue"]), tongue),
        "face_lashes": (head_mesh(model, vertices, list(LASHES)), lash),
        "clothes": (clothes_mesh(model, vertices, attributes.clothes), cloth),
        "hair": (hair_mesh(model, vertices, identity, state), strands),
    }
    scene = {"type": "scene", "integrator": {"type": "path", "max_depth": 3, "hide_emitters": True}}
    scene |= _sensors(frame, size, samples) | _lights(attributes)
    for name, (mesh, bsdf) in meshes.items():
        if mesh is not None:
            scene[name] = _shape(name, mesh, attributes, {"type": "twosided", "material": bsdf})
    return mi.load_dict(scene), frame


def _plain(color, roughness):
    reflectance = {"type": "rgb", "value": [float(c) for c in color]}
    return {"type": "principled", "base_color": reflectance, "roughness": roughness}


def _sensors(frame, size, samples):
    """The camera of the picture, and the same camera with many small pixels for the mask."""
    mi = _mitsuba()
    x, z = frame.center
    pose = mi.ScalarTransform4f().look_at(origin=[x, -CAMERA_DISTANCE, z], target=[x, 0, z], up=[0, 0, 1])
    angle = 2 * np.rad2deg(np.arctan(frame.half / CAMERA_DISTANCE))

    def camera(pixels, count, pixel_filter):
        film = {"type": "hdrfilm", "width": pixels, "height": pixels, "pixel_format": "rgba"}
        return {
            "type": "perspective",
            "fov": angle,
            "to_world": pose,
            "film": film | {"rfilter": {"type": pixel_filter}},
            "sampler": {"type": "multijitter" if count > 1 else "independent", "sample_count": count},
        }

    return {
        "camera": camera(size, samples, "gaussian"),
        "mask_camera": camera(size * MASK_SUPERSAMPLING, 1, "box"),
    }


def _lights(attributes):
    """A constant surrounding and one square lamp that looks at the face."""
    mi = _mitsuba()
    azimuth, elevation = np.deg2rad([attributes.light_azimuth, attributes.light_elevation])
    direction = np.array(
        [np.sin(azimuth) * np.cos(elevation), -np.cos(azimuth) * np.cos(elevation), np.sin(elevation)]
    )
    to_world = mi.ScalarTransform4f().look_at(
        origin=(direction * LIGHT_DISTANCE).tolist(), target=[0, 0, -0.03], up=[0, 0, 1]
    ) @ mi.ScalarTransform4f().scale(LIGHT_RADIUS)
    radiance = 5.0 * attributes.light_strength * _warmth(attributes.light_warmth)
    ambient = attributes.ambient * _warmth(0.5 * attributes.ambient_warmth)
    return {
        "ambient": {"type": "constant", "radiance": {"type": "rgb", "value": ambient.tolist()}},
        "lamp": {
            "type": "rectangle",
            "to_world": to_world,
            "emitter": {"type": "area", "radiance": {"type": "rgb", "value": radiance.tolist()}},
        },
    }


def _warmth(amount):
    """Tint (3,) of a light: -1 is bluish, 1 is orange, brightness about kept."""
    return np.array([1 + 0.16 * amount, 1.0, 1 - 0.22 * amount])


def _shape(name, mesh: Mesh, attributes, bsdf):
    """Hand a mesh to Mitsuba, turned into the pose."""
    mi = _mitsuba()
    properties = mi.Properties()
    properties["mesh_bsdf"] = mi.load_dict(bsdf)
    shape = mi.Mesh(name, len(mesh.vertices), len(mesh.triangles), properties, True, mesh.uv is not None)
    if mesh.colors is not None:
        shape.add_attribute("vertex_color", 3, mesh.colors.ravel().astype(np.float32))
    vertices = turn(mesh.vertices, attributes)
    normals = turn(mesh.vertices + 1e-3 * mesh.normals, attributes) - vertices
    parameters = mi.traverse(shape)
    parameters["faces"] = mesh.triangles.ravel().astype(np.uint32)
    parameters["vertex_positions"] = vertices.ravel().astype(np.float32)
    if mesh.uv is not None:
        parameters["vertex_texcoords"] = mesh.uv.ravel().astype(np.float32)
    parameters.update()
    # Collapsed hair rows have no normal.
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    parameters["vertex_normals"] = normals.ravel().astype(np.float32)
    parameters.update()
    return shape


def _develop(scene, attributes, size, seed) -> np.ndarray:
    """Trace the picture, put the background behind it, and encode as sRGB."""
    mi = _mitsuba()
    linear = np.asarray(mi.render(scene, sensor=0, seed=seed), dtype=np.float64)
    alpha = np.clip(linear[..., 3:], 0, 1)
    picture = np.maximum(linear[..., :3], 0) + (1 - alpha) * background(attributes, size)
    return np.round(255 * srgb(picture)).astype(np.uint8)


def background(attributes: Attributes, size: int) -> np.ndarray:
    """The wall behind the head, (size, size, 3) linear RGB: a gradient and a few soft shapes, no noise."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    top, bottom = np.array(attributes.background_top), np.array(attributes.background_bottom)
    wall = top * (1 - y[..., None]) + bottom * y[..., None]
    rng = np.random.default_rng(attributes.background_seed)
    for _ in range(4):
        cx, cy = rng.uniform(0, 1), rng.uniform(0, 1)
        radius, tint = rng.uniform(0.1, 0.4), rng.uniform(-1, 1, 3)
        blob = np.exp(-((((x - cx) ** 2 + (y - cy) ** 2) / (2 * radius**2)) ** 2))
        wall = wall * np.exp(attributes.background_contrast * 1.6 * blob[..., None] * tint)
    return np.clip(wall, 0, 1)


def srgb(linear: np.ndarray) -> np.ndarray:
    """Linear RGB to sRGB (IEC 61966-2-1), clipped to [0, 1]."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _mask(scene, size) -> np.ndarray:
    """Which kind of surface covers most of each pixel."""
    mi = _mitsuba()
    integrator = mi.load_dict({"type": "aov", "aovs": "shape:shape_index"})
    index = np.asarray(mi.render(scene, sensor=1, integrator=integrator, seed=0, spp=1))[..., -1]
    # The index counts from 1; 0 is nothing.
    codes = np.array([BACKGROUND, *(_code(shape.id()) for shape in scene.shapes())])
    seen = codes[index.round().astype(int)]
    blocks = seen.reshape(size, MASK_SUPERSAMPLING, size, MASK_SUPERSAMPLING)
    votes = np.stack([(blocks == code).sum((1, 3)) for code in range(len(MASK_NAMES))])
    return votes.argmax(0).astype(np.uint8)


def _code(name):
    return FACE if name.startswith("face") else {"hair": HAIR, "clothes": CLOTHES}.get(name, BACKGROUND)


def use_one_thread() -> None:
    """Let this process trace with one thread, whatever the machine has."""
    import drjit

    drjit.set_thread_count(1)


def _mitsuba():
    """Mitsuba with a variant set; imported on first use because it is slow to load."""
    import mitsuba

    if mitsuba.variant() is None:
        mitsuba.set_variant(VARIANT)
        mitsuba.set_log_level(mitsuba.LogLevel.Error)  # collapsed hair rows have no normal, and that is fine
    return mitsuba


if __name__ == "__main__":
    from smoothswap_lib.build import main

    raise SystemExit(main())
