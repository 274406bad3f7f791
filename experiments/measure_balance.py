"""What TrueSwap's two splits hold: how the parameters are spread, whether anything is tied or appears twice.

Every trait is meant to be drawn independently of every other, and no person to be in both splits; this
measures how far that holds for the files at hand, and writes the datasheet's figure::

    python experiments/measure_balance.py --train train --test test --out data/balance.json \\
        --figure docs/images/balance.png

Needs the base installation only.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from balance_figure import SPREAD_COLUMNS, figure
from embedding import embed_rows
from results import write_result
from scipy.fft import dctn
from scipy.spatial.distance import cdist
from scipy.stats import chisquare
from tqdm import tqdm

from smoothswap_lib import load_embedder
from smoothswap_lib.datasets import TrueSwap
from smoothswap_lib.evaluation import verification_auc, verification_auc_pairs
from smoothswap_lib.world import EXPRESSIONS, FOLLOWERS
from smoothswap_lib.world.masks import MASK_NAMES
from smoothswap_lib.world.traits import CHOICES, COLORS

YEARS = 65  # of one unit of age: 0 is about 25 years, 1 about 90
# Drawn from another column, as the datasheet says, so their correlation is no finding.
DERIVED = (
    "attributes.background_bottom", "identity.gray", "identity.brow_thickness", "identity.brow_arch",
)  # fmt: skip
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # of linear RGB (BT.709)
PERMUTATIONS = 20
NEAR_BITS = 4  # of 64; perceptual hashes this near are usually taken for one picture
HASH_SIDE, HASH_KEPT = 32, 8  # pixels of the gray picture, frequencies kept a side
HASH_CHUNK, PIXEL_CHUNK = 1024, 512  # rows at a time: about 100 MB of distances, 25 MB of pixels
RANDOM_SPLITS = 20
GROUPS = {"melanin": 3, "age": 3, "gender": 2}  # in how many groups of equal size people are parted
FREE = -1


class Split:
    """A split's images and columns, the first row of each identity and the rows outside of the matrix."""

    def __init__(self, split):
        self.name, self.data = str(split), TrueSwap(split)
        self.identities = self.data.identities
        self.people, self.first = np.unique(self.identities, return_index=True)
        free = np.flatnonzero(self.data.attribute_sets == FREE)
        self.free = free if len(free) else np.arange(len(self.data))

    def column(self, name) -> np.ndarray:
        return self.data.table[name].to_numpy()

    def person(self, name) -> np.ndarray:
        """(K,) an identity's column, once a person."""
        return self.column(name)[self.first]


def scalars(split: Split, kinds: tuple[str, ...], rows) -> tuple[list[str], np.ndarray]:
    """Names and (rows, columns) of the numbers of identity, state or attributes.

    A color counts as its luminance and a left-right pair of actions as its sum, because their parts are tied
    on purpose. Seeds, styles and constant columns are left out.
    """
    table, parts = split.data.table, {}
    for field in table.schema:
        kind, _, rest = field.name.partition(".")
        if kind not in kinds or str(field.type) not in ("float", "double"):
            continue
        base, _, last = field.name.rpartition(".")
        if base.partition(".")[2] in COLORS:
            key, weight = base, LUMINANCE[("red", "green", "blue").index(last)]
        elif rest.startswith("actions."):
            key, weight = field.name.removesuffix("Left").removesuffix("Right"), 1.0
        else:
            key, weight = field.name, 1.0
        if key not in DERIVED:
            parts[key] = parts.get(key, 0) + weight * table[field.name].to_numpy()[rows].astype(np.float64)
    kept = {name: values for name, values in parts.items() if np.std(values) > 1e-9}
    return list(kept), np.stack(list(kept.values()), axis=1)


def ties(names: list[str]) -> np.ndarray:
    """(columns,) a number for each; equal ones are tied on purpose, as a mouth that smiles does not frown."""
    groups = {}
    for number, group in enumerate(EXPRESSIONS):
        for action in (action for actions, *_ in group for action in actions):
            for tied in (action, *(follower for follower, _ in FOLLOWERS.get(action, ()))):
                groups["attributes.actions." + tied.removesuffix("Left").removesuffix("Right")] = number
    return np.array([groups.get(name, len(EXPRESSIONS) + place) for place, name in enumerate(names)])


