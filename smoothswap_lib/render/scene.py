"""TrueSwap's camera: parameters -> image, mask and landmarks, ray-traced by Mitsuba.

The only module that imports Mitsuba. `python -m smoothswap_lib.render build ...` renders a whole data set.
Depends on traits, head, hair, beard, skin, eyes, wardrobe, backdrop, lighting, masks.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from smoothswap_lib.files import data_folder
from smoothswap_lib.render import light as lighting
from smoothswap_lib.render import wardrobe
from smoothswap_lib.render.backdrop import backdrop
from smoothswap_lib.render.beard import beard_mesh
from smoothswap_lib.render.denoise import denoise
from smoothswap_lib.render.eyes import eye_meshes
from smoothswap_lib.render.hair import hair_mesh
from smoothswap_lib.render.head import Mesh, head_mesh, load_head, turn
from smoothswap_lib.render.skin import paint
from smoothswap_lib.world.masks import BACKGROUND, CLOTHES, FACE, HAIR, MASK_NAMES
from smoothswap_lib.world.traits import Attributes, Identity, State

VARIANT = "scalar_rgb"  # runs everywhere; for another one call mitsuba.set_variant before the first render
CAMERA_DISTANCE = 1.1  # meters in front of the eyes
MASK_SIZE = 128  # pixels a side that a mask is traced with at least, before neighbors vote
MATERIALS = {  # roughness, specular
    "hair": (1.0, 0.0), "cloth": (1.0, 0.0), "eye": (0.08, 0.4), "lash": (0.8, 0.1), "teeth": (0.3, 0.5),
    "tongue": (0.4, 0.4), "frame": (0.3, 0.5), "lenses": (0.25, 0.3),
}  # fmt: skip
TANGENT = 1e-4  # meters, of a tangent that is turned
GRAIN = 1  # its part of what `background_seed` draws
KNEE = 0.6  # linear; brighter than this, the picture rolls off toward white


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
    identity: Identity,
    state: State,
    attributes: Attributes,
    size: int = 64,
    samples: int = 64,
    seed: int = 0,
    denoised: bool = True,
) -> np.ndarray:
    """Render one picture of one face.

    Parameters
    ----------
    size : pixels a side.
    samples : light paths a pixel; noise falls with their square root.
    seed : of those paths.
    denoised : whether Open Image Denoise takes out what noise they leave.

    Returns
    -------
    (size, size, 3) uint8 sRGB. The true swap of source s into target t is
    `render(identity_s, state_s, attributes_t)`.
    """
    scene, _ = _build(identity, state, attributes, size, samples)
    return _develop(scene, attributes, size, seed, denoised)


def render_with_truth(
    identity: Identity,
    state: State,
    attributes: Attributes,
    size: int = 64,
    samples: int = 64,
    seed: int = 0,
    denoised: bool = True,
) -> Rendering:
    """Like `render`, with the mask of face, hair, clothes and background and the 68 landmarks."""
    scene, frame = _build(identity, state, attributes, size, samples)
    return Rendering(
        _develop(scene, attributes, size, seed, denoised), _mask(scene, size), frame.landmarks(size)
    )


def landmarks(identity: Identity, state: State, attributes: Attributes, size: int = 64) -> np.ndarray:
    """(68, 2) float32 pixels: the landmarks that `render_with_truth` would give, without a picture."""
    head = _landmark_head()
    points = head.deform(identity, state, attributes)[head.landmarks]
    return _frame(turn(points, attributes), attributes).landmarks(size)


@lru_cache(maxsize=1)
def _landmark_head():
    return load_head(str(data_folder() / "head_model.npz")).only_landmarks()


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
    scene = {"type": "scene", "integrator": {"type": "direct", "hide_emitters": True}}
    scene |= _sensors(frame, size, samples) | _lights(attributes)
    for name, mesh, material in _parts(model, vertices, identity, state, attributes):
        scene[name] = _shape(name, mesh, attributes, {"type": "twosided", "material": material})
    return mi.load_dict(scene), frame


def _parts(model, vertices, identity, state, attributes):
    """(name, mesh, material) of all there is to see; what the name begins with is the mask's code."""
    skin = _skin_material(paint(model, identity, state, attributes))
    yield "face", head_mesh(model, vertices, ["skin"]), skin
    for name, mesh, kind in eye_meshes(model, vertices, identity, attributes):
        yield f"face_{name}", mesh, _material(*MATERIALS[kind])
    for name, mesh in wardrobe.glasses_meshes(model, vertices, attributes).items():
        yield f"face_{name}", mesh, _material(*MATERIALS[name])
    yield "clothes", wardrobe.garment_mesh(model, vertices, attributes), _material(*MATERIALS["cloth"])
    for name, mesh in (
        ("hair", hair_mesh(model, vertices, identity, state, attributes)),
        ("face_beard", beard_mesh(model, vertices, identity, state)),
    ):
        if mesh is not None:
            yield name, mesh, _material(*MATERIALS["hair"])


def _material(roughness, specular):
    color = {"type": "mesh_attribute", "name": "vertex_color"}
    if not specular:
        return {"type": "diffuse", "reflectance": color}
    return {"type": "principled", "base_color": color, "roughness": roughness, "specular": specular}


