"""Self-checks of the exercises on the generator: resampling without aliases."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from smoothswap_lib import layers
from smoothswap_lib.checks.base import draw, judge


def check_fir_downsample(function: Callable) -> None:
    """(H, W) -> (H/2, W/2): the taps 1, 3, 3, 1 both ways, zeros outside, every second pixel."""
    image = draw(8, 10).float().abs() + 0.1
    taps = torch.tensor(layers.FIR_TAPS) / 8

    def filtered(padding, rows: Tensor = taps, across: Tensor = taps, mode: str = "constant") -> Tensor:
        padded = F.pad(image[None, None], padding, mode=mode)
        return F.conv2d(padded, torch.outer(rows, across)[None, None], stride=2)[0, 0]

    right = filtered((1, 1, 1, 1))
    mistakes = {
        "every second pixel is kept without the filter: that aliases": image[::2, ::2],
        "this is the mean of 2 x 2 pixels: the taps are 1, 3, 3, 1": F.avg_pool2d(image[None, None], 2)[0, 0],
        "off by one: pad one pixel on each side, not two on the right and below": filtered((0, 2, 0, 2)),
        "off by one: pad one pixel on each side, not two on the left and above": filtered((2, 0, 2, 0)),
        "outside the image are zeros: this repeats the border": filtered((1, 1, 1, 1), mode="replicate"),
        "outside the image are zeros: this reflects the image": filtered((1, 1, 1, 1), mode="reflect"),
        "the padding is missing": filtered((0, 0, 0, 0)),
        "filter both directions: rows are only picked": filtered((1, 1, 0, 3), torch.eye(4)[0]),
        "filter both directions: columns are only picked": filtered(
            (0, 3, 1, 1), taps, across=torch.eye(4)[0]
        ),
        "the weights must sum to 1: divide by 64": 64 * right,
        "the weights must sum to 1: divide by 8 for each direction": 8 * right,
    }
    judge(function, function(image), right, mistakes)
