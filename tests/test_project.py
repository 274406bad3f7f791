"""The house in order: one list of packages in three files, and the rules that CONTRIBUTING.md states."""

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "smoothswap_lib"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

MODULES = {
    ".".join(path.relative_to(LIBRARY).with_suffix("").parts): path
    for path in sorted(LIBRARY.rglob("*.py"))
    if path.stem != "__init__"
}
FOLDERS = ("smoothswap_lib", "tests", "notebooks", "experiments", "docs")
PLACES = ("*.py", *(f"{folder}/**/*.py" for folder in FOLDERS))
SOURCES = sorted(path for place in PLACES for path in ROOT.glob(place))
MAX_LINES = 400
# Modules that need an optional extra for a part of what they do.
EXTRA_OF = {"datasets.align_folder": "align", "lab.manifest": "marking", "evaluation.ffpp": "judges"}
CONDA_NAMES = {"pytorch": "torch"}
IMPORT_NAMES = {
    "PIL": "pillow",
    "c2pa": "c2pa-python",
    "cv2": "opencv-python",
    "drjit": "mitsuba",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


def names(path):
    return str(path.relative_to(ROOT))


def by_name(requirements):
    return {canonicalize_name(r.name): r for r in map(Requirement, requirements)}


def pins(file="requirements.txt"):
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return by_name(line for line in lines if line and not line.startswith("#"))


def declared():
    extras = PROJECT["optional-dependencies"]
    found = by_name([*PROJECT["dependencies"], *extras["lab"], *extras["test"]])
    del found[canonicalize_name(PROJECT["name"])]  # an extra that includes another one
    return found


def conda():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    wheels = [line for entry in listed if isinstance(entry, dict) for line in entry["pip"]]
    lines = [entry for entry in listed if isinstance(entry, str)] + wheels
    found = by_name(line for line in lines if not line.startswith("-e"))
    return {CONDA_NAMES.get(name, name): requirement for name, requirement in found.items()}


def test_pyproject_and_environment_ask_for_the_same():
    wanted = {name: str(requirement.specifier) for name, requirement in declared().items()}
    listed = {name: str(requirement.specifier) for name, requirement in conda().items()}
    del listed["python"], listed["pip"]
    assert listed == wanted


def test_environment_offers_only_pythons_that_the_package_takes():
    lowest = Version(PROJECT["requires-python"].removeprefix(">="))
    offered = conda()["python"].specifier
    assert str(lowest) in offered
    assert "3.10" not in offered
    assert "3.13" in offered


def test_every_declared_package_is_pinned_inside_its_range():
    pinned = pins()
    for name, requirement in declared().items():
        assert name in pinned, f"requirements.txt lacks {name}"
        version = str(pinned[name].specifier).removeprefix("==")
        assert version in requirement.specifier, f"{name} {version} is outside {requirement.specifier}"


def test_pins_are_exact_and_plain():
    for name, requirement in pins().items():
        assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), f"{name} is not pinned: {requirement}"
    assert str(pins()["torch"].specifier) == "==2.13.0"


def test_pins_are_a_complete_closure():
    """Everything that the declared packages need here is pinned, except what torch names exactly itself."""
    pinned, queue, seen = pins(), list(declared().values()), set()
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        if (name, *requirement.extras) in seen:
            continue
        seen.add((name, *requirement.extras))
        assert name in pinned, f"requirements.txt lacks {name}"
        for line in importlib.metadata.requires(name) or []:
            needed = Requirement(line)
            extras = [*requirement.extras, ""]
            applies = needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras)
            if applies and not (name == "torch" and "==" in str(needed.specifier)):
                queue.append(needed)
    assert len(seen) > 100


@pytest.mark.parametrize("name", sorted(declared()))
def test_the_pinned_version_is_the_one_that_is_tested(name):
    installed = Version(importlib.metadata.version(name)).public
    assert f"=={installed}" == str(pins()[name].specifier), "install requirements.txt again"


def test_torchvision_is_nowhere():
    for file in ("requirements.txt", "environment.yml", "pyproject.toml"):
        lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if "torchvision" in line and not line.startswith("#")]


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]
    assert citation["repository-code"] == PROJECT["urls"]["Repository"]


@pytest.mark.parametrize("command", ["check", "format --check"])
def test_the_style_is_ruffs(command):
    ruff = [sys.executable, "-m", "ruff", *command.split(), "."]
    done = subprocess.run(ruff, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, f"`make lint` says:\n{done.stdout}{done.stderr}"


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path):
    """(first name, whole dotted name) of every import in a file, those inside functions too."""
    nodes = [tree(path)]
    while nodes:
        node = nodes.pop()
        nodes += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, ["smoothswap_lib" if node.level else "", node.module or ""]))
            yield from ((base.split(".")[0], f"{base}.{alias.name}") for alias in node.names)


