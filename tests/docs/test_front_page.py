"""The front page: its numbers, pictures, commands, badges and links; and the workflow, which never ran."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from itertools import islice

import contract
import nbformat
import numpy as np
import pytest
import run
import yaml
from PIL import Image

from smoothswap_lib import figures
from smoothswap_lib.evaluation.claims import VERDICTS, read_claims
from smoothswap_lib.files import data_folder

ROOT = run.ROOT
README = (ROOT / "README.md").read_text(encoding="utf-8")
WORKFLOW = ROOT / ".github" / "workflows" / "test.yml"
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
MOVING = ("turning", "walking")
MOST_BYTES = 1_500_000
NOTEBOOKS = run.find()
SETUP = """\
try:
    import smoothswap_lib  # noqa: F401
except ImportError:  # a hosted notebook such as Colab: fetch the course with its data and weights, once
    import subprocess
    import sys

    course = "--depth 1 https://github.com/{slug} course"
    subprocess.run(f"git clone -b v{version} {{course}} || git clone {{course}}", shell=True, check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-e", "course"], check=True)
    sys.path.insert(0, "course")
"""
# Of notebooks that have moved to the third edition of the faces: there is no tag, so none is asked for.
SETUP_OF_TODAY = """\
try:
    import smoothswap_lib  # noqa: F401
except ImportError:  # a hosted notebook such as Colab: fetch the course with its data and weights, once
    import subprocess
    import sys

    course = "https://github.com/{slug}"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", course, "course"], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-e", "course"], check=True)
    sys.path.insert(0, "course")
"""


def module(name):
    """A script of docs/, imported."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_readme_holds_the_tables_that_the_data_give():
    assert module("front_page").filled(README) == README, "python docs/front_page.py writes them again"


def test_every_claim_is_counted_once():
    page = module("front_page")
    assert {claim.where for claim in read_claims()} <= set(page.ABOUT), "say in ABOUT what the new claims are"
    counted = [int(n or 0) for n in re.findall(r"\*\*(\d+)\*\*", page.claims())]
    verdicts = [claim.verdict for claim in read_claims()]
    assert counted == [verdicts.count(verdict) for verdict in VERDICTS]


def test_a_readme_without_the_marks_is_told():
    with pytest.raises(ValueError, match="must stand in the text once"):
        module("front_page").filled("no marks")


def test_the_prose_gives_the_numbers_of_the_files():
    measured = json.loads((data_folder() / "swappers.json").read_text(encoding="utf-8"))
    card = (data_folder() / "checkpoints" / "swapper.md").read_text(encoding="utf-8")
    steps, seconds = (int(re.search(rf"\| {name} \| (\d+) \|", card)[1]) for name in ("steps", "seconds"))
    said = " ".join(README.split())
    assert f"After {steps:,} steps, {round(seconds / 60)} minutes on a CPU" in said
    assert f"{measured['pairs']:,} swaps of {measured['people']} people" in said


def test_pictures_are_there_described_and_small():
    shown = re.findall(r"!\[([^\]]*)\]\((docs/[^)]+)\)", README)
    assert {path for _, path in shown} >= {f"docs/images/{name}.webp" for name in MOVING}
    for text, path in shown:
        assert len(text) > 80, f"{path}: say in words what it shows"
        assert (ROOT / path).stat().st_size < MOST_BYTES
    for name in MOVING:
        with Image.open(ROOT / "docs" / "images" / f"{name}.webp") as picture:
            assert picture.n_frames >= 24 and picture.info["loop"] == 0
            assert "Synthetic" in picture.getexif()[0x010E]


def test_the_walk_is_what_the_shipped_weights_draw():
    """A frame of the shipped picture against the same frame made anew; WebP is lossy."""
    pictures = module("make_pictures")
    number = 7  # more than half-way from the first source to the second
    grid = next(islice(pictures.walk_frames(), number, None))
    with Image.open(ROOT / "docs" / "images" / "walking.webp") as picture:
        picture.seek(number)
        frame = np.asarray(picture.convert("RGB")).astype(float)
    swaps = [figures.to_pixels(x).astype(float) for x in grid[2]]
    step, side = 134, 128  # two screen pixels a pixel, and the gap
    left = frame.shape[1] - 10 - (len(swaps) - 1) * step - side  # the margin is a tenth of an inch
    for k, wanted in enumerate(swaps):
        tile = frame[-10 - side : -10, left + k * step : left + k * step + side]
        small = tile.reshape(64, 2, 64, 2, 3).mean((1, 3))
        assert np.abs(small - wanted).mean() < 5, f"swap {k}: python docs/make_pictures.py walking"


def test_the_pair_to_try_with_is_small_and_square():
    for name in ("source", "target"):
        with Image.open(ROOT / "docs" / "images" / f"{name}.png") as picture:
            assert picture.size == (64, 64) and picture.mode == "RGB"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_readmes_python_runs(tmp_path):
    (code,) = blocks("python")
    names, code = {}, code.replace("build/", f"{tmp_path.as_posix()}/")
    exec(compile(code, "README.md", "exec"), names)
    assert tuple(names["x_swap"].shape) == (4, 3, 64, 64)
    assert tuple(names["people"].shape) == (96, 24, 3, 64, 64)
    assert (tmp_path / "swaps.png").is_file()


def test_the_readmes_swap_and_verify_run(tmp_path):
    lines = [line for block in blocks("sh") for line in block.splitlines() if "-m smoothswap_lib " in line]
    assert len(lines) == 2
    for line in lines:
        words = line.split("#")[0].replace("build/", f"{tmp_path}/").split()
        done = subprocess.run(
            [sys.executable, *words[1:]], capture_output=True, text=True, cwd=ROOT, timeout=300
        )
        assert done.returncode == 0, done.stderr
    assert "marked as synthetic (32 of 32 bits)" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["swap.png"]


