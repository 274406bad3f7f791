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

import book
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


def test_every_declared_package_is_pinned_exactly_inside_its_range_and_installed():
    pinned = pins()
    assert "torchvision" not in pinned, "it does not import beside the hosted notebooks' torch"
    for name, requirement in pinned.items():
        assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), f"{name} is not pinned: {requirement}"
    for name, requirement in declared().items():
        assert name in pinned, f"requirements.txt lacks {name}"
        version = str(pinned[name].specifier).removeprefix("==")
        assert version in requirement.specifier, f"{name} {version} is outside {requirement.specifier}"
        installed = Version(importlib.metadata.version(name)).public
        assert installed == version, "install requirements.txt again"


def closure(requirements):
    """Names of all that is needed here, except what torch names exactly itself."""
    queue, seen = list(requirements), set()
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        if (name, *requirement.extras) in seen:
            continue
        seen.add((name, *requirement.extras))
        for needed in map(Requirement, importlib.metadata.requires(name) or []):
            extras = [*requirement.extras, ""]
            applies = needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras)
            if applies and not (name == "torch" and "==" in str(needed.specifier)):
                queue.append(needed)
    return {name for name, *_ in seen}


def test_pins_are_a_complete_closure():
    assert closure(declared().values()) - set(pins()) == set()


def test_the_books_packages_are_pinned_apart_and_are_a_closure():
    extra, base = pins("requirements-book.txt"), pins()
    extras = PROJECT["optional-dependencies"]
    wanted = by_name([*extras["book"], *extras["web"]])
    assert not set(extra) & set(base) and set(wanted) <= set(extra)
    if book.missing():
        pytest.skip(book.missing())
    assert closure(wanted.values()) - set(extra) - set(base) == set()
    for name, pinned in extra.items():
        installed = Version(importlib.metadata.version(name)).public
        assert f"=={installed}" == str(pinned.specifier), "install requirements-book.txt again"
        assert name not in wanted or installed in wanted[name].specifier


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]
    assert citation["repository-code"] == PROJECT["urls"]["Repository"]


LINT_IMPORTS = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()"]


def test_lint_finds_nothing():
    """What `make lint` runs: style, banned pickles, one direction of imports, the renderer in one module."""
    ruff = [sys.executable, "-m", "ruff"]
    for command in ([*ruff, "check"], [*ruff, "format", "--check"], [*LINT_IMPORTS, "--no-cache"]):
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
        assert done.returncode == 0, f"`make lint` says:\n{done.stdout}{done.stderr}"


def imports(path):
    """First names of all that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]


def test_only_declared_packages_are_imported():
    """By the library those of pyproject.toml; by what builds the book and runs notebooks the pinned ones."""
    extras, base = PROJECT["optional-dependencies"], by_name(PROJECT["dependencies"])
    pinned = {*pins(), *pins("requirements-book.txt")}
    cases = {path: {*base, *by_name(extras.get(EXTRA_OF.get(name), ()))} for name, path in MODULES.items()}
    scripts = [path for folder in ("docs", "notebooks") for path in (ROOT / folder).rglob("*.py")]
    cases |= {path: pinned for path in scripts}
    known = {"smoothswap_lib", *sys.stdlib_module_names, *(path.stem for path in scripts)}
    for path, named in cases.items():
        packages = {canonicalize_name(IMPORT_NAMES.get(first, first)) for first in {*imports(path)} - known}
        assert packages <= named, f"{path} imports {packages - named}, which is not named"


def test_files_are_short_enough_to_read_and_pickle_no_array():
    """What ruff does not see."""
    folders = ("smoothswap_lib", "tests", "notebooks", "experiments", "docs")
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= MAX_LINES, f"{path} holds two ideas, name them"
        assert path == Path(__file__) or not re.search(r"allow_pickle=True|\.to_pickle\(", text), path


IMPORT_EVERYTHING = """
import json, random, sys
from pathlib import Path
import matplotlib, numpy, torch
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
            str(torch.get_default_dtype()), torch.get_num_threads(), torch.is_grad_enabled(),
            str([matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"])]
before = state()
sys.addaudithook(watch)
for name in modules:
    __import__("smoothswap_lib." + name)
# What follows the last line is what the modules did themselves.
print(json.dumps({"touched": touched, "same": state() == before, "cuda": torch.cuda.is_initialized(),
                  "backend": matplotlib.get_backend(auto_select=False)}))
"""


def test_importing_the_library_does_nothing():
    """It prints nothing, touches no file, sets no seed, picks no device (STYLE: no state at import)."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("MPLBACKEND", None)
    command = [sys.executable, "-c", IMPORT_EVERYTHING, str(ROOT), *MODULES]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert json.loads(done.stdout) == {"touched": [], "same": True, "cuda": False, "backend": None}