def test_imports_run_one_way():
    """The contracts of pyproject.toml, by import-linter."""
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", lint, "--no-cache"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, f"`make lint` says:\n{done.stdout}{done.stderr}"


def test_only_render_imports_the_renderer():
    firsts = {name: {first for first, _ in imports(path)} for name, path in MODULES.items()}
    assert [name for name in MODULES if firsts[name] & {"mitsuba", "drjit"}] == ["render.scene"]


def test_the_library_imports_only_declared_packages():
    base = set(by_name(PROJECT["dependencies"]))
    for name, path in MODULES.items():
        named = base | set(by_name(PROJECT["optional-dependencies"].get(EXTRA_OF.get(name), ())))
        firsts = {first for first, _ in imports(path)} - {"smoothswap_lib", "__future__"}
        for first in firsts - sys.stdlib_module_names:
            package = canonicalize_name(IMPORT_NAMES.get(first, first))
            assert package in named, f"{name} imports {first}, which pyproject.toml does not name"


def test_documents_and_notebooks_import_only_pinned_packages():
    """What builds the book and the front page, and what runs the notebooks."""
    pinned = {*pins(), *pins("requirements-book.txt")}
    scripts = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in ("docs", "notebooks")]
    assert len(scripts) > 5
    known = {"smoothswap_lib", *sys.stdlib_module_names, *(path.stem for path in scripts)}
    for path in scripts:
        for first in {first for first, _ in imports(path)} - known:
            package = canonicalize_name(IMPORT_NAMES.get(first, first))
            assert package in pinned, f"{names(path)} imports {first}, which no requirements file pins"


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_files_are_short_enough_to_read(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{names(path)} has {lines} lines: it holds two ideas, name them"


PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def pickle_uses(path):
    """Imports and calls of a file that read or write pickles."""
    yield from (whole for first, whole in imports(path) if first in PICKLES)
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            allowed = [
                k for k in node.keywords if k.arg == "allow_pickle" and ast.unparse(k.value) != "False"
            ]
            if name in {"torch.load", "torch.save"} or name.endswith(("read_pickle", "to_pickle")) or allowed:
                yield f"{name} in line {node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_nothing_is_pickled(path):
    assert list(pickle_uses(path)) == [], "weights are safetensors, tables are Parquet, arrays are .npz"


def test_a_pickle_would_be_found(tmp_path):
    source = "import torch, pickle\ntorch.load('a')\nnp.load('b', allow_pickle=True)\nnp.load('c')\n"
    (tmp_path / "bad.py").write_text(source, encoding="utf-8")
    found = sorted(pickle_uses(tmp_path / "bad.py"))
    assert found == ["np.load in line 3", "pickle", "torch.load in line 2"]


IMPORT_EVERYTHING = """
import json, random, sys
from pathlib import Path
import numpy, torch
import sklearn.preprocessing  # it imports rich where that is installed, which draws a random number
root, modules = Path(sys.argv[1]), sys.argv[2:]
touched = []
def watch(event, arguments):
    if event in ("open", "os.mkdir") and isinstance(arguments[0], (str, Path)):
        path = Path(arguments[0]).absolute()
        inside = path.is_relative_to(root) and not path.is_relative_to(root / ".venv")
        if inside and path.suffix not in (".py", ".pyc"):
            touched.append(str(path))
    elif event == "socket.connect":
        touched.append(f"{event} {arguments}")
def state():
    return [str(random.getstate()), str(numpy.random.get_state()), torch.random.get_rng_state().tolist(),
            str(torch.get_default_dtype()), torch.get_num_threads(), torch.is_grad_enabled()]
before = state()
sys.addaudithook(watch)
for name in modules:
    __import__("smoothswap_lib." + name)
# What follows the last line is what the modules did themselves.
print(json.dumps({"touched": touched, "same": state() == before, "cuda": torch.cuda.is_initialized()}))
"""


def test_importing_the_library_does_nothing():
    """It prints nothing, touches no file, sets no seed, picks no device (STYLE: no state at import)."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "MPLBACKEND": "agg"}
    command = [sys.executable, "-c", IMPORT_EVERYTHING, str(ROOT), *MODULES]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1, f"an import printed: {done.stdout}"
    assert json.loads(done.stdout) == {"touched": [], "same": True, "cuda": False}