def correlations(split: Split, rng) -> dict:
    """The largest correlation between two different numbers, and what independent ones would show by chance.

    Identity numbers are compared over people; those of state and attributes with one another and with the
    identity's over the free images. Chance: the same columns, each shuffled by itself.
    """
    own_names, own = scalars(split, ("identity",), split.first)
    names, drawn = scalars(split, ("state", "attributes"), split.free)
    place = np.searchsorted(split.people, split.identities[split.free])
    return {
        "identity": _largest(own_names, own, None, rng) | {"samples": len(own)},
        "picture": _largest(own_names + names, drawn, own[place], rng) | {"samples": len(drawn)},
    }


def _largest(names, drawn, held, rng) -> dict:
    """Largest |r| of pairs with a column of `drawn` in them; `held` stands before it and is not shuffled."""
    held = np.empty((len(drawn), 0)) if held is None else held
    tied = ties(names)
    matrix = _correlation(held, drawn, tied)
    first, second = np.unravel_index(np.argmax(matrix), matrix.shape)
    chance = []
    for _ in range(PERMUTATIONS):
        shuffled = np.stack([rng.permutation(column) for column in drawn.T], axis=1)
        chance.append(_correlation(held, shuffled, tied).max())
    return {
        "columns": len(names),
        "largest": float(matrix.max()),
        "between": [names[first], names[held.shape[1] + second]],
        "largest_by_chance_mean": float(np.mean(chance)),
        "largest_by_chance_max": float(np.max(chance)),
    }


def _correlation(held, drawn, tied):
    """(held + drawn, drawn) absolute correlations, 0 on the diagonal and where two columns are tied."""
    z = np.concatenate([held, drawn], axis=1)
    z = (z - z.mean(0)) / (z.std(0) * np.sqrt(len(z)))
    matrix = np.abs(z.T @ z[:, held.shape[1] :])
    return np.where(tied[:, None] == tied[held.shape[1] :], 0, matrix)


def styles(split: Split) -> dict:
    """How often each style is there, and if that fits equal chances (no beard, no and dark glasses apart)."""
    result = {}
    for name in CHOICES:
        kind = "identity" if name == "beard_style" else "attributes"
        column = f"{kind}.{name}"
        values = split.person(column) if kind == "identity" else split.column(column)[split.free]
        counts = {choice: int((values == choice).sum()) for choice in CHOICES[name]}
        equal = [count for choice, count in counts.items() if choice not in ("none", "sunglasses")]
        p = float(chisquare(equal).pvalue) if sum(equal) else None
        result[name] = {"counts": counts, "chi_square_p_of_equal_chances": p}
    return result


def spread(split: Split) -> dict:
    """Mean, deviation and range of the drawn numbers: people for the identity, free images for the rest."""
    result = {}
    for name in SPREAD_COLUMNS:
        values = split.person(name) if name.startswith("identity") else split.column(name)[split.free]
        numbers = {
            "mean": values.mean(),
            "deviation": values.std(),
            "least": values.min(),
            "most": values.max(),
        }
        result[name] = {key: float(value) for key, value in numbers.items()}
    return result


def drift(split: Split) -> dict:
    """How much one person varies between the free images: mean deviation and mean range of the state."""
    groups = [split.free[split.identities[split.free] == who] for who in split.people]
    groups = [rows for rows in groups if len(rows) > 1]
    if not groups:
        return {}
    result = {"images_a_person": float(np.mean([len(rows) for rows in groups]))}
    for name, unit in (("age", YEARS), ("weight", 1)):
        values = split.column(f"state.{name}")
        key = f"{name}_years" if unit != 1 else name
        result[f"{key}_deviation"] = float(np.mean([values[rows].std(ddof=1) for rows in groups]) * unit)
        result[f"{key}_range"] = float(np.mean([np.ptp(values[rows]) for rows in groups]) * unit)
    return result


def identity_distances(train: Split, test: Split) -> dict:
    """Smallest distances between people in the space of identity numbers, in standard deviations of train."""
    names, a = scalars(train, ("identity",), train.first)
    other_names, b = scalars(test, ("identity",), test.first)
    common = [name for name in names if name in other_names]
    a, b = a[:, [names.index(n) for n in common]], b[:, [other_names.index(n) for n in common]]
    mean, deviation = a.mean(0), a.std(0)
    a, b = (a - mean) / deviation, (b - mean) / deviation
    across, within = cdist(b, a), cdist(a, a)
    np.fill_diagonal(within, np.inf)
    row, column = np.unravel_index(across.argmin(), across.shape)
    return {
        "columns": len(common),
        "smallest_test_train": float(across.min()),
        "of_identities": [int(test.people[row]), int(train.people[column])],
        "smallest_within_train": float(within.min()),
        "median_nearest_test_to_train": float(np.median(across.min(1))),
        "median_nearest_within_train": float(np.median(within.min(1))),
        "median_test_train": float(np.median(across)),
    }


