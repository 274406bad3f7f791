"""The generator beside diffusers' NCSN++ (UNet2DModel, Skip blocks): which layer is which, weights across.

Used by the tests of the generator and by `benchmarks/bench_peers.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from smoothswap_lib.generator import Generator
from smoothswap_lib.layers import ResidualBlock

if TYPE_CHECKING:
    from diffusers import UNet2DModel


def diffusers_unet(size, width, channel_multipliers, blocks_per_level, attention_resolutions) -> UNet2DModel:
    """Diffusers' network of a generator's configuration."""
    from diffusers import UNet2DModel  # takes seconds, and each of xdist's workers imports this file

    attends = [size >> level in attention_resolutions for level in range(len(channel_multipliers))]
    return UNet2DModel(
        sample_size=size,
        block_out_channels=[width * m for m in channel_multipliers],
        layers_per_block=blocks_per_level,
        down_block_types=["AttnSkipDownBlock2D" if a else "SkipDownBlock2D" for a in attends],
        up_block_types=["AttnSkipUpBlock2D" if a else "SkipUpBlock2D" for a in reversed(attends)],
        time_embedding_type="fourier",
        attention_head_dim=None,
        mid_block_scale_factor=math.sqrt(2),
        norm_eps=1e-6,
        norm_num_groups=None,
    )


def same_groups(ours: Generator, theirs: UNet2DModel) -> None:
    """Below 128 channels diffusers' attention normalizes smaller groups than NCSN++'s: give it ours."""
    for mine, other in layer_pairs(ours, theirs):
        if isinstance(mine, nn.GroupNorm):
            other.num_groups = mine.num_groups


def block_pairs(ours: Generator, theirs: UNet2DModel) -> Iterator[tuple[ResidualBlock, nn.Module]]:
    """Residual blocks of both, in the order of the forward pass."""
    resolutions = [ours.size >> level for level in range(len(theirs.down_blocks))]
    for res, level in zip(resolutions, theirs.down_blocks, strict=True):
        yield from ((ours.encoder[f"{res}x{res}_block{i}"], block) for i, block in enumerate(level.resnets))
        if level.resnet_down is not None:
            yield ours.encoder[f"{res // 2}x{res // 2}_down"], level.resnet_down
    yield from zip(ours.middle.values(), theirs.mid_block.resnets, strict=True)
    for res, level in zip(reversed(resolutions), theirs.up_blocks, strict=True):
        yield from ((ours.decoder[f"{res}x{res}_block{i}"], block) for i, block in enumerate(level.resnets))
        if level.resnet_up is not None:
            yield ours.decoder[f"{2 * res}x{2 * res}_up"], level.resnet_up


def layer_pairs(ours: Generator, theirs: UNet2DModel) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Layers with weights of both, without those that bring the identity (or the time) into a block."""
    resolutions = [ours.size >> level for level in range(len(theirs.down_blocks))]
    for mine, other in block_pairs(ours, theirs):
        yield from ((mine.norm0, other.norm1), (mine.conv0, other.conv1))
        yield from ((mine.norm1, other.norm2), (mine.conv1, other.conv2))
        assert isinstance(mine.skip, nn.Identity) == (other.conv_shortcut is None)
        if other.conv_shortcut is not None:
            yield mine.skip, other.conv_shortcut
    yield ours.encoder[f"{ours.size}x{ours.size}_input"], theirs.conv_in
    for res, level in zip(resolutions, theirs.down_blocks, strict=True):
        if level.resnet_down is not None:
            yield ours.encoder[f"{res // 2}x{res // 2}_image"], level.skip_conv
        for i, other in enumerate(getattr(level, "attentions", ())):
            yield from _attention_pairs(ours.encoder[f"{res}x{res}_block{i}"].attention, other)
    yield from _attention_pairs(ours.middle["block0"].attention, theirs.mid_block.attentions[0])
    for res, level in zip(reversed(resolutions), theirs.up_blocks, strict=True):
        if hasattr(level, "attentions"):
            last_block = ours.decoder[f"{res}x{res}_block{len(level.resnets) - 1}"]
            yield from _attention_pairs(last_block.attention, level.attentions[0])
        is_last = level.resnet_up is None
        norm, _, conv = ours.decoder[f"{res}x{res}_output"]
        yield norm, theirs.conv_norm_out if is_last else level.skip_norm
        yield conv, theirs.conv_out if is_last else level.skip_conv


def _attention_pairs(mine, other):
    yield from ((mine.norm, other.group_norm), (mine.query, other.to_q), (mine.key, other.to_k))
    yield from ((mine.value, other.to_v), (mine.out, other.to_out[0]))


@torch.no_grad()
def copy(source: nn.Module, target: nn.Module) -> None:
    """Copy a layer's weights; diffusers keeps the 1 x 1 convolutions of its attention as linear layers."""
    target.weight.copy_(source.weight.reshape(target.weight.shape))
    target.bias.copy_(source.bias)


@torch.no_grad()
def from_diffusers(ours: Generator, theirs: UNet2DModel, timestep: float = 1.0) -> None:
    """Put diffusers' weights into our generator, in place, with its identity path off.

    At one timestep, what diffusers adds in a block is the same for each image: it becomes the bias of the
    layer that the identity comes through, whose weights become 0. Diffusers divides its output by the
    timestep, so with 1 the two outputs agree, but for the input image, which ours adds.
    """
    for mine, other in layer_pairs(ours, theirs):
        copy(other, mine)
    at = torch.full((1,), timestep, dtype=theirs.conv_in.weight.dtype)
    embedded = F.silu(theirs.time_embedding(theirs.time_proj(at).to(at.dtype)))  # (1, C)
    for mine, other in block_pairs(ours, theirs):
        mine.from_identity.weight.zero_()
        mine.from_identity.bias.copy_(other.time_emb_proj(embedded)[0])
