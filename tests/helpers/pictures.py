"""What tests of files share: a picture written, as bytes, cut out of a data set, inside a photograph."""

import io

import numpy as np
from PIL import Image


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def put(path, color="teal", size=(8, 8)):
    """A file of one color, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


def picture(data, row):
    """A row of a TrueSwap as a Pillow image."""
    return Image.fromarray(data.pixels([row])[0].permute(1, 2, 0).numpy())


def in_photograph(data, row):
    """A row of the 64 px edition at twice its size in an oblong picture; its landmarks (68, 2) there."""
    large = Image.new("RGB", (300, 240), "gray")
    large.paste(picture(data, row).resize((128, 128), Image.Resampling.LANCZOS), (90, 50))
    return large, (np.asarray(data.landmarks(row)) + 0.5) * 2 - 0.5 + [90, 50]
