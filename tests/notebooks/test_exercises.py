"""The exercises: every solution passes its check, every hole fails clearly, and both editions are written.

Only the imports that they need and the solutions run here, not the notebooks: those have tests of their own.
"""

import ast
from itertools import pairwise

import contract
import exercises
import nbformat
import pytest
import run
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from smoothswap_lib import checks

HEAD = 'LIMIT = 3\n\n\ndef more(x):\n    """One more.\n\n    At most LIMIT.\n    """\n'
TAIL = "\n\n\nEND = 4"


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
    trees = map(ast.parse, sources)
    used = {node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)}
    lines = []
    for _, cell in contract.code_cells(notebook):
        code = "\n".join(line for line in cell.source.splitlines() if not line.startswith("%"))
        for statement in ast.parse(code).body:
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                bound = ((alias.asname or alias.name).split(".")[0] for alias in statement.names)
                statement.names = [a for a, name in zip(statement.names, bound) if name in used]
                lines += [ast.unparse(statement)] if statement.names else []
    return "\n".join(lines)


def test_every_solution_passes_its_check_and_every_hole_fails_clearly(capsys):
    used = ""
    for path in run.find():
        notebook = read(path)
        solved, holes = list(pairs(notebook)), list(pairs(exercises.for_students(notebook)))
        assert solved, f"{path.name} has no exercise that can be checked"
        names = {}
        exec(imports_for(notebook, [code for pair in solved for code in pair]), names)
        for (solution, check), (hole, _) in zip(solved, holes, strict=True):
            exec(solution, names)
            exec(check, names)
            used += check
            before, after = function_of(solution), function_of(hole)
            exec(hole, names)  # a hole breaks nothing until it is called
            with pytest.raises(NotImplementedError, match=f"Exercise [A-E]: write {after.name}, then run"):
                exec(check, names)
            assert ast.unparse(before.args) == ast.unparse(after.args)
            assert ast.get_docstring(before) == ast.get_docstring(after) and len(after.body) == 2
        said = capsys.readouterr().out.splitlines()
        assert len(said) == len(solved) and all(line.endswith(": right") for line in said)
    assert [
        name for name in vars(checks) if name.startswith("check_") and f"checks.{name}(" not in used
    ] == []


def test_no_answer_is_left_in_the_students_edition():
    for notebook in map(read, run.find()):
        for cell, original in zip(exercises.for_students(notebook).cells, notebook.cells, strict=True):
            assert cell.cell_type != "code" or (cell.outputs, cell.execution_count) == ([], None)
            if exercises.is_solution(original):
                assert cell.source != original.source
                assert cell.source == exercises.HERE or "NotImplementedError" in cell.source
            else:
                assert cell.source == original.source


@pytest.fixture
def toy():
    """A notebook with one exercise to write and one to explain."""
    code = new_code_cell(HEAD + "    y = x + 1\n    return y" + TAIL, metadata={"tags": ["solution"]})
    return new_notebook(
        cells=[
            new_markdown_cell("**Exercise A (implement).** Write it."),
            code,
            new_code_cell("checks.check_more(more)"),
            new_markdown_cell("**Exercise B (explain).** Why?"),
            new_markdown_cell("Because.", metadata={"tags": ["solution"]}),
        ]
    )


def test_a_hole_keeps_what_stands_around_the_function(toy):
    student = exercises.for_students(toy)
    words = "Exercise A: write more, then run this cell and its check again"
    assert student.cells[1].source == f'{HEAD}    raise NotImplementedError("{words}"){TAIL}'
    assert student.cells[4].source == exercises.HERE
    assert "y = x + 1" in toy.cells[1].source, "the notebook itself must stay as it is"
    del toy.cells[0]
    with pytest.raises(ValueError, match="cell 1 is a solution"):
        exercises.for_students(toy)


def test_both_editions_are_written(toy, tmp_path):
    (tmp_path / "notebooks").mkdir()
    nbformat.write(toy, tmp_path / "notebooks" / "01_toy.ipynb")
    nbformat.write(new_notebook(), tmp_path / "notebooks" / "02_plain.ipynb")
    for kind in ("student", "solutions"):
        (written,), _ = exercises.write(kind, "", tmp_path / kind, tmp_path)
        assert ("y = x + 1" in written.read_text(encoding="utf-8")) == (kind == "solutions")


def test_a_students_answers_are_not_overwritten(toy, tmp_path):
    (tmp_path / "notebooks").mkdir()
    nbformat.write(toy, tmp_path / "notebooks" / "01_toy.ipynb")
    for _ in range(2):  # nobody has written into it: it is written again
        (path,), kept = exercises.write("student", "", tmp_path / "student", tmp_path)
        assert not kept
    answered = read(path)
    answered.cells[4].source = "Because I say so."
    nbformat.write(answered, path)
    assert exercises.write("student", "", tmp_path / "student", tmp_path) == ([], [path])
    assert "Because I say so." in path.read_text(encoding="utf-8")