def test_the_readmes_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)\s]+)\)", README):
        if target.startswith("#"):
            headings = [line.lstrip("# ").lower() for line in README.splitlines() if line.startswith("#")]
            assert target[1:].replace("-", " ") in headings
        elif not re.match(r"[a-z]+:", target):
            assert (ROOT / target.split("#")[0]).exists(), f"{target} leads nowhere"


@pytest.mark.parametrize("path", [ROOT / "README.md", *NOTEBOOKS], ids=lambda path: path.name)
def test_every_badge_opens_a_notebook_that_is_there(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = contract.prose(nbformat.reads(text, as_version=4))
    prefix = contract.COLAB.format(slug=run.repository(), name="")
    opened = re.findall(r"https://colab\.research\.google\.com/github/[^\s)\"]+", text)
    assert opened
    for address in opened:
        assert address.startswith(prefix), "make badges REPO=owner/name writes the address everywhere"
        assert (ROOT / "notebooks" / address.removeprefix(prefix)).is_file()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_on_colab_the_first_cell_fetches_the_notebooks_version(path):
    first = next(cell for _, cell in contract.code_cells(nbformat.read(path, as_version=4)))
    of_today = SETUP_OF_TODAY.format(slug=run.repository())
    wanted = (SETUP.format(slug=run.repository(), version=run.version()), of_today)
    assert f"{first.source}\n".startswith(wanted), f"the first cell must begin with:\n{of_today}"


def test_the_first_cell_takes_the_tag_or_what_is_newest(tmp_path):
    """Its commands run on a small repository in place of the course's, and pip is not called but named."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path / "origin")]
    subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path / "origin")], check=True)
    for text in ("published", "newer"):
        (tmp_path / "origin" / "state").write_text(text, encoding="utf-8")
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-q", "-m", text], check=True)
        if text == "published":
            subprocess.run([*git, "tag", f"v{run.version()}"], check=True)
    assert fetched(tmp_path / "one", tmp_path / "origin", run.version()) == "published"
    assert fetched(tmp_path / "two", tmp_path / "origin", "99.0.0") == "newer"


def fetched(folder, origin, version):
    """What lies in course/ after the first cell ran in `folder`; it must call pip for that folder only."""
    code = SETUP.format(slug="o/n", version=version).replace("https://github.com/o/n", origin.as_uri())
    code = code.replace("import smoothswap_lib", "import no_such_library").replace(
        "[sys.executable", '["echo"'
    )
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-5:] == ["pip", "install", "-q", "-e", "course"]
    return (folder / "course" / "state").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_badges_calls_the_command_and_asks_for_a_name():
    shown = subprocess.run(
        ["make", "--dry-run", "badges", "REPO=some-owner/some-name"], capture_output=True, text=True, cwd=ROOT
    )
    assert "notebooks/run.py links some-owner/some-name" in shown.stdout
    recipe = MAKEFILE.split("\nbadges:")[1].split("\n\n")[0]
    assert 'test -n "$(REPO)"' in recipe and "make badges REPO=owner/name" in recipe


@pytest.fixture(scope="module")
def workflow():
    return yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_the_workflow_covers_systems_and_versions(workflow):
    jobs = workflow["jobs"]
    versions = ["3.11", "3.12", "3.13"]
    assert jobs["linux"]["strategy"]["matrix"]["python"] == versions
    assert jobs["others"]["strategy"]["matrix"] == {
        "system": ["macos-latest", "windows-latest"],
        "python": versions,
    }
    assert list(workflow[True]) == [
        "push",
        "pull_request",
        "workflow_dispatch",
        "schedule",
    ]  # YAML reads on: as True
    for step in steps(workflow):
        if step.get("uses", "").startswith("actions/setup-python"):
            assert step["with"]["cache"] == "pip" and (ROOT / step["with"]["cache-dependency-path"]).is_file()
    newest = " ".join(step.get("run", "") for step in jobs["newest"]["steps"])
    assert "requirements.txt" not in newest and "--upgrade" in newest


def test_the_workflow_names_only_what_is_there(workflow):
    written = {"swap.png", "sheet.png"}
    for command in [step["run"] for step in steps(workflow) if "run" in step]:
        first, *words = command.split()
        assert first in ("make", "python")
        if first == "make":
            assert re.search(rf"^{words[0]}:", MAKEFILE, re.MULTILINE)
        for word in words:
            if re.fullmatch(r"[\w./-]+\.(py|txt|png|toml)", word) and word not in written:
                assert (ROOT / word).is_file(), f"{command}: {word} is not there"
        if words[:2] == ["-m", "smoothswap_lib"]:
            assert words[2] in ("swap", "verify")


def test_the_left_out_tests_are_those_of_the_pins(workflow):
    command = next(s["run"] for s in workflow["jobs"]["newest"]["steps"] if "-k" in s.get("run", ""))
    out = re.search(r'-k "not (\w+) and not (\w+)"', command).groups()
    functions = re.findall(
        r"def (test_\w+)", (ROOT / "tests" / "test_project.py").read_text(encoding="utf-8")
    )
    left_out = [name for name in functions if any(word in name for word in out)]
    assert "test_the_pinned_version_is_the_one_that_is_tested" in left_out
    assert "test_pins_are_a_complete_closure" in left_out
    everywhere = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    names = [n for n in re.findall(r"def (test_\w+)", everywhere) if any(word in n for word in out)]
    assert all("pin" in name for name in names), "only tests of the pins may be left out"


def test_what_never_ran_says_so(workflow):
    assert "has never been run" in WORKFLOW.read_text(encoding="utf-8").splitlines()[0]
    assert "has never been run" in " ".join(README.split())
