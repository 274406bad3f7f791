"""dlib's face models as a second judge: landmarks, and a recognizer of photographs (a ResNet, 128 numbers).

The models lie in the package face_recognition_models, the code in dlib-bin. Needs the extra `judges`.
"""

import numpy as np
import torch
from judges import Orl, needed, only_one, package_folder, to_padded
from PIL import Image
from tqdm import tqdm

from smoothswap_lib.datasets import alignment, to_float

LANDMARKED = 320  # pixels; ORL's squares are enlarged to this before dlib looks for the face


class Dlib:
    """Detector, 68 landmarks and recognizer, for (H, W, 3) uint8 images."""

    def __init__(self) -> None:
        self.dlib = needed("dlib")
        models = package_folder("face_recognition_models") / "models"
        self.detector = self.dlib.get_frontal_face_detector()
        self.predictor = self.dlib.shape_predictor(only_one(models, "*68_face_landmarks.dat"))
        self.recognizer = self.dlib.face_recognition_model_v1(only_one(models, "dlib_face_recognition*.dat"))

    def points(self, image: np.ndarray) -> np.ndarray | None:
        """(68, 2) pixels of the largest face, whole numbers at the centers; None without a face."""
        faces = self.detector(image)
        if not len(faces):
            return None
        shape = self.predictor(image, max(faces, key=lambda box: box.area()))
        return np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float64)

    def recognize(self, image: np.ndarray, points: np.ndarray) -> np.ndarray:
        """(128,) scaled to unit length; dlib itself compares the unscaled vectors."""
        corners = np.rint([points.min(0), points.max(0)]).astype(int).ravel().tolist()
        parts = [self.dlib.point(*np.rint(point).astype(int).tolist()) for point in points]
        shape = self.dlib.full_object_detection(self.dlib.rectangle(*corners), parts)
        vector = np.array(self.recognizer.compute_face_descriptor(image, shape))
        return vector / np.linalg.norm(vector)


class AlignedOrl:
    """ORL's photographs in FFHQ's crop, for `judges.judge`; left out where dlib finds no face."""

    def __init__(self, orl: Orl, dlib: Dlib) -> None:
        self.name, self.size, self.pixels, self.marks, people = "ORL, aligned", orl.size, [], [], []
        for row in tqdm(range(len(orl.files)), desc="ORL, faces", leave=False):
            square = Image.fromarray(orl.square(row)).convert("RGB")
            photograph = np.asarray(square.resize((LANDMARKED, LANDMARKED), Image.Resampling.LANCZOS))
            points = dlib.points(photograph)
            if points is not None:
                crop, transform = alignment.align(photograph, points, orl.size)
                self.pixels.append(crop)
                self.marks.append(alignment.to_crop(points, transform) + 0.5)
                people.append(orl.identities[row])
        self.identities = np.array(people)

    def image(self, row: int) -> np.ndarray:
        return self.pixels[row]

    def landmarks(self, row: int) -> np.ndarray:
        """(68, 2) pixels from the corner of the crop, as those of TrueSwap."""
        return self.marks[row]

    def points(self, row: int) -> np.ndarray:
        """(68, 2) in the padded picture."""
        return to_padded(self.landmarks(row), self.size)

    def image_batch(self, rows) -> torch.Tensor:
        """(rows, 3, size, size) float32 in [-1, 1]."""
        return to_float(torch.from_numpy(np.stack(self.pixels)[rows]).permute(0, 3, 1, 2))
