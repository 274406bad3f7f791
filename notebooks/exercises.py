"""The exercises, from one source: `student` writes notebooks with holes, `solutions` those with answers.

    python notebooks/exercises.py student [NB] [--out build/student]
    python notebooks/exercises.py solutions [NB] [--out build/solutions]

An exercise is a markdown cell with "**Exercise A (implement).**". Its answer is the cell after it that has
the tag `solution`: code (one function, then a cell that calls its check), or markdown (an explanation).
"""

import argparse
import ast
import copy
import re
import sys
from pathlib import Path

import contract
import nbformat
import run

HERE = "*Write your answer here.*"


def is_solution(cell) -> bool:
    return "solution" in contract.tags(cell)


def letter_before(notebook, position: int) -> str:
    """The letter of the last exercise in the text before a cell."""
    text = "\n".join(c.source for c in notebook.cells[: position + 1] if c.cell_type == "markdown")
    found = re.findall(contract.EXERCISE, text)
    if not found:
        raise ValueError(f"cell {position + 1} is a solution, but no '**Exercise A (...).**' comes before it")
    return found[-1][0]


def with_hole(source: str, letter: str) -> str:
    """A solution's code with the body of its function gone; def line, docstring and the rest stay."""
    lines = source.splitlines()
    (function,) = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    documented = ast.get_docstring(function) is not None
    first = function.body[0]
    kept = first.end_lineno if documented else first.lineno - 1
    words = f"Exercise {letter}: write {function.name}, then run this cell and its check again"
    hole = f'    raise NotImplementedError("{words}")'
    return "\n".join([*lines[:kept], hole, *lines[function.end_lineno :]])


def for_students(notebook):
    """A copy with holes and without outputs."""
    notebook = copy.deepcopy(notebook)
    for position, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            if is_solution(cell):
                cell.source = with_hole(cell.source, letter_before(notebook, position))
        elif is_solution(cell):
            cell.source = HERE
    return notebook


def worked_on(path: Path, fresh) -> bool:
    """Whether somebody has written into a student's notebook that lies there already."""
    try:
        cells = nbformat.read(path, as_version=4).cells
    except FileNotFoundError:
        return False
    except Exception:  # nbformat raises many kinds; what cannot be read may be somebody's work all the same
        return True
    return [cell.source for cell in cells] != [cell.source for cell in fresh.cells]


def write(kind: str, prefix: str, out: Path, root: Path = run.ROOT) -> tuple[list[Path], list[Path]]:
    """Write the `kind` ("student" or "solutions") of each notebook that has solutions into `out`.

    Returns
    -------
    The files that were written, and those of students that were kept because they hold something else.
    """
    written, kept = [], []
    out.mkdir(parents=True, exist_ok=True)
    for path in run.find(prefix, root):
        notebook = nbformat.read(path, as_version=4)
        if not any(map(is_solution, notebook.cells)):
            continue
        if kind == "student":
            notebook = for_students(notebook)
            if worked_on(out / path.name, notebook):
                kept.append(out / path.name)
                continue
        nbformat.write(notebook, out / path.name)
        written.append(out / path.name)
    return written, kept


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("student", "solutions"))
    parser.add_argument("prefix", nargs="?", default="", metavar="NB")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args(arguments)
    out = chosen.out or run.ROOT / "build" / chosen.kind
    written, kept = write(chosen.kind, chosen.prefix, out.resolve())
    for path in written:
        print(run.show(path))
    for path in kept:
        print(f"{run.show(path)} was kept, it may hold answers: move it away for a fresh one")
    return 0


if __name__ == "__main__":
    sys.exit(main())
