"""What the tests of training share: a tiny profile, fake faces, a run of a loop, equality of two runs."""

from pathlib import Path

import numpy as np
import pyarrow.parquet
import torch

from smoothswap_lib import checkpoints, embedder, profiles, training
from smoothswap_lib.embedder import Embedder

ROOT = Path(__file__).resolve().parents[2]
TINY = profiles.Profile(
    name="tiny",
    size=16,
    mixed_precision="no",
    log_every=2,
    save_every=4,
    preview_every=5,
    embedder=profiles.EmbedderProfile("plain", 8, 10, identities_per_batch=4, images_per_identity=2),
    swapper=profiles.SwapperProfile(
        generator_width=8,
        channel_multipliers=(1, 1),
        blocks_per_level=1,
        attention_resolutions=(8,),
        discriminator_base=64,
        discriminator_max=8,
        steps=10,
        generator_learning_rate=5e-4,
        discriminator_learning_rate=2e-3,
        r1_gamma=0.1,
        ema_decay=0.9,
        batch_size=4,
        r1_interval=3,
    ),
)


class FakeFaces:
    """Eight identities, each a colored pattern, six noisy images of each."""

    size = 16

    def __init__(self) -> None:
        draw = np.random.default_rng(5)
        self.identities = np.repeat(np.arange(8) * 10 + 3, 6)
        coarse = draw.uniform(-0.8, 0.8, (8, 3, 4, 4)).repeat(4, 2).repeat(4, 3)
        noisy = coarse.repeat(6, 0) + draw.normal(0, 0.1, (48, 3, 16, 16))
        self.images = torch.tensor(noisy.clip(-1, 1), dtype=torch.float32)

    def __len__(self) -> int:
        return len(self.images)

    def image_batch(self, indices) -> torch.Tensor:
        return self.images[torch.as_tensor(indices)]


def fixed_embedder() -> Embedder:
    torch.manual_seed(1)
    return Embedder("plain", 8)


def train(task: str, out: Path | str, profile=TINY, **options) -> training.TrainingResult:
    options = {"data": FakeFaces(), "progress": False, **options}
    if task == "embedder":
        return training.train_embedder(profile, out, **options)
    return training.train_swapper(profile, out, embedder=fixed_embedder(), **options)


def make_small() -> None:
    """One thread (sums in another number of parts have other last bits) and a thin embedder."""
    torch.set_num_threads(1)
    embedder.PLAIN_WIDTHS = (4, 8, 8, 8)


def without_seconds(rows: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def assert_same_run(a: Path, b: Path) -> None:
    """Weights, whole states, rows and previews agree byte for byte; only the seconds may differ."""
    assert (a / "weights.safetensors").read_bytes() == (b / "weights.safetensors").read_bytes()
    states = [checkpoints.read_tensors(folder / "state" / "state.safetensors") for folder in (a, b)]
    assert states[0][1]["tensor_hash"] == states[1][1]["tensor_hash"]
    assert states[0][1]["optimizers"] == states[1][1]["optimizers"]
    rows = [pyarrow.parquet.read_table(folder / "metrics.parquet").to_pylist() for folder in (a, b)]
    assert without_seconds(rows[0]) == without_seconds(rows[1])
    previews = [{p.name: p.read_bytes() for p in (folder / "previews").glob("*")} for folder in (a, b)]
    assert previews[0] == previews[1]
