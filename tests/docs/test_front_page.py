"""The front page: its numbers, pictures, commands and links; and the workflows, which never ran."""

import re
import subprocess
import sys
from importlib import import_module
from itertools import islice

import contract
import nbformat
import numpy as np
import pytest
import run
import yaml
from PIL import Image

from smoothswap_lib import figures

ROOT = run.ROOT
README = (ROOT / "README.md").read_text(encoding="utf-8")
MOVING = ("turning", "walking")
MOST_BYTES = 1_500_000
SETUP = """\
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


def test_the_readme_holds_the_tables_that_the_data_give():
    assert import_module("front_page").filled(README) == README, "python docs/front_page.py writes them again"


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
    pictures = import_module("make_pictures")
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
        command = [sys.executable, *words[1:]]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
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


def test_the_commands_that_the_readme_names_are_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    names = set(re.findall(r"(?:`|^)make ([a-z]+)", README, re.MULTILINE))
    assert {"install", "lab", "student"} <= names
    assert all(re.search(rf"^{name}: .*##", makefile, re.MULTILINE) for name in names), names
    assert "$(DIR) $(FLAGS)" in makefile


def test_on_colab_the_first_cell_fetches_the_notebooks_version():
    wanted = SETUP.format(slug=run.repository())
    for path in run.find():
        first = next(cell for _, cell in contract.code_cells(nbformat.read(path, as_version=4)))
        assert f"{first.source}\n".startswith(wanted), f"{path.name} must begin with:\n{wanted}"


def test_the_first_cell_takes_what_is_newest(tmp_path):
    """Its commands run on a small repository in place of the course's, and pip is not called but named."""
    origin = tmp_path / "origin"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(origin)]
    subprocess.run(["git", "init", "-q", "-b", "main", str(origin)], check=True)
    for text, tag in (("published", "v1.0"), ("newer", "v1.1")):
        (origin / "state").write_text(text, encoding="utf-8")
        for command in (["add", "."], ["commit", "-q", "-m", text], ["tag", tag]):
            subprocess.run([*git, *command], check=True)
    code = SETUP.format(slug="o/n").replace("https://github.com/o/n", origin.as_uri())
    code = code.replace("smoothswap_lib", "no_such_library").replace("[sys.executable", '["echo"')
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-5:] == ["pip", "install", "-q", "-e", "course"]
    assert (tmp_path / "course" / "state").read_text(encoding="utf-8") == "newer"


@pytest.fixture(scope="module", params=("test", "pages"))
def workflow(request):
    path = ROOT / ".github" / "workflows" / f"{request.param}.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_workflow_names_only_what_is_there(workflow):
    makefile, written = (ROOT / "Makefile").read_text(encoding="utf-8"), {"swap.png", "sheet.png"}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    for command in [step["run"] for step in steps if "run" in step]:
        first, *words = command.split()
        assert first == "python" or re.search(rf"^{words[0]}:", makefile, re.MULTILINE), command
        for word in words:
            if re.fullmatch(r"[\w./-]+\.(py|txt|png|toml)", word) and word not in written:
                assert (ROOT / word).is_file(), f"{command}: {word} is not there"
