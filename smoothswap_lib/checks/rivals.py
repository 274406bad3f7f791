"""Self-checks of the exercises on the rivals: how SimSwap tells an identity, how FaceShifter chooses."""

from collections.abc import Callable

from smoothswap_lib.checks.base import draw, judge


def check_adain(function: Callable) -> None:
    """(B, C, H, W), scale and shift (B, C) -> each channel of each image with this deviation and mean."""
    h, told = draw(2, 3, 4, 5), draw(2, 3, 2) + 1
    scale, shift = told.unbind(dim=2)  # (2, 3) each

    def styled(over: tuple[int, ...], scale=scale, shift=shift, power: float = 1.0, centered: bool = True):
        mean = h.mean(over, keepdim=True)
        deviation = (h - mean).square().mean(over, keepdim=True).sqrt() ** power
        return scale[..., None, None] * (h - centered * mean) / deviation + shift[..., None, None]

    mistakes = {
        "the maps are not normalized first": scale[..., None, None] * h + shift[..., None, None],
        "the mean is left in: subtract it before the division": styled((2, 3), centered=False),
        "this divides by the variance: take its root": styled((2, 3), power=2.0),
        "these are the statistics of the batch: each image has its own": styled((0, 2, 3)),
        "these are the statistics of an image: each channel has its own": styled((1, 2, 3)),
        "scale and shift have changed places": styled((2, 3), shift, scale),
    }
    judge(function, function(h, scale, shift), styled((2, 3)), mistakes)


def check_blend_by_mask(function: Callable) -> None:
    """Attributes (B, C, H, W), identity (B, C, 1, 1), logits (B, 1, H, W) -> a mixture by sigmoid(logits)."""
    attributes, identity, logits = draw(2, 3, 4, 5), 2 * draw(2, 3, 1, 1), 3 * draw(2, 1, 4, 5)
    mask = logits.sigmoid()
    right = (1 - mask) * attributes + mask * identity
    mistakes = {
        "the wrong way round: where the mask is 1 stands the identity": right
        + (1 - 2 * mask) * (identity - attributes),
        "the logits are no mask yet: a sigmoid brings them to 0 to 1": (1 - logits) * attributes
        + logits * identity,
        "this adds the identity to the attributes: the mask must take them away": attributes
        + mask * identity,
        "this is a sum without a choice: use the mask": attributes + identity,
        "a hard choice has no gradient: mix by the mask": (mask > 0.5) * identity
        + (mask <= 0.5) * attributes,
    }
    judge(function, function(attributes, identity, logits), right, mistakes)
