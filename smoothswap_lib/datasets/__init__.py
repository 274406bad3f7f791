"""Faces for training and for judging: TrueSwap (the true swap is known) and folders of photographs.

Every data set gives the same dictionary an image and the same `image_batch(indices)`, with images as float32
tensors in [-1, 1], so that the loops do not know which one they see.
"""

from smoothswap_lib.datasets.alignment import align, ffhq_quad, paste_back, to_crop
from smoothswap_lib.datasets.folders import (
    FaceFolder,
    IdentityFolder,
    Joined,
    celeba_list,
    to_float,
    to_uint8,
)
from smoothswap_lib.datasets.images import BROKEN_IMAGE, IMAGE_SUFFIXES, read_image
from smoothswap_lib.datasets.sampler import IdentityBatchSampler
from smoothswap_lib.datasets.trueswap import COLUMNS, SPLITS, TrueSwap, read_progress
