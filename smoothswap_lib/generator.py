"""Generator: (target image, source identity) -> swapped image (Sec. 4.2).

NCSN++ (score_sde, `ffhq_256_ncsnpp_continuous`) with half the channels, the time embedding replaced by the
identity vector, and the input image added to the output.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from smoothswap_lib.layers import (
    NEAR_ZERO,
    ResidualBlock,
    channels_last,
    conv1x1,
    conv3x3,
    fir_downsample,
    fir_upsample,
    group_norm,
)


class Generator(nn.Module):
    """U-Net of residual blocks with an image pyramid on each side.

    Encoder and decoder are ordered dictionaries whose names say where a module stands: `32x32_down` is the
    block that arrives at 32 x 32, `32x32_image` adds the target image shrunken to 32 x 32 (input skip), and
    `32x32_output` adds its image of changes to the enlarged one from 16 x 16 (output skip).

    z goes straight into each block: "we replace this embedding vector with identity embedding" (Sec. 4.2), so
    no mapping network is invented, nor score_sde's SiLU kept, which would deform the vector. The paper's
    configuration then has 17,725,717 parameters.

    Parameters
    ----------
    size : image size in pixels
    width : channels at full resolution (score_sde nf; 128 there, half of it in the paper)
    channel_multipliers : channels a level, in units of width; each level halves the size
    blocks_per_level : residual blocks a level in the encoder; the decoder has one more
    attention_resolutions : sizes in pixels at which self-attention is used
    identity_dim : length of the identity vector
    """

    def __init__(
        self,
        size: int = 256,
        width: int = 64,
        channel_multipliers: tuple[int, ...] = (1, 1, 2, 2, 2, 2, 2),
        blocks_per_level: int = 2,
        attention_resolutions: tuple[int, ...] = (16,),
        identity_dim: int = 512,
    ) -> None:
        super().__init__()
        resolutions = _resolutions(size, channel_multipliers, attention_resolutions)
        self.size, self.identity_dim = size, identity_dim

        def block(in_channels: int, out_channels: int, **kinds: bool | str) -> ResidualBlock:
            return ResidualBlock(in_channels, out_channels, identity_dim, **kinds)

        channels = width
        skip_channels = [channels]
        self.encoder = nn.ModuleDict({f"{size}x{size}_input": conv3x3(3, channels)})
        for res, multiplier in zip(resolutions, channel_multipliers, strict=True):
            if res != size:
                self.encoder[f"{res}x{res}_down"] = block(channels, channels, resample="down")
                self.encoder[f"{res}x{res}_image"] = conv1x1(3, channels)
                skip_channels.append(channels)
            for i in range(blocks_per_level):
                attends = res in attention_resolutions
                self.encoder[f"{res}x{res}_block{i}"] = block(channels, width * multiplier, attention=attends)
                channels = width * multiplier
                skip_channels.append(channels)

        self.middle = nn.ModuleDict(
            {"block0": block(channels, channels, attention=True), "block1": block(channels, channels)}
        )

        self.decoder = nn.ModuleDict()
        for res, multiplier in zip(reversed(resolutions), reversed(channel_multipliers), strict=True):
            if res != resolutions[-1]:
                self.decoder[f"{res}x{res}_up"] = block(channels, channels, resample="up")
            for i in range(blocks_per_level + 1):
                attends = res in attention_resolutions and i == blocks_per_level  # only after the last block
                joined = channels + skip_channels.pop()
                self.decoder[f"{res}x{res}_block{i}"] = block(joined, width * multiplier, attention=attends)
                channels = width * multiplier
            self.decoder[f"{res}x{res}_output"] = nn.Sequential(
                group_norm(channels), nn.SiLU(), conv3x3(channels, 3, scale=NEAR_ZERO)
            )
        channels_last(self)

    def forward(self, x_target: Tensor, z_source: Tensor) -> Tensor:
        """Give the target image the source's identity.

        Parameters
        ----------
        x_target : (B, 3, size, size) in [-1, 1]
        z_source : (B, identity_dim), unit length

        Returns
        -------
        x_swap : (B, 3, size, size), not clipped; before training it equals x_target
        """
        self._check(x_target, z_source)
        # Entries of a unit vector are about 1 / sqrt(dim), those of the time embedding it replaces about 1.
        z = z_source * math.sqrt(self.identity_dim)  # (B, identity_dim)

        h = image = x_target  # (B, 3, size, size)
        skips = []
        for name, layer in self.encoder.items():
            if name.endswith("_down"):
                h = layer(h, z)  # (B, C, res, res), half the size
                continue  # the image of the same size is still to come
            if name.endswith("_image"):
                image = fir_downsample(image)  # (B, 3, res, res)
                h = h + layer(image)  # (B, C, res, res)
            elif name.endswith("_input"):
                h = layer(h)  # (B, width, size, size)
            else:
                h = layer(h, z)  # (B, C, res, res)
            skips.append(h)

        for layer in self.middle.values():
            h = layer(h, z)  # (B, C, smallest, smallest)

        change = None
        for name, layer in self.decoder.items():
            if name.endswith("_up"):
                h = layer(h, z)  # (B, C, res, res), twice the size
            elif name.endswith("_output"):
                change = layer(h) if change is None else fir_upsample(change) + layer(h)  # (B, 3, res, res)
            else:
                h = layer(torch.cat([h, skips.pop()], dim=1), z)  # (B, C, res, res)
        return x_target + change  # (B, 3, size, size)

    def _check(self, x_target: Tensor, z_source: Tensor) -> None:
        if x_target.dim() != 4 or x_target.shape[1:] != (3, self.size, self.size):
            expected = f"(B, 3, {self.size}, {self.size})"
            raise ValueError(f"x_target must be {expected}, got {tuple(x_target.shape)}")
        if z_source.shape != (x_target.shape[0], self.identity_dim):
            expected = f"({x_target.shape[0]}, {self.identity_dim}), one vector an image"
            raise ValueError(f"z_source must be {expected}, got {tuple(z_source.shape)}")


def _resolutions(size: int, channel_multipliers: tuple[int, ...], attention: tuple[int, ...]) -> list[int]:
    """Return the levels' sizes, largest first; ValueError if a level or an attention cannot be reached."""
    levels = len(channel_multipliers)
    if levels < 1 or size < 1 or size % 2 ** (levels - 1):
        raise ValueError(
            f"{levels} channel_multipliers need {levels} levels; {size} cannot be halved that often"
        )
    resolutions = [size // 2**level for level in range(levels)]
    missing = [res for res in attention if res not in resolutions]
    if missing:
        raise ValueError(f"attention_resolutions {missing} are not among the levels {resolutions}")
    return resolutions
