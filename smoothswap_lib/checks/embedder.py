"""Self-checks of the exercises on the identity embedder: the contrastive loss as the paper prints it."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from smoothswap_lib import losses
from smoothswap_lib.checks.base import draw, judge


def check_contrastive_loss(function: Callable) -> None:
    """(z, identity, temperature) with z (B, dim) of unit length -> the paper's loss (Sec. 4.1)."""
    z, identity, temperature = F.normalize(draw(8, 4), dim=1), torch.tensor([0, 0, 0, 1, 1, 1, 2, 2]), 0.3
    similarity = z @ z.T / temperature  # (B, B)
    same, itself = identity[:, None] == identity[None, :], torch.eye(8, dtype=torch.bool)  # (B, B)
    positive = same & ~itself
    negatives = similarity.masked_fill(same, -torch.inf).logsumexp(1, keepdim=True)  # (B, 1)
    others = similarity.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)  # (B, 1)
    with_itself = similarity.masked_fill(positive, -torch.inf).logsumexp(1, keepdim=True)  # (B, 1)
    every = similarity.logsumexp(1, keepdim=True)  # (B, 1)
    terms = F.softplus(negatives - similarity)  # (B, B)
    khosla = "the other positives do not belong into the denominator: that is Khosla's loss, not the paper's"
    mistakes = {
        khosla: (others - similarity)[positive].mean(),
        khosla + " (averaged by anchor)": losses.supcon_loss(z, identity, temperature),
        "an image is no positive of itself: leave out the diagonal": terms[same].mean(),
        "the image itself is in the denominator: only the positive and the negatives belong there": (
            F.softplus(with_itself - similarity)[positive].mean()
        ),
        "all images are in the denominator, the image itself too": (every - similarity)[positive].mean(),
        "the positive is missing from the denominator": (negatives - similarity)[positive].mean(),
        "the temperature is missing": losses.contrastive_loss(z, identity, 1.0),
        "divide by the temperature, do not multiply": losses.contrastive_loss(z, identity, 1 / temperature),
        "take the mean over the pairs, not the sum": terms[positive].sum(),
    }
    right = losses.contrastive_loss(z, identity, temperature)
    judge(function, function(z, identity, temperature), right, mistakes)