def perceptual_hashes(split: Split) -> np.ndarray:
    """(N, 64) float32 of -1 and 1: the signs of the 8 x 8 lowest DCT frequencies of a 32 x 32 gray picture.

    A bit is the frequency against the median of the 64, as in the usual pHash.
    """
    hashes = np.empty((len(split.data), HASH_KEPT**2), np.float32)
    starts = range(0, len(split.data), PIXEL_CHUNK)
    for start in tqdm(starts, desc=f"hashes of {split.name}", leave=False):
        rows = np.arange(start, min(start + PIXEL_CHUNK, len(split.data)))
        gray = (split.data.pixels(rows).float() * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1)
        small = torch.nn.functional.interpolate(gray[:, None], (HASH_SIDE, HASH_SIDE), mode="area")[:, 0]
        low = dctn(small.numpy(), axes=(1, 2), norm="ortho")[:, :HASH_KEPT, :HASH_KEPT].reshape(len(rows), -1)
        hashes[rows] = np.where(low > np.median(low, axis=1, keepdims=True), 1, -1)
    return hashes


def hamming_counts(a, b, same_rows: bool = False, people=None) -> np.ndarray:
    """(65,) how many pairs differ in 0, 1, ... 64 bits; chunked: all pairs at once would not fit memory.

    With `same_rows`, a is b: each pair counts once, and pairs of one person (`people`) do not count.
    """
    counts = np.zeros(a.shape[1] + 1, np.int64)
    for start in range(0, len(a), HASH_CHUNK):
        part = a[start : start + HASH_CHUNK]
        distance = ((a.shape[1] - part @ b.T) / 2).round().astype(np.int8)  # (chunk, len(b))
        if same_rows:
            rows = np.arange(start, start + len(part))
            distance = distance[(rows[:, None] < np.arange(len(b))) & (people[rows][:, None] != people)]
        counts += np.bincount(distance.ravel(), minlength=len(counts))
    return counts


def duplicates(train: Split, test: Split) -> tuple[dict, np.ndarray]:
    """How near pictures of the two splits come, and, to compare, those of different people within train."""
    a, b = perceptual_hashes(train), perceptual_hashes(test)
    across = hamming_counts(b, a)
    within = hamming_counts(a, a, same_rows=True, people=train.identities)
    result = {"hash": "pHash, 64 bits", "near_bits": NEAR_BITS}
    for name, counts in (("test_train", across), ("within_train_different_people", within)):
        result[name] = {
            "pairs": int(counts.sum()),
            "smallest_distance": int(np.flatnonzero(counts)[0]),
            "near_pairs": int(counts[: NEAR_BITS + 1].sum()),
            "near_pairs_a_million": float(counts[: NEAR_BITS + 1].sum() / counts.sum() * 1e6),
            "mean_distance": float((counts * np.arange(len(counts))).sum() / counts.sum()),
        }
    return result, across


def mask_shares(split: Split) -> dict:
    """Share of all pixels that each code of the masks has."""
    counts = np.bincount(split.data.masks.numpy().ravel(), minlength=len(MASK_NAMES))
    return {name: float(count / counts.sum()) for name, count in zip(MASK_NAMES, counts)}


