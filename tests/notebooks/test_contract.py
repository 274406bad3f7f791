"""The contract itself: a notebook that holds it passes, and each rule catches its breach."""

import contract
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

SLUG = "owner/course"
NAME = "01_toy.ipynb"
BADGE = contract.COLAB.format(slug=SLUG, name=NAME)
PICTURE = new_output("display_data", data={"image/png": "iVBORw0KGgo=", "text/plain": "<Figure size 1x1>"})
CODE = [
    ('PROFILE = "quick"', [], ["parameters"]),
    ("plt.show()", [PICTURE], []),
    ("print(1 + 1)", [new_output("stream", name="stdout", text="2\n")], []),
    ("total", [new_output("execute_result", data={"text/plain": "3"}, execution_count=4)], []),
    ("assert loss < 1", [], ["nbval-ignore-output"]),
]


@pytest.fixture
def toy():
    box = "> **Goals** a. **Prerequisites** b. **Time** c. **You will see** d."
    cells = [new_markdown_cell(f"# Toy\n\nA promise.\n\n[![Open in Colab](badge.svg)]({BADGE})\n\n{box}")]
    for count, (source, outputs, tags) in enumerate(CODE, start=1):
        outputs = [nbformat.from_dict(output) for output in outputs]
        cells.append(new_code_cell(source, outputs=outputs, execution_count=count))
        cells[-1].metadata.update({"tags": tags} if tags else {})
    end = "## Summary\n\n- a\n\n## Exercises\n\n1. b\n2. c\n3. d\n\n## Next\n\nNotebook 02."
    kernel = {"name": "python3", "display_name": "Python 3"}
    return new_notebook(cells=[*cells, new_markdown_cell(end)], metadata={"kernelspec": kernel})


def problems(notebook, folder):
    (folder / "badge.svg").touch()
    nbformat.write(notebook, folder / NAME)
    return contract.problems(notebook, folder / NAME, SLUG, folder)


def test_a_notebook_that_holds_the_contract_has_no_problems(toy, tmp_path):
    assert problems(toy, tmp_path) == []


def replace(position, old, new):
    def change(notebook):
        source = notebook.cells[position].source
        assert old in source
        notebook.cells[position].source = source.replace(old, new)

    return change


def set_cell(position, **fields):
    return lambda notebook: notebook.cells[position].update(fields)


def set_metadata(position, **fields):
    return lambda notebook: notebook.cells[position].metadata.update(fields)


def append_output(position, **fields):
    return lambda notebook: notebook.cells[position].outputs.append(new_output(**fields))


SOLUTION = 'def two():\n    """The number 2."""\n    return 2'


def add_exercise(words="**Exercise A (implement).** Do.", source=SOLUTION, check="checks.check_two(two)"):
    def change(notebook):
        cells = [new_code_cell(source, metadata={"tags": ["solution"]}), new_code_cell(check)]
        notebook.cells[6:6] = [new_markdown_cell(words), *cells]
        for count, (_, cell) in enumerate(contract.code_cells(notebook), start=1):
            cell.execution_count = count

    return change


TOO_LONG = "x" * contract.MAX_BYTES + "\n\n## Summary\n\n## Exercises\n\n## Next"
BREACHES = [
    (replace(0, "# Toy", "Toy"), "title"),
    (replace(0, SLUG, "someone/else"), "Colab badge"),
    (replace(0, "**You will see**", "You will see"), "lacks **You will see**"),
    (lambda notebook: notebook.cells.pop(0), "must be markdown"),
    (replace(6, "## Exercises", "### Exercises"), "last '##' headings"),
    (set_metadata(1, tags=[]), "0 have it"),
    (replace(1, "quick", "laptop"), 'must set PROFILE = "quick"'),
    (set_cell(3, execution_count=None), "cell 4 has count None, not 3"),
    (lambda notebook: notebook.cells.insert(2, new_code_cell("a", execution_count=2)), "has count 2, not 3"),
    (set_cell(3, source="pass\n" * 26), "27 lines"),
    (set_cell(3, source=""), "empty code cell"),
    (replace(2, "plt.show()", "plt.plot(x);  # hidden"), "ends with ';'"),
    (set_metadata(3, tags=["nbval-skip"]), "tag nbval-skip"),
    (set_metadata(3, tags=["hide-input"]), "run `make notebooks`"),  # open in JupyterLab and Colab
    (set_metadata(3, tags=["raises-exception"]), "tag raises-exception"),
    (replace(3, "print", "# NBVAL_IGNORE_OUTPUT: it trains\nprint"), "nbval does not read"),
    (replace(5, "assert loss < 1", "train()"), "must assert"),
    (set_metadata(3, tags=["nbval-ignore-output"]), "not compared, so it must assert"),
    (set_cell(3, outputs=[]), "no saved output"),
    (set_cell(2, outputs=[]), "no saved PNG"),
    (lambda notebook: notebook.cells.insert(6, notebook.cells.pop(2)), "first picture is in code cell 5"),
    (append_output(3, output_type="stream", name="stderr", text="careful\n"), "stderr: careful"),
    (append_output(3, output_type="error", ename="NameError", evalue="x"), "ended with NameError: x"),
    (append_output(3, output_type="display_data", data={"image/svg+xml": "<svg/>"}), "has an SVG"),
    (append_output(3, output_type="stream", name="stdout", text="/home/a/b\n"), "one machine, /home/a/b"),
    (replace(6, "Notebook 02.", "[two](02_gone.ipynb)"), "02_gone.ipynb leads nowhere"),
    (replace(6, "- a", '<img src="badge.svg">'), "no alt text"),
    (lambda notebook: notebook.metadata.kernelspec.update(name="mine"), "kernel is mine"),
    (lambda notebook: notebook.metadata.update(papermill={}), "run to run: papermill"),
    (set_metadata(3, execution={"iopub.status.busy": "now"}), "run to run: execution"),
    (set_cell(6, source=TOO_LONG), "bytes"),
    (replace(6, "3. d", "and d"), "there are 2 exercises"),
    (add_exercise(words="**Exercise B (implement).** Do."), "must be A, B, C, ...; they are B"),
    (add_exercise(words="**Exercise A (guess).** Do."), "'**Exercise A (implement).**' stands before it"),
    (add_exercise(source="def two():\n    return 2"), "one function with a docstring"),
    (add_exercise(check="two()"), "must call its checks.check_"),
]


@pytest.mark.parametrize("breach, words", BREACHES)
def test_each_breach_is_named(toy, tmp_path, breach, words):
    breach(toy)
    found = problems(toy, tmp_path)
    assert any(words in problem for problem in found), found


def test_a_path_of_this_checkout_is_named(toy, tmp_path):
    toy.cells[3].outputs[0].text = f"{tmp_path}/data\n"
    assert any("path of one machine" in problem for problem in problems(toy, tmp_path))


def test_a_solved_exercise_in_the_text_counts_and_a_code_span_is_no_link(toy, tmp_path):
    replace(6, "3. d", "and d")(toy)
    toy.cells[6].source = "Write `[a](b.ipynb)`.\n\n" + toy.cells[6].source
    add_exercise()(toy)
    assert problems(toy, tmp_path) == []
