"""Parameters -> image: `render(identity, state, attributes)` is a face whose every trait is known."""

from smoothswap_lib.render.scene import (
    KNEE,
    Rendering,
    landmarks,
    render,
    render_with_truth,
    shoulder,
    srgb,
    use_one_thread,
)
from smoothswap_lib.world.masks import BACKGROUND, CLOTHES, FACE, HAIR, MASK_NAMES
