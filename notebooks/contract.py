"""The notebook contract: what every committed notebook must hold, each rule a function.

`make notebooks` prints what a notebook breaks, `make test` fails on it. The rules on saved outputs
exist because nbval compares only what is stored: a cell without outputs passes with nothing compared.
"""

import ast
import re
from pathlib import Path

MAX_BYTES = 2_000_000
MAX_CELL_LINES = 25
MIN_COMPARED = 2  # cells whose text nbval really compares; fewer, and its green light says nothing
FIRST_PICTURE_WITHIN = 4  # code cells: set-up, parameters, then the idea
BOX_WORDS = ("Goals", "Prerequisites", "Time", "You will see")
LAST_HEADINGS = ("Summary", "Exercises", "Next")
NBVAL_COMMENTS = {"NBVAL_IGNORE_OUTPUT", "NBVAL_CHECK_OUTPUT"}
LOCAL_PATH = re.compile(r"(?<![\w.])(?:/(?:home|Users|root|tmp|var/folders)/|[A-Z]:\\)[^\s'\"]*")
COLAB_METADATA = ("accelerator", "colab")  # a notebook that trains for an hour asks Colab for a GPU
EXERCISE = re.compile(r"\*\*Exercise ([A-E]) \((implement|predict|explain|break)\)\.\*\*")
MIN_EXERCISES = 3
COLAB = "https://colab.research.google.com/github/{slug}/blob/main/notebooks/{name}"


def problems(notebook, path: Path, slug: str, root: Path) -> list[str]:
    """What a notebook breaks of the contract, in words; an empty list when it holds.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
    path : where it lies; its links are resolved from there and its size is read there.
    slug : "OWNER/NAME" of the repository, for the badge.
    root : the checkout, whose path must not stand in any output.
    """
    return [
        *check_first_cell(notebook, path.name, slug),
        *check_last_cells(notebook),
        *check_parameters(notebook),
        *check_code(notebook),
        *check_nbval_marks(notebook),
        *check_compared(notebook),
        *check_outputs(notebook, root),
        *check_pictures(notebook),
        *check_exercises(notebook),
        *check_links(notebook, path),
        *check_metadata(notebook),
        *check_size(path),
    ]


def code_cells(notebook):
    """(position from 1, cell) of each code cell that is not blank."""
    for position, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "code" and cell.source.strip():
            yield position, cell


def prose(notebook) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def check_first_cell(notebook, name, slug):
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.cell_type != "markdown":
        yield "the first cell must be markdown: title, promise, badge, box"
        return
    if not first.source.startswith("# "):
        yield "the first cell must open with the title, '# ...'"
    badge = COLAB.format(slug=slug, name=name)
    if f"]({badge})" not in first.source and f'href="{badge}"' not in first.source:
        yield f"the first cell must link the Colab badge to {badge}"
    for word in BOX_WORDS:
        if not re.search(rf"\*\*{word}\b", first.source):
            yield f"the first cell's box lacks **{word}**"


def check_last_cells(notebook):
    headings = re.findall(r"^##\s+(.+?)\s*$", prose(notebook), flags=re.MULTILINE)[-len(LAST_HEADINGS) :]
    if len(headings) < len(LAST_HEADINGS) or not all(map(str.startswith, headings, LAST_HEADINGS)):
        yield f"the last '##' headings must be {', '.join(LAST_HEADINGS)}; they are {', '.join(headings)}"


def check_parameters(notebook):
    found = [cell for _, cell in code_cells(notebook) if "parameters" in tags(cell)]
    if len(found) != 1:
        yield f"exactly one cell must have the tag 'parameters'; {len(found)} have it"
    elif not re.search(r"^PROFILE = \"quick\"", found[0].source, flags=re.MULTILINE):
        yield 'the parameters cell must set PROFILE = "quick": nbval injects nothing'


def check_code(notebook):
    for expected, (position, cell) in enumerate(code_cells(notebook), start=1):
        if cell.execution_count != expected:
            count = cell.execution_count
            yield f"cell {position} has count {count}, not {expected}: run `make notebooks`"
    for position, cell in enumerate(notebook.cells, start=1):
        lines = cell.source.count("\n") + 1
        if cell.cell_type == "code" and not cell.source.strip():
            yield f"cell {position} is an empty code cell"
        if cell.cell_type == "code" and lines > MAX_CELL_LINES:
            yield f"cell {position} has {lines} lines; {MAX_CELL_LINES} at the most"
        if cell.cell_type == "code" and ends_with_semicolon(cell.source):
            yield f"cell {position} ends with ';', which nbval does not hide: end with plt.show()"


def ends_with_semicolon(source: str) -> bool:
    lines = [re.sub(r"(^|\s+)#.*$", "", line) for line in source.splitlines()]
    lines = [line for line in lines if line.strip()]
    return bool(lines) and lines[-1].rstrip().endswith(";")


def check_nbval_marks(notebook):
    for position, cell in code_cells(notebook):
        for tag in {"nbval-skip", "raises-exception"} & set(tags(cell)):
            yield f"cell {position} has the tag {tag}; catch the error in the cell instead"
        comments = re.findall(r"^\s*#\s*(NBVAL_.*)$", cell.source, flags=re.MULTILINE)
        for comment in set(comments) - NBVAL_COMMENTS:
            yield f"cell {position}: nbval does not read '# {comment}'; use a tag, or the marker alone"
        ignored = "nbval-ignore-output" in tags(cell) or "NBVAL_IGNORE_OUTPUT" in comments
        if ignored and not re.search(r"\bassert\b|\bchecks\.|\bwidgets\.|\binteract", cell.source):
            yield f"cell {position} is not compared, so it must assert its trend (or be a widget)"


