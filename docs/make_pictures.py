"""Draw the pictures that the README shows, from the shipped weights: `python docs/make_pictures.py`."""

from pathlib import Path

import matplotlib
import numpy as np

from smoothswap_lib import datasets, figures, swap

SEED = 0  # drawn once; the pairs are not chosen
NUM_PAIRS = 10
IMAGES = Path(__file__).resolve().parent / "images"


def main() -> None:
    matplotlib.use("Agg")
    figures.use_style()
    matrix = datasets.TrueSwap("test").matrix()  # (identities, attribute sets, 3, H, W)
    rng = np.random.default_rng(SEED)
    source, target = rng.permutation(len(matrix))[: 2 * NUM_PAIRS].reshape(2, -1)
    column_source, column_target = rng.integers(matrix.shape[1], size=(2, NUM_PAIRS))
    x_source, x_target = matrix[source, column_source], matrix[target, column_target]  # (B, 3, H, W)
    figure = figures.swap_figure(x_source, x_target, swap(x_source, x_target), matrix[source, column_target])
    IMAGES.mkdir(exist_ok=True)
    marks = {"Description": "Synthetic: swaps by a neural network, of rendered faces of nobody"}
    figure.savefig(IMAGES / "swaps.png", dpi=110, metadata=marks)


if __name__ == "__main__":
    main()
