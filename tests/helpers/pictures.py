"""What the tests of the lab share: a picture as the bytes of a file."""

import io

from PIL import Image


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()
