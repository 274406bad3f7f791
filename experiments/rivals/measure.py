"""What is measured of each rival: the check that it must pass before it is compared, and its size."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from experiments.rivals.faceswap import hull_mask
from experiments.rivals.loop import Pairs, Rival, judged_rows, make_pairs
from smoothswap_lib import evaluation, generator, layers, losses, profiles, training

BATCH = 32  # pairs at a time
INNER = slice(17, 68)  # landmarks of brows, nose, eyes and mouth


@torch.inference_mode()
def swaps_of(rival: Rival, data, embedder: nn.Module, source: np.ndarray, target: np.ndarray) -> Tensor:
    """(N, 3, H, W) in [-1, 1]: swaps of rows of a data set."""
    parts = np.split(np.stack([source, target]), range(BATCH, len(source), BATCH), axis=1)
    pairs = (make_pairs(rival, data, embedder, *part, part[0] == part[1]) for part in parts)
    return torch.cat([rival.swap(pair).float().clamp(-1, 1) for pair in pairs]).clone()


def self_check(rival: Rival, data, embedder: nn.Module, count: int = 96, seed: int = 0) -> dict:
    """Is this rival worth comparing? On `count` pairs of people that it did not learn from.

    1. Given one picture as source and target, its swap is nearer to that picture than a picture of another
       person is.
    2. That swap has a face: in the hull of brows, nose, eyes and mouth it is nearer to the picture than the
       hull's mean color is. Without this, a gray spot pasted into the target passes.
    3. By the embedder that trained it, its swaps of two people are nearer to the source than the targets are:
       the 95 % interval of the cosine's gain, over redrawn sources, is above 0.

    Returns
    -------
    dict with the verdicts, their numbers (mean squared errors of [-1, 1] values, cosines), and the error
    to the true swap over that of handing back the target
    """
    source, target, true = judged_rows(rival, data, count, np.random.default_rng([seed, 1]))
    x_source, x_target, x_true = (data.image_batch(rows) for rows in (source, target, true))
    x_self = swaps_of(rival, data, embedder, target, target)
    x_swap = swaps_of(rival, data, embedder, source, target)
    self_error, other_error, error, copying = (
        (a - b).square().mean().item()
        for a, b in ((x_self, x_target), (x_source, x_target), (x_swap, x_true), (x_target, x_true))
    )
    inner = (torch.from_numpy(data.landmarks(row)[INNER]) for row in target)
    face = torch.stack([hull_mask(points, data.size) for points in inner])[:, None]  # (count, 1, H, W)
    flat = (x_target * face).sum((2, 3), keepdim=True) / face.sum((2, 3), keepdim=True).clamp(min=1)
    face_error, flat_error = (
        ((x - x_target).square() * face).sum().item() / (3 * face.sum().item()) for x in (x_self, flat)
    )
    z_source, z_target, z_swap = (evaluation.embed(x, embedder) for x in (x_source, x_target, x_swap))
    before, after = (torch.cosine_similarity(z, z_source) for z in (z_target, z_swap))  # (count,) each
    people = data.identities[source]
    groups = people if len(np.unique(people)) > 2 else None  # two people: their pictures are redrawn
    gain = evaluation.mean_interval(after - before, groups)
    verdicts = {
        "reconstructs": self_error < other_error,
        "has_a_face": face_error < flat_error,
        "moves_identity": gain.low > 0,
    }
    return {
        "passed": all(verdicts.values()),
        **verdicts,
        "pairs": count,
        "self_error": self_error,
        "another_person": other_error,
        "face_error": face_error,
        "flat_face": flat_error,
        "cos_source_of_target": before.mean().item(),
        "cos_source_of_swap": after.mean().item(),
        "gain": [gain.mean, gain.low, gain.high],
        "error_over_copying": error / copying,
    }


def size_of(rival: Rival, data) -> dict:
    """Parameters, multiply-adds of one swap (without the embedder's), loss terms, lines of code."""
    x, z, row = (
        torch.zeros(1, 3, rival.size, rival.size),
        torch.zeros(1, rival.identity_dim),
        np.zeros(1, int),
    )
    pairs = Pairs(x, x, z, torch.ones(1, dtype=torch.bool), rival.known(data, row, row))
    return _row(rival, lambda: rival.swap(pairs), len(rival.weights), [inspect.getmodule(type(rival))])


def size_of_ours(profile: profiles.Profile, identity_dim: int) -> dict:
    """The same of Smooth-Swap: its generator with its blocks, and its losses."""
    ours, _, _ = training.build_swapper(profile, identity_dim)
    x, z = torch.zeros(1, 3, profile.size, profile.size), torch.zeros(1, identity_dim)
    parts = [generator, layers.ResidualBlock, layers.SelfAttention]
    parts += [losses.identity_loss, losses.change_loss]
    return _row(ours, lambda: ours(x, z), 3, parts)


def _row(network: nn.Module, swap: Callable[[], Tensor], num_terms: int, code: list) -> dict:
    used: set[int] = set()
    hooks = [
        module.register_forward_hook(
            lambda module, *_: used.update(map(id, module.parameters(recurse=False)))
        )
        for module in network.modules()
    ]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        swap()
    for hook in hooks:
        hook.remove()
    return {
        "parameters": sum(p.numel() for p in network.parameters() if id(p) in used),
        "trained_parameters": sum(p.numel() for p in network.parameters()),
        "multiply_adds": counter.get_total_flops() // 2,  # of convolutions and matrix products
        "loss_terms": num_terms,
        "lines": sum(code_lines(inspect.getsource(part)) for part in code),
    }


def code_lines(source: str) -> int:
    """Lines of Python without comments, docstrings and blank lines, a statement a line."""
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                node.body = body[1:] or [ast.Pass()]
    return sum(bool(line.strip()) for line in ast.unparse(tree).splitlines())
