"""The committed notebooks: all there, true to their contract, and each able to run alone.

nbval compares saved outputs with fresh ones when `make test` passes it the notebooks. These tests
hold what it would let pass: missing notebooks, cells never run, outputs that hide or are not there.
"""

import os
import re
import shutil
import stat
from pathlib import Path

import contract
import nbformat
import pytest
import run

COURSE = (
    "00_overview",
    "01_faces_with_known_answers",
    "02_identity_embedder",
    "03_smoothness",
    "04_generator",
    "05_discriminator_and_losses",
    "06_gan_training",
)
NAMES = sorted({*COURSE, *(path.stem for path in (run.ROOT / "notebooks").glob("[0-9]*.ipynb"))})


def path_of(name):
    return run.ROOT / "notebooks" / f"{name}.ipynb"


def test_every_notebook_of_the_course_is_there():
    missing = [name for name in COURSE if not path_of(name).is_file()]
    assert not missing, f"missing in notebooks/: {missing}"


@pytest.mark.parametrize("name", NAMES)
def test_notebook_keeps_the_contract(name):
    path = path_of(name)
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    broken = contract.problems(notebook, path, run.repository(), run.ROOT)
    assert not broken, f"{path.name} breaks the contract:\n" + "\n".join(broken)


@pytest.mark.parametrize("name", NAMES)
def test_notebook_names_the_repository_of_pyproject(name):
    slug = run.repository()
    addresses = re.findall(r"github\.com/([\w.-]+/[\w.-]+)", path_of(name).read_text(encoding="utf-8"))
    addresses += re.findall(
        r"colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)", path_of(name).read_text(encoding="utf-8")
    )
    course = {a.removesuffix(".git") for a in addresses if a.split("/")[1].startswith(slug.split("/")[1])}
    assert course == {slug}, "python notebooks/run.py links OWNER/NAME writes the address everywhere"


@pytest.mark.parametrize("name", NAMES)
def test_readme_lists_the_notebook(name):
    readme = (run.ROOT / "README.md").read_text(encoding="utf-8")
    assert f"](notebooks/{name}.ipynb)" in readme
    assert f"]({contract.COLAB.format(slug=run.repository(), name=f'{name}.ipynb')})" in readme


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file that a notebook has no business to touch."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "build" not in path.parts and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def read_only_checkout(tmp_path_factory):
    """What a notebook needs of a checkout, read-only but for build/."""
    copy = tmp_path_factory.mktemp("checkout")
    for folder in ("notebooks", "smoothswap_lib", "data"):
        ignore = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        shutil.copytree(run.ROOT / folder, copy / folder, ignore=ignore)
    shutil.copy(run.ROOT / "pyproject.toml", copy)
    (copy / "build").mkdir()
    folders = [copy, *(path for path in copy.rglob("*") if path.is_dir() and path.name != "build")]
    for folder in folders:
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    yield copy
    for folder in folders:
        folder.chmod(stat.S_IRWXU)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs_alone_from_a_read_only_checkout(name, read_only_checkout, tmp_path, monkeypatch):
    shutil.rmtree(read_only_checkout / "build")  # nothing that another notebook left helps this one
    (read_only_checkout / "build").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(read_only_checkout))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    for variable, value in run.isolate(tmp_path).items():
        monkeypatch.setenv(variable, value)
    before = listing(read_only_checkout)
    result = run.run_copy(read_only_checkout / "notebooks" / f"{name}.ipynb", tmp_path / "out", "quick")
    assert result.error is None, result.error
    # A superuser may write where others may not, so what changed is looked at too.
    assert listing(read_only_checkout) == before, "the notebook wrote outside build/"
    assert os.path.getsize(tmp_path / "out" / f"{name}.ipynb") > 0
