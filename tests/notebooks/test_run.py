"""The runner: what runs is told, what fails is named, what is saved is the same every time."""

import base64
import csv
import io
import json
import os
import shutil

import nbformat
import numpy as np
import pytest
import run
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()"
GOOD = ["import sys", 'PROFILE = "slow"', PLOT, "print(PROFILE)"]
BAD = ['PROFILE = "slow"', "a = 1", "# why\nb = a + missing"]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder with pyproject.toml and an empty notebooks/, as the working directory."""
    (tmp_path / "notebooks").mkdir()
    shutil.copy(run.ROOT / "pyproject.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(checkout, name, sources):
    cells = [new_markdown_cell("# Toy"), *map(new_code_cell, sources)]
    for cell in cells[1:]:
        if cell.source.startswith("PROFILE"):
            cell.metadata["tags"] = ["parameters"]
    path = checkout / "notebooks" / name
    nbformat.write(new_notebook(cells=cells, metadata={"vendor": {"seen": "today"}}), path)
    return path


def test_tutorial_goes_on_after_a_failure_and_names_cell_and_error(checkout, capsys):
    paths = write(checkout, "00_bad.ipynb", BAD), write(checkout, "01_good.ipynb", GOOD)
    before = [path.read_bytes() for path in paths]
    assert not run.tutorial("", "quick", checkout / "out", checkout)
    printed = capsys.readouterr().out
    assert "cell 4, which begins `# why`: NameError: name 'missing' is not defined" in printed
    assert "failed: 00_bad" in printed
    assert [path.read_bytes() for path in paths] == before
    figure = checkout / "out" / "01_good.png"
    assert str(figure.relative_to(checkout)) in printed and figure.read_bytes().startswith(b"\x89PNG")
    with open(checkout / "out" / "seconds.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["notebook"], row["ok"]) for row in rows] == [("00_bad", "False"), ("01_good", "True")]
    executed = nbformat.read(checkout / "out" / "01_good.ipynb", as_version=4)
    assert executed.cells[-1].outputs[0].text == "quick\n", "the profile did not reach the notebook"


@pytest.mark.parametrize(
    "source, words",
    [
        ("import os\nos._exit(1)", "cell 2, which begins `import os`: DeadKernelError"),
        ("import urllib.request\nurllib.request.urlopen('http://example.com', timeout=20)", "refused"),
    ],
)
def test_a_dead_kernel_and_the_network_are_failures(checkout, monkeypatch, source, words):
    for variable, value in run.isolate(checkout).items():
        monkeypatch.setenv(variable, value)
    result = run.run_copy(write(checkout, "00_toy.ipynb", [source]), checkout / "out", "quick")
    assert words in result.error


def test_save_twice_writes_the_same_bytes(checkout):
    path = write(checkout, "00_good.ipynb", [*GOOD, "import ipywidgets\nipywidgets.IntSlider(3)"])
    first = run.run_in_place(path, checkout / "out", "a/b", checkout)
    assert "the contract is broken" in first.error, "a toy without a box must be told"
    saved = path.read_bytes()
    run.run_in_place(path, checkout / "out", "a/b", checkout)
    assert path.read_bytes() == saved
    notebook = json.loads(saved)
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert [cell["execution_count"] for cell in notebook["cells"][1:]] == [1, 2, 3, 4, 5]
    assert all(set(cell["metadata"]) <= {"tags"} for cell in notebook["cells"])
    plot, words, slider = (cell["outputs"][-1] for cell in notebook["cells"][3:])
    assert base64.b64decode("".join(plot["data"]["image/png"])).startswith(b"\x89PNG")
    assert words["text"] == ["slow\n"], "nothing may be injected"
    assert slider["data"] == {"text/plain": ["IntSlider(value=3)"]}


def test_save_leaves_a_notebook_that_stopped_as_it_was(checkout):
    path = write(checkout, "00_bad.ipynb", BAD)
    before = path.read_bytes()
    result = run.run_in_place(path, checkout / "out", "a/b", checkout)
    assert "cell 4" in result.error and "00_bad.ipynb is left as it was" in result.error
    assert path.read_bytes() == before
    outputs = nbformat.read(checkout / "out" / "00_bad.ipynb", as_version=4).cells[-1].outputs
    assert outputs[0].ename == "NameError"


@pytest.mark.parametrize("beside", ({}, {"text/plain": "a slider"}, {"image/png": "iVBORw0KGgo="}))
def test_a_widgets_view_is_saved_only_where_no_text_or_picture_is_and_always_with_one_number(beside):
    data = {run.WIDGET: {"model_id": os.urandom(4).hex()}, **beside}
    cell = new_code_cell("slider", outputs=[new_output("display_data", data=data)])
    notebook = run.normalize(new_notebook(cells=[cell]))
    nbformat.validate(notebook)
    output = notebook.cells[0].outputs[0]
    if beside:
        assert output.data == beside and output.metadata == {"widget": True}
    else:
        assert output.data[run.WIDGET]["model_id"] == "widget-0"
    assert run.normalize(notebook).cells[0].outputs[0] == output


def test_an_unknown_notebook_is_named_with_those_there_are(checkout):
    write(checkout, "00_good.ipynb", GOOD)
    with pytest.raises(SystemExit, match="'07'.*00_good.ipynb"):
        run.find("07", checkout)


def test_moving_the_repository_changes_every_link(checkout):
    old = run.repository(checkout)
    readme = "https://github.com/{}/issues https://{}.github.io/{}/docs/swap_lab.html"
    (checkout / "README.md").write_text(readme.format(old, *old.split("/")), encoding="utf-8")
    path = write(checkout, "00_good.ipynb", [f"# git clone https://github.com/{old}.git"])
    changed = run.move_links("new-owner/new-name", checkout)
    assert {file.name for file in changed} == {"pyproject.toml", "README.md", path.name}
    assert run.repository(checkout) == "new-owner/new-name"
    moved = readme.format("new-owner/new-name", "new-owner", "new-name")
    assert (checkout / "README.md").read_text(encoding="utf-8") == moved
    assert "github.com/new-owner/new-name.git" in path.read_text(encoding="utf-8")
    with pytest.raises(SystemExit, match="write OWNER/NAME"):
        run.move_links("https://example.com/x/y", checkout)


def test_a_release_changes_the_version_everywhere(checkout):
    old, citation = run.version(checkout), checkout / "CITATION.cff"
    citation.write_text(f"cff-version: 1.2.0\nversion: {old}\n", encoding="utf-8")
    changed = {file.name for file in run.set_version("10.2.3", checkout)}
    assert changed == {"pyproject.toml", "CITATION.cff"}
    assert run.version(checkout) == "10.2.3"
    assert citation.read_text(encoding="utf-8").startswith("cff-version: 1.2.0\n")
    with pytest.raises(SystemExit, match="write three numbers"):
        run.set_version("v1", checkout)


def test_saved_figures_are_quantized_only_where_nobody_sees_it():
    def png(pixels):
        Image.fromarray(pixels).save(buffer := io.BytesIO(), "PNG")
        return base64.b64encode(buffer.getvalue()).decode()

    chart = np.full((64, 64, 3), 255, np.uint8)
    chart[20:40] = np.random.default_rng(0).choice([0, 90, 200], (20, 64, 1))
    noise = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)

    few = np.asarray(Image.open(io.BytesIO(base64.b64decode(run.quantized(png(chart))))).convert("RGB"))
    assert (few == chart).all() and len(run.quantized(png(chart))) < len(png(chart))
    assert run.quantized(png(noise)) == png(noise)