def _skin_material(texture):
    mi = _mitsuba()
    bitmap = mi.Bitmap(np.ascontiguousarray(texture[::-1]))  # Mitsuba's first row is v = 0
    color = mi.load_dict({"type": "bitmap", "bitmap": bitmap, "raw": True})
    # Less noise for the same paths than the principled material, whose lobes share its samples evenly.
    return {
        "type": "roughplastic", "diffuse_reflectance": color, "nonlinear": False, "alpha": 0.35,
        "specular_reflectance": {"type": "rgb", "value": 0.4},
    }  # fmt: skip


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
        "camera": camera(size, samples, "box"),
        "mask_camera": camera(size * _votes(size), 1, "box"),
    }


def _lights(attributes):
    """The constant surrounding and the lamps, as one-sided rectangles that look at their targets."""
    mi = _mitsuba()
    ambient = {"type": "rgb", "value": [float(v) for v in lighting.ambient(attributes)]}
    # Found by the surface's own samples alone, which for an even surrounding are the less noisy ones.
    scene = {"ambient": {"type": "constant", "radiance": ambient, "sampling_weight": 0.0}}
    for number, lamp in enumerate(lighting.lamps(attributes)):
        pose = mi.ScalarTransform4f().look_at(
            origin=[float(v) for v in lamp.position], target=[float(v) for v in lamp.target], up=[0, 0, 1]
        ) @ mi.ScalarTransform4f().scale([float(lamp.half_width), float(lamp.half_height), 1.0])
        radiance = {"type": "rgb", "value": [float(v) for v in lamp.radiance]}
        scene[f"lamp{number}"] = {
            "type": "rectangle", "to_world": pose, "emitter": {"type": "area", "radiance": radiance},
        }  # fmt: skip
    return scene


def _shape(name, mesh: Mesh, attributes, bsdf):
    """Hand a mesh to Mitsuba, turned into the pose."""
    mi = _mitsuba()
    properties = mi.Properties()
    properties["mesh_bsdf"] = mi.load_dict(bsdf)
    shape = mi.Mesh(name, len(mesh.vertices), len(mesh.triangles), properties, True, mesh.uv is not None)
    if mesh.colors is not None:
        shape.add_attribute("vertex_color", 3, mesh.colors.ravel().astype(np.float32))
    vertices, normals = _turned(mesh, attributes)
    parameters = mi.traverse(shape)
    parameters["faces"] = mesh.triangles.ravel().astype(np.uint32)
    parameters["vertex_positions"] = vertices.ravel().astype(np.float32)
    if mesh.uv is not None:
        parameters["vertex_texcoords"] = mesh.uv.ravel().astype(np.float32)
    parameters.update()
    parameters["vertex_normals"] = normals.ravel().astype(np.float32)
    parameters.update()
    return shape


def _turned(mesh, attributes):
    """Vertices and unit normals (V, 3) in the pose.

    The neck is wrung, not only turned, so a normal follows as the cross product of two turned tangents.
    """
    vertices = turn(mesh.vertices, attributes)
    first = np.stack([-mesh.normals[:, 1], mesh.normals[:, 0], 0 * mesh.normals[:, 0]], 1)
    first = np.where((np.abs(mesh.normals[:, 2]) > 0.9)[:, None], [1.0, 0.0, 0.0], first)
    second = np.cross(mesh.normals, first)
    first = np.cross(second, mesh.normals)
    first, second = (turn(mesh.vertices + TANGENT * t, attributes) - vertices for t in (first, second))
    normals = np.cross(first, second)
    # Collapsed ribbons have no normal.
    return vertices, normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)


def _develop(scene, attributes, size, seed, denoised) -> np.ndarray:
    """Trace the picture, put the background behind it, and encode as sRGB."""
    mi = _mitsuba()
    linear = np.asarray(mi.render(scene, sensor=0, seed=seed), dtype=np.float64)
    alpha = np.clip(linear[..., 3:], 0, 1)
    color = np.maximum(linear[..., :3], 0)
    if denoised:
        color = denoise(color) * (alpha > 0)  # nothing leaks from the head into the wall beside it
    picture = color + (1 - alpha) * backdrop(attributes, size)
    picture = picture * 2**attributes.exposure * lighting.white_balance(attributes)
    encoded = 255 * srgb(shoulder(picture)) + attributes.grain * _grain(attributes, size)
    return np.clip(np.round(encoded), 0, 255).astype(np.uint8)


def _grain(attributes, size):
    """The sensor's noise, (size, size, 3) of deviation 1: the picture's own, whoever is in it."""
    return np.random.default_rng([attributes.background_seed, GRAIN, size]).normal(0, 1, (size, size, 3))


def shoulder(linear: np.ndarray) -> np.ndarray:
    """The film's curve: nothing changes below KNEE, and what is brighter nears 1 instead of being cut."""
    over = np.maximum(linear - KNEE, 0) / (1 - KNEE)
    return np.where(linear < KNEE, linear, KNEE + (1 - KNEE) * (1 - np.exp(-over)))


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
    blocks = seen.reshape(size, _votes(size), size, _votes(size))
    votes = np.stack([(blocks == code).sum((1, 3)) for code in range(len(MASK_NAMES))])
    return votes.argmax(0).astype(np.uint8)


def _votes(size):
    return -(-MASK_SIZE // size)


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
