"""The committed notebooks: all there, true to their contract, each runs alone and shows what is saved.

Each is run once, by papermill in a read-only copy of the checkout, and nbval's comparison holds what came out
beside what is saved. The contract holds what nbval would let pass: cells never run, missing outputs, pictures
without words.
"""

import re
import shutil
import stat
from pathlib import Path

import contract
import nbformat
import pytest
import run
from nbval.plugin import IPyNbFile, coalesce_streams

COURSE = [
    "00_overview",
    "01_faces_with_known_answers",
    "02_identity_embedder",
    "03_smoothness",
    "04_generator",
    "05_discriminator_and_losses",
    "06_gan_training",
    "07_train_on_your_gpu",
    "08_judging_swaps",
    "09_ablations",
    "10_the_rivals",
    "11_swap_lab",
    "12_scale",
    "13_detecting_swaps",
]


def path_of(name):
    return run.ROOT / "notebooks" / f"{name}.ipynb"


def test_every_notebook_of_the_course_is_there():
    assert [path.stem for path in run.find()] == COURSE


def test_notebooks_keep_the_contract():
    broken = {}
    for path in run.find():
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        broken[path.name] = contract.problems(notebook, path, run.repository(), run.ROOT)
    assert not any(broken.values()), broken


def test_notebooks_name_the_repository_of_pyproject_and_the_readme_lists_them():
    slug, readme = run.repository(), (run.ROOT / "README.md").read_text(encoding="utf-8")
    for name in COURSE:
        text = path_of(name).read_text(encoding="utf-8")
        addresses = re.findall(r"(?:github\.com|research\.google\.com/github)/([\w.-]+/[\w.-]+)", text)
        course = {a.removesuffix(".git") for a in addresses if a.split("/")[1].startswith(slug.split("/")[1])}
        assert course == {slug}, "python notebooks/run.py links OWNER/NAME writes the address everywhere"
        assert f"](notebooks/{name}.ipynb)" in readme
        assert f"]({contract.COLAB.format(slug=slug, name=f'{name}.ipynb')})" in readme


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
    for folder in ("notebooks", "smoothswap_lib", "experiments", "data"):
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


def fresh_outputs(executed):
    """The outputs of each code cell that stands in the notebook itself; papermill injects one more."""
    cells = [cell for _, cell in contract.code_cells(executed)]
    return [cell.outputs for cell in cells if "injected-parameters" not in cell.metadata.get("tags", [])]


def differences(path, executed, session):
    """Where nbval finds other outputs than those saved in the notebook at `path`: its words, a text a cell.

    stderr is not compared, as conftest.py's hook says; what a cell's tags say about its outputs is obeyed.
    """
    file = IPyNbFile.from_parent(session, path=path)
    session.config.hook.pytest_collectstart(collector=file)  # of every conftest.py: the copy lies elsewhere
    found = []
    for cell, outputs in zip(file.collect(), fresh_outputs(executed), strict=True):
        saved, outputs = coalesce_streams(cell.cell.outputs), coalesce_streams(outputs)
        if cell.options["check"] and not cell.compare_outputs(outputs, saved):
            found.append("\n".join([f"cell {cell.cell_num}: {cell.cell.source}", *cell.comparison_traceback]))
    return found


@pytest.fixture
def alone(read_only_checkout, tmp_path, monkeypatch):
    """The checkout with an empty build/: nothing that another notebook left helps this one."""
    shutil.rmtree(read_only_checkout / "build")
    (read_only_checkout / "build").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(read_only_checkout))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    for variable, value in run.isolate(tmp_path).items():
        monkeypatch.setenv(variable, value)
    before = listing(read_only_checkout)
    yield read_only_checkout
    # A superuser may write where others may not, so what changed is looked at too.
    assert listing(read_only_checkout) == before, "the notebook wrote outside build/"


@pytest.mark.slow
@pytest.mark.parametrize("name", COURSE)
def test_notebook_runs_alone_from_a_read_only_checkout(name, alone, tmp_path, request):
    result = run.run_copy(alone / "notebooks" / f"{name}.ipynb", tmp_path / "out", "quick")
    assert result.error is None, result.error
    executed = nbformat.read(tmp_path / "out" / f"{name}.ipynb", as_version=4)
    other = differences(path_of(name), executed, request.session)
    assert not other, f"{name} shows something else than what is saved:\n" + "\n\n".join(other)


# Of a GPU's profile a CPU's test keeps size, data, precision and logic; the networks are thin, the steps few.
THIN = ["generator_width=8", "blocks_per_level=1", "discriminator_base=256", "batch_size=4", "self_pairs=1"]
THIN_EMBEDDER = ["backbone=plain", "dim=32"]
FEW_IMAGES = ["identities_per_batch=4", "images_per_identity=2"]
TRAINING = {
    "02_identity_embedder": {"SETTINGS": [*THIN_EMBEDDER, "steps=40", "log_every=1"]},
    "05_discriminator_and_losses": {"SETTINGS": THIN},
    "06_gan_training": {"SETTINGS": [*THIN, "steps=12", "log_every=1"], "NUM_PAIRS": 32},
    "07_train_on_your_gpu": {
        "SETTINGS": [*THIN, "steps=3", "log_every=1", "preview_every=1"],
        "EMBEDDER_SETTINGS": [*THIN_EMBEDDER, *FEW_IMAGES, "steps=3", "log_every=1"],
        "TRAIN_EMBEDDER": True,
        "NUM_PAIRS": 8,
    },
    "12_scale": {"SETTINGS": THIN, "STEPS": 1},
}


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["gpu64", "gpu128"])
@pytest.mark.parametrize("name", TRAINING)
def test_notebook_runs_alone_with_a_gpus_profile_cut_to_a_few_steps(name, profile, alone, tmp_path):
    path = alone / "notebooks" / f"{name}.ipynb"
    result = run.run_copy(path, tmp_path / "out", profile, **TRAINING[name])
    assert result.error is None, result.error