def group_aucs(test: Split, name: str, rng) -> dict:
    """Verification AUC of a shipped embedder within thirds of melanin and age and halves of gender.

    A gap means little where random groups of people show one as large: these are measured beside it.
    """
    rows = np.arange(len(test.data))
    z = embed_rows(test.data, rows, load_embedder(name), f"embeddings of {test.name}")
    place = np.searchsorted(test.people, test.identities)
    chance = {}
    for parts in set(GROUPS.values()):
        even = np.arange(len(test.people)) * parts // len(test.people)
        draws = [rng.permutation(even)[place] for _ in range(RANDOM_SPLITS)]
        chance[parts] = np.array([_aucs_of(z, test.identities, group, parts)["gap"] for group in draws])
    result = {"embedder": str(name), "all_listed_pairs": verification_auc_pairs(z, *test.data.pairs())}
    for trait, parts in GROUPS.items():
        rank = np.argsort(np.argsort(test.person(f"identity.{trait}"), kind="stable"))
        result[trait] = _aucs_of(z, test.identities, (rank * parts // len(rank))[place], parts)
        result[trait] |= {
            "random_mean": float(chance[parts].mean()),
            "random_as_large": float((chance[parts] >= result[trait]["gap"]).mean()),
        }
    result["largest_gap_of"] = max(GROUPS, key=lambda trait: result[trait]["gap"])
    result["largest_gap"] = result[result["largest_gap_of"]]["gap"]
    return result


def _aucs_of(z, identities, group, parts) -> dict:
    """AUC over all pairs of images within each group, lowest values first, and their gap."""
    aucs = [verification_auc(z[group == part], identities[group == part]) for part in range(parts)]
    return {"auc": aucs, "gap": max(aucs) - min(aucs)}


def table(result: dict) -> str:
    """The main numbers as lines to read."""
    lines = []
    for split in ("train", "test"):
        shares = ", ".join(f"{name} {share:.1%}" for name, share in result["mask_shares"][split].items())
        lines.append(f"{split}: {result['settings'][split]}; {shares}")
        for name, numbers in result["spread"][split].items():
            lines.append(
                "  {:<20}{mean:8.3f} +- {deviation:6.3f}, {least:.2f} to {most:.2f}".format(name, **numbers)
            )
        for name, numbers in result["correlations"][split].items():
            lines.append(
                "  largest |r|, {:<9}{largest:6.3f} ({}); by chance {largest_by_chance_mean:.3f}, at most "
                "{largest_by_chance_max:.3f}".format(name, " and ".join(numbers["between"]), **numbers)
            )
        for name, numbers in result["drift"][split].items():
            lines.append(f"  state, {name.replace('_', ' '):<24}{numbers:8.3f}")
    for name, value in result["identity_distances"].items():
        lines.append(
            f"identity distance, {name.replace('_', ' '):<32}"
            + (f"{value:8.3f}" if isinstance(value, float) else f"{value!s:>8}")
        )
    for name in ("test_train", "within_train_different_people"):
        numbers = result["duplicates"][name]
        lines.append(
            "pHash, {}: smallest distance {smallest_distance}, {near_pairs} of {pairs} within {} bits".format(
                name.replace("_", " "), NEAR_BITS, **numbers
            )
        )
    if "groups" in result:
        for trait in GROUPS:
            part = result["groups"][trait]
            aucs = "  ".join(f"{auc:.4f}" for auc in part["auc"])
            chance = "of random groups {random_mean:.4f}, as large in {random_as_large:.0%}"
            lines.append(f"AUC by {trait:<10}{aucs}   gap {part['gap']:.4f}, " + chance.format(**part))
        lines.append("largest gap: {largest_gap:.4f}, of {largest_gap_of}".format(**result["groups"]))
    return "\n".join(lines)


def measure(train: Split, test: Split, embedder: str | None) -> tuple[dict, np.ndarray]:
    """All of the result, and the pHash distances that the figure shows."""
    rng = np.random.default_rng(0)
    both = {"train": train, "test": test}
    result = {
        "settings": {n: f"{s.name}, {len(s.people)} people, {len(s.data)} images" for n, s in both.items()}
    }
    result["spread"] = {name: spread(split) for name, split in both.items()}
    result["styles"] = {name: styles(split) for name, split in both.items()}
    result["correlations"] = {name: correlations(split, rng) for name, split in both.items()}
    result["drift"] = {name: drift(split) for name, split in both.items()}
    result["identity_distances"] = identity_distances(train, test)
    result["mask_shares"] = {name: mask_shares(split) for name, split in both.items()}
    if embedder is not None:
        result["groups"] = group_aucs(test, embedder, rng)
    result["duplicates"], hamming = duplicates(train, test)
    return result, hamming


def main(arguments=None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--train", default="train", help="train, or the folder of a built split (default: train)"
    )
    parser.add_argument("--test", default="test", help="test, or the folder of a built split (default: test)")
    parser.add_argument(
        "--embedder", default="robust", help="a shipped name, a run's folder or a file; none to leave it out"
    )
    parser.add_argument("--out", type=Path, help="JSON to write (default: printed)")
    parser.add_argument("--figure", type=Path, help="PNG to write (default: none)")
    options = parser.parse_args(arguments)
    try:
        train, test = Split(options.train), Split(options.test)
        result, hamming = measure(
            train, test, None if options.embedder.lower() == "none" else options.embedder
        )
        if options.figure:
            figure(train, test, result, hamming, NEAR_BITS, options.figure)
    except (OSError, ValueError, KeyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(result))
    write_result(result, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
