"""What several test files share: the head model, a small built data set, a finished run of each loop."""

import os
from dataclasses import replace

import book
import pytest
import tiny_runs
import torch
from filelock import FileLock
from people import FEW, NO_DRIFT, PASSPORT, SIZE, TINY, person

from smoothswap_lib import embedder
from smoothswap_lib.datasets import TrueSwap
from smoothswap_lib.files import data_folder
from smoothswap_lib.lab import lab
from smoothswap_lib.render import head, render_with_truth, use_one_thread
from smoothswap_lib.render.build import build


def once(tmp_path_factory, name, make):
    """The folder that `make(folder)` writes, made by the first worker of xdist that asks; only to be read."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        folder.mkdir(exist_ok=True)
        if not (folder / "made").exists():
            make(folder / "whole")
            (folder / "made").touch()  # not there after a failure, which the next worker then shows too
    return folder / "whole"


@pytest.fixture(scope="session")
def model():
    return head.load_head(str(data_folder() / "head_model.npz"))


@pytest.fixture(scope="session")
def one_thread():
    use_one_thread()


@pytest.fixture
def fixed_seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def test_split():
    return TrueSwap("test", size=64)


@pytest.fixture(scope="session")
def room():
    return lab.Lab()


@pytest.fixture(scope="session")
def passport(one_thread):
    """A bald mean head in a frontal picture at FFHQ's crop: identity, state, attributes, rendering."""
    identity = person(5, shape=(0.0,) * 97, gender=0.5, age=0.3, weight=0.5, melanin=0.3, beard_style="none")
    attributes = replace(PASSPORT, hair_style="bald", zoom=1.0)
    return identity, NO_DRIFT, attributes, render_with_truth(identity, NO_DRIFT, attributes, SIZE, FEW)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The folder of a built test split: 20 identities, 2 shared attribute sets and 1 free image, 16 px."""
    return once(tmp_path_factory, "tiny", lambda folder: build(folder, **TINY, processes=1, resume=True))


@pytest.fixture(scope="module")
def small_networks():
    """Thin embedders and one thread while a module's tests run."""
    threads, widths = torch.get_num_threads(), embedder.PLAIN_WIDTHS
    tiny_runs.make_small()
    yield
    torch.set_num_threads(threads)
    embedder.PLAIN_WIDTHS = widths


@pytest.fixture(scope="module")
def finished(tmp_path_factory, small_networks) -> dict[str, object]:
    """An uninterrupted run of each loop."""
    folder = tmp_path_factory.mktemp("finished")
    return {section: tiny_runs.train(section, folder / section) for section in ("embedder", "swapper")}


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The built book's folder of pages; about 15 s on a quiet core."""
    if book.missing():
        pytest.skip(book.missing())

    def make(out):
        assert book.main(["--out", str(out)]) == 0

    return (once(tmp_path_factory, "book", make) / "html").resolve()
