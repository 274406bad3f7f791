"""What several test files share: a built data set of a few small pictures, a finished run of each loop."""

import pytest
import tiny_runs
import torch

from smoothswap_lib import embedder
from smoothswap_lib.build import build

# 20 identities are the fewest that ten folds of verification pairs allow.
TINY = {"split": "test", "seed": 5, "identities": 20, "images": 1, "attributes": 2, "size": 16, "samples": 1}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The folder of a built test split: 20 identities, 2 shared attribute sets and 1 free image, 16 px."""
    return build(tmp_path_factory.mktemp("built") / "tiny", **TINY, processes=2)


@pytest.fixture(scope="module")
def small_networks():
    """Thin embedders and one thread while a module's tests run."""
    threads, trunk = torch.get_num_threads(), embedder.TRUNKS["resnet_small"]
    tiny_runs.make_small()
    yield
    torch.set_num_threads(threads)
    embedder.TRUNKS["resnet_small"] = trunk


@pytest.fixture(scope="module")
def finished(tmp_path_factory, small_networks) -> dict[str, object]:
    """An uninterrupted run of each loop."""
    folder = tmp_path_factory.mktemp("finished")
    return {section: tiny_runs.train(section, folder / section) for section in ("embedder", "swapper")}