def shows_something(source: str) -> bool:
    """Whether a cell must have an output: it prints, displays, or ends in a value's name."""
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a shell line or a magic
        return False
    called = [statement.value for statement in body if isinstance(statement, ast.Expr)]
    names = {ast.unparse(call.func) for call in called if isinstance(call, ast.Call)}
    if names & {"print", "display", "plt.show"}:
        return True
    silent = (ast.Call, ast.Constant, ast.Await)
    return bool(body) and isinstance(body[-1], ast.Expr) and not isinstance(body[-1].value, silent)


def check_compared(notebook):
    compared = 0
    for _, cell in code_cells(notebook):
        ignored = "nbval-ignore-output" in tags(cell) or "NBVAL_IGNORE_OUTPUT" in cell.source
        texts = [str(o.get("text", "")) + str(o.get("data", {}).get("text/plain", "")) for o in cell.outputs]
        compared += not ignored and any(text and not text.startswith("<Figure") for text in texts)
    if compared < MIN_COMPARED:
        yield f"nbval compares the text of {compared} cells; {MIN_COMPARED} at the least must show a result"


def check_outputs(notebook, root):
    for position, cell in code_cells(notebook):
        if shows_something(cell.source) and not cell.outputs:
            yield f"cell {position} shows something but has no saved output: run `make notebooks`"
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"cell {position} ended with {output.ename}: {output.evalue}"
            if output.get("name") == "stderr":
                yield f"cell {position} wrote to stderr: {output.text.strip().partition(chr(10))[0][:80]}"
            data = output.get("data", {})
            if "image/svg+xml" in data:
                yield f"cell {position} has an SVG, which nbval compares as text: use PNG"
            text = (
                str(output.get("text", "")) + str(data.get("text/plain", "")) + str(data.get("text/html", ""))
            )
            local = LOCAL_PATH.search(text)
            if local or str(root) in text:
                place = local.group() if local else str(root)
                yield f"cell {position} shows a path of one machine, {place}: print it relative"


def pictures(cell) -> list[str]:
    """The PNG outputs of a code cell, in base64."""
    return [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]


def check_pictures(notebook):
    with_picture = [n for n, (_, cell) in enumerate(code_cells(notebook), start=1) if pictures(cell)]
    if not with_picture:
        yield "there is no saved PNG figure"
    elif with_picture[0] > FIRST_PICTURE_WITHIN:
        yield f"the first picture is in code cell {with_picture[0]}; within {FIRST_PICTURE_WITHIN} it must be"


def check_exercises(notebook):
    """At least three exercises, in the path or at the end; every solution can be checked or read."""
    last = re.split(r"^##\s+Exercises\s*$", prose(notebook), flags=re.MULTILINE)[-1]
    last = re.split(r"^##\s", last, flags=re.MULTILINE)[0]
    letters = [letter for letter, _ in EXERCISE.findall(prose(notebook))]
    count = len(letters) + len(re.findall(r"^\d+\. ", last, flags=re.MULTILINE))
    if count < MIN_EXERCISES:
        yield f"there are {count} exercises; {MIN_EXERCISES} at the least"
    if letters != sorted(set(letters)) or letters != list("ABCDE"[: len(letters)]):
        yield f"the exercises in the text must be A, B, C, ...; they are {', '.join(letters)}"
    cells = notebook.cells
    for position, cell in enumerate(cells, start=1):
        if "solution" not in tags(cell):
            continue
        before = "\n".join(c.source for c in cells[max(position - 4, 0) : position])
        if not EXERCISE.search(before):
            yield f"cell {position} is a solution, but no '**Exercise A (implement).**' stands before it"
        if cell.cell_type != "code":
            continue
        after = cells[position] if position < len(cells) else None
        if not is_one_function(cell.source):
            yield f"cell {position} is a solution, so it must be one function with a docstring"
        if after is None or after.cell_type != "code" or "checks.check_" not in after.source:
            yield f"cell {position} is a solution, so the next cell must call its checks.check_..."


def is_one_function(source: str) -> bool:
    functions = [part for part in ast.parse(source).body if isinstance(part, ast.FunctionDef)]
    return len(functions) == 1 and ast.get_docstring(functions[0]) is not None


def check_links(notebook, path):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", prose(notebook), flags=re.DOTALL)
    if re.search(r"!\[\s*\]\(", text) or re.search(r"<img(?![^>]*\balt=\"[^\"]+\")[^>]*>", text):
        yield "an image in the markdown has no alt text"
    targets = re.findall(r"\]\(([^)\s]+)", text) + re.findall(r"(?:href|src)=\"([^\"]+)\"", text)
    for target in targets:
        if re.match(r"[a-z]+:|#", target):
            continue
        if not (path.parent / target.split("#")[0]).exists():
            yield f"the link to {target} leads nowhere"


def kept_metadata(cell) -> dict:
    """A cell's tags; hide-input folds it in the book, and by these keys in JupyterLab and Colab."""
    folds = {"jupyter": {"source_hidden": True}, "cellView": "form"} if "hide-input" in tags(cell) else {}
    return {"tags": tags(cell), **folds} if tags(cell) else {}


def check_metadata(notebook):
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    if kernel != "python3":
        yield f"the kernel is {kernel}, not python3"
    extra = set(notebook.metadata) - {"kernelspec", "language_info", *COLAB_METADATA}
    extra |= {key for cell in notebook.cells for key in cell.metadata if cell.metadata != kept_metadata(cell)}
    if extra:
        yield f"metadata that changes from run to run: {', '.join(sorted(extra))}: run `make notebooks`"


def check_size(path):
    if path.exists() and path.stat().st_size > MAX_BYTES:
        yield f"it has {path.stat().st_size:,} bytes; {MAX_BYTES:,} at the most"
