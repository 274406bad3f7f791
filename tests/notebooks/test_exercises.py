"""The exercises: every solution passes its check, every hole fails clearly, and both editions are written.

Only the imports that they need and the solutions run here, not the notebooks: those have tests of their own.
"""

import ast
import re
from itertools import pairwise

import contract
import exercises
import nbformat
import pytest
import run
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from smoothswap_lib import checks

COURSE = tuple(f"{number:02}" for number in range(12))  # all have solved exercises
HEAD = 'LIMIT = 3\n\n\ndef more(x):\n    """One more.\n\n    At most LIMIT.\n    """\n'
TAIL = "\n\n\nEND = 4"
NOTEBOOKS = [run.find(number)[0] for number in COURSE]


def read(path):
    return nbformat.read(path, as_version=4)


def pairs(notebook):
    """(solution, its check) of each code cell that is a solution."""
    for cell, after in pairwise(notebook.cells):
        if cell.cell_type == "code" and exercises.is_solution(cell):
            yield cell.source, after.source


def function_of(source):
    return next(node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))


def imports_for(notebook, sources):
    """The notebook's top-level imports of the names that some code uses."""
    used = {
        node.id for source in sources for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)
    }
    lines = []
    for _, cell in contract.code_cells(notebook):
        code = "\n".join(line for line in cell.source.splitlines() if not line.startswith("%"))
        for statement in ast.parse(code).body:
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                bound = ((alias.asname or alias.name).split(".")[0] for alias in statement.names)
                statement.names = [a for a, name in zip(statement.names, bound) if name in used]
                lines += [ast.unparse(statement)] if statement.names else []
    return "\n".join(lines)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=COURSE)
def test_every_solution_passes_its_check(path, capsys):
    notebook = read(path)
    found = list(pairs(notebook))
    assert found, f"{path.name} has no exercise that can be checked"
    names = {}
    exec(imports_for(notebook, [code for pair in found for code in pair]), names)
    for solution, check in found:
        exec(solution, names)
        exec(check, names)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == len(found)
    assert all(line.endswith(": right") for line in said)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=COURSE)
def test_every_hole_fails_clearly(path):
    notebook = read(path)
    holes, solved = list(pairs(exercises.for_students(notebook))), list(pairs(notebook))
    names = {}
    exec(imports_for(notebook, [code for pair in holes for code in pair]), names)
    for (hole, check), (solution, _) in zip(holes, solved, strict=True):
        exec(hole, names)  # a hole breaks nothing until it is called
        function = function_of(hole).name
        with pytest.raises(NotImplementedError, match=f"Exercise [A-E]: write {function}, then run"):
            exec(check, names)
        before, after = function_of(solution), function_of(hole)
        assert ast.unparse(before.args) == ast.unparse(after.args)
        assert ast.get_docstring(before) == ast.get_docstring(after)
        assert len(after.body) == 2, "more than the docstring and the hole is left"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=COURSE)
def test_no_answer_is_left_in_the_students_edition(path):
    notebook = read(path)
    student = exercises.for_students(notebook)
    assert len(student.cells) == len(notebook.cells)
    for cell, original in zip(student.cells, notebook.cells):
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
        if exercises.is_solution(original):
            assert cell.source != original.source
            assert cell.source == exercises.HERE or "NotImplementedError" in cell.source
        else:
            assert cell.source == original.source


def test_every_check_belongs_to_an_exercise():
    used = {check for path in NOTEBOOKS for _, check in pairs(read(path))}
    there = {name for name in vars(checks) if name.startswith("check_")}
    assert {name for name in there if any(f"checks.{name}(" in check for check in used)} == there


@pytest.fixture
def toy():
    """A notebook with one exercise to write and one to explain."""
    source = HEAD + "    y = x + 1\n    return y" + TAIL
    cells = [
        new_markdown_cell("**Exercise A (implement).** Write it."),
        new_code_cell(source, metadata={"tags": ["solution"]}, execution_count=1),
        new_code_cell("checks.check_more(more)"),
        new_markdown_cell("**Exercise B (explain).** Why?"),
        new_markdown_cell("Because.", metadata={"tags": ["solution"]}),
    ]
    return new_notebook(cells=cells)


def test_a_hole_keeps_what_stands_around_the_function(toy):
    hole = exercises.for_students(toy).cells[1].source
    words = "Exercise A: write more, then run this cell and its check again"
    assert hole == f'{HEAD}    raise NotImplementedError("{words}"){TAIL}'
    assert "y = x + 1" in toy.cells[1].source, "the notebook itself must stay as it is"


def test_an_explanation_becomes_an_empty_place(toy):
    assert exercises.for_students(toy).cells[4].source == exercises.HERE


def test_a_solution_without_an_exercise_is_refused(toy):
    del toy.cells[0]
    with pytest.raises(ValueError, match="cell 1 is a solution, but no"):
        exercises.for_students(toy)


def test_both_editions_are_written(toy, tmp_path):
    (tmp_path / "notebooks").mkdir()
    nbformat.write(toy, tmp_path / "notebooks" / "01_toy.ipynb")
    nbformat.write(new_notebook(), tmp_path / "notebooks" / "02_plain.ipynb")
    for kind in ("student", "solutions"):
        (written,) = exercises.write(kind, "", tmp_path / kind, tmp_path)
        assert ("y = x + 1" in written.read_text(encoding="utf-8")) == (kind == "solutions")


TEACHING = run.ROOT / "docs" / "teaching.md"


def test_the_teaching_plan_names_headings_that_are_there():
    text = TEACHING.read_text(encoding="utf-8")
    places = re.findall(r"\b(\d\d) (?:exercise [A-E], )?((?:\"[^\"]+\"(?:, )?)+)", text)
    assert len(places) > 20
    for number, quoted in places:
        headings = "\n".join(re.findall(r"^#+ .*", contract.prose(read(run.find(number)[0])), re.MULTILINE))
        for heading in re.findall(r"\"([^\"]+)\"", quoted):
            assert heading in headings, f"notebook {number} has no heading '{heading}'"


def test_the_teaching_plan_gives_the_readmes_seconds():
    rows = {
        name: re.findall(
            r"^\| (\d\d) .*?\| (\d+ s|–) \|", (run.ROOT / name).read_text(encoding="utf-8"), re.M
        )
        for name in ("README.md", "docs/teaching.md")
    }
    readme, plan = (dict(found) for found in rows.values())
    assert set(plan) >= set(COURSE)
    assert {number: readme[number] for number in plan} == plan
