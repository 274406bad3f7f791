"""Run the notebooks (`tutorial`, `save`), and write the address and version that they repeat.

    python notebooks/run.py tutorial [NB] [--profile quick] [--out build/tutorial]
    python notebooks/run.py save [NB]
    python notebooks/run.py links OWNER/NAME
    python notebooks/run.py release 0.2.0

`tutorial` runs copies through papermill; the notebooks themselves stay as they are. `save` executes
them in place and strips what changes from run to run. NB is the beginning of a name, such as 02.
"""

import argparse
import base64
import csv
import io
import logging
import os
import re
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import contract
import nbformat
import numpy as np
import papermill
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
CELL_SECONDS = 900  # a cell that runs longer than this hangs
MAX_ERROR_LINES = 12
SEEN = 1.5  # gray levels RMS over a figure, above which fewer colors might be seen
WIDGET = "application/vnd.jupyter.widget-view+json"
QUIET_KERNEL = ["--IPKernelApp.log_level=CRITICAL"]  # how it is shut down is no news to a reader


@dataclass(frozen=True)
class Result:
    """One notebook's run: its seconds, and the error in words, or None."""

    name: str
    seconds: float
    error: str | None


def isolate(root: Path = ROOT) -> dict[str, str]:
    """Variables under which a notebook shows what it needs: no network, no user's settings; makes build/."""
    (root / "build").mkdir(exist_ok=True)  # IPython keeps its folder there
    nowhere = (
        "http://127.0.0.1:9"  # the discard port: a download fails at once instead of succeeding here only
    )
    proxies = {name: nowhere for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
    local = {name: "localhost,127.0.0.1" for name in ("no_proxy", "NO_PROXY")}
    return (
        proxies
        | local
        | {
            "HF_HUB_OFFLINE": "1",
            "GOMP_SPINCOUNT": "5000",  # waiting threads sleep soon: they would steal a busy machine's cores
            "IPYTHONDIR": str(root / "build" / "ipython"),
            "JUPYTER_PREFER_ENV_PATH": "1",
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        }
    )


def find(prefix: str = "", root: Path = ROOT) -> list[Path]:
    """The course's notebooks in order, or those whose names begin with `prefix`."""
    found = sorted((root / "notebooks").glob("[0-9]*.ipynb"))
    chosen = [path for path in found if path.name.startswith(prefix)]
    if not chosen:
        wanted = f"begins with '{prefix}'" if prefix else "is there"
        names = ", ".join(path.name for path in found) or "none"
        raise SystemExit(f"in {show(root / 'notebooks')} no notebook {wanted}; there are: {names}")
    return chosen


class Position:
    """Remembers which cell runs, so that an error of any kind can name it."""

    def __init__(self):
        self.cell = None

    def __call__(self, cell, cell_index):
        self.cell = cell

    def describe(self, error: Exception, path: Path) -> str:
        """The error with its cell's number in the notebook as written and the end of the traceback."""
        name, value = (
            getattr(error, "ename", None) or type(error).__name__,
            getattr(error, "evalue", str(error)),
        )
        if self.cell is None:
            return f"before the first cell: {name}: {value}"
        sources = [cell.source for cell in nbformat.read(path, as_version=4).cells]
        source = self.cell.source
        number = f"cell {sources.index(source) + 1}" if source in sources else "the injected parameters"
        lines = [f"{number}, which begins `{(source.strip().splitlines() or [''])[0]}`: {name}: {value}"]
        traceback = getattr(error, "traceback", None) or []
        traceback = "\n".join([traceback] if isinstance(traceback, str) else traceback).splitlines()
        lines += [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in traceback[-MAX_ERROR_LINES:]]
        return "\n    ".join(lines)


def run_copy(path: Path, out: Path, profile: str, **parameters) -> Result:
    """Run one notebook through papermill into the folder `out`, from the notebook's own folder.

    `parameters` are others of its parameters than PROFILE.
    """
    logging.getLogger("papermill").setLevel(logging.ERROR)
    out.mkdir(parents=True, exist_ok=True)
    position, error, start = Position(), None, time.perf_counter()
    try:
        papermill.execute_notebook(
            str(path),
            str(out / path.name),
            parameters={"PROFILE": profile, **parameters},
            kernel_name="python3",
            language="python",
            progress_bar=False,
            cwd=str(path.parent),
            execution_timeout=CELL_SECONDS,
            on_cell_start=position,
            extra_arguments=QUIET_KERNEL,
        )
    except Exception as problem:  # a dead kernel and a timeout are failures of the notebook too
        error = position.describe(problem, path)
    return Result(path.stem, time.perf_counter() - start, error)


def run_in_place(path: Path, out: Path, slug: str, root: Path) -> Result:
    """Execute one notebook and write it back when it ran; a failed run goes to the folder `out`."""
    notebook = nbformat.read(path, as_version=4)
    position, error, start = Position(), None, time.perf_counter()
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        store_widget_state=False,
        on_cell_start=position,
        extra_arguments=QUIET_KERNEL,
    )
    try:
        client.execute()
    except Exception as problem:
        error = position.describe(problem, path)
        out.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, out / path.name)
        error += f"\n    {show(path)} is left as it was; the failed run: {show(out / path.name)}"
    seconds = time.perf_counter() - start
    if error is None:
        normalize(notebook)
        nbformat.write(notebook, path)
        broken = contract.problems(notebook, path, slug, root)
        error = "the contract is broken:\n    " + "\n    ".join(broken) if broken else None
    return Result(path.stem, seconds, error)


def normalize(notebook):
    """Strip in place what differs from run to run: timestamps, versions, widgets' views or their numbers.

    A widget's state is not saved, so whoever shows its view can say only that the model was not found. Where
    a text or a picture stands beside the view, it goes, and the output's metadata say {"widget": True}.
    """
    language = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    kept = {name: notebook.metadata[name] for name in contract.COLAB_METADATA if name in notebook.metadata}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": language, **kept})
    widgets = 0
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict(contract.kept_metadata(cell))
        for output in cell.get("outputs", []):
            if png := output.get("data", {}).get("image/png"):
                output.data["image/png"] = quantized(png)
            view = output.get("data", {}).get(WIDGET)
            if not view:
                continue
            if any(kind.startswith(("text/", "image/")) for kind in output.data):
                del output.data[WIDGET]
                output.metadata["widget"] = True
            else:
                view["model_id"] = f"widget-{widgets}"
                widgets += 1
    return notebook


def quantized(png: str) -> str:
    """A figure (base64) with 256 colors where nobody sees the difference and it is smaller; else as it was.

    Of every committed output the history keeps a copy.
    """
    try:
        picture = Image.open(io.BytesIO(base64.b64decode(png)))
    except OSError:
        return png
    if getattr(picture, "n_frames", 1) > 1 or picture.mode == "P":
        return png
    picture = picture.convert("RGB")
    few = picture.quantize(256, dither=Image.Dither.NONE)
    error = np.asarray(few.convert("RGB"), np.float64) - np.asarray(picture, np.float64)
    few.save(buffer := io.BytesIO(), "PNG", optimize=True)
    smaller = base64.b64encode(buffer.getvalue()).decode() + "\n"
    return smaller if np.sqrt(np.mean(error**2)) < SEEN and len(smaller) < len(png) else png


def show(path: Path) -> str:
    """A path as a reader types it: from the working directory when it lies below."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def run_all(notebooks: list[Path], run) -> list[Result]:
    """Run each notebook, a line each; a failing one is told and the next one runs all the same."""
    results = []
    for path in notebooks:
        print(f"{path.stem:<44}", end="", flush=True)
        result = run(path)
        print(
            f"ok {result.seconds:6.1f} s" if result.error is None else f"FAILED after {result.seconds:.1f} s"
        )
        if result.error:
            print(f"    {result.error}")
        results.append(result)
    failed = [result.name for result in results if result.error]
    total = sum(result.seconds for result in results)
    print(f"{len(results) - len(failed)} of {len(results)} notebooks ok in {total:.1f} s", end="")
    print(f"; failed: {', '.join(failed)}" if failed else "")
    return results


def tutorial(prefix: str, profile: str, out: Path, root: Path = ROOT) -> bool:
    """Run the course in order into `out`, write the seconds, and say where to look."""
    notebooks = find(prefix, root)
    results = run_all(notebooks, lambda path: run_copy(path, out, profile))
    with open(out / "seconds.csv", "w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["notebook", "profile", "seconds", "ok"])
        rows.writerows([r.name, profile, f"{r.seconds:.1f}", r.error is None] for r in results)
    last = out / notebooks[-1].name
    if results[-1].error is None:
        figures = [
            png
            for cell in nbformat.read(last, as_version=4).cells
            if cell.cell_type == "code"
            for png in contract.pictures(cell)
        ]
        if figures:
            last.with_suffix(".png").write_bytes(base64.b64decode(figures[-1]))
            print(f"the last figure:        {show(last.with_suffix('.png'))}")
    print(f"the executed notebooks: {show(out)}")
    return not any(result.error for result in results)


def save(prefix: str, root: Path = ROOT) -> bool:
    """Execute notebooks in place and check each against the contract."""
    out, slug = root / "build" / "notebooks", repository(root)
    results = run_all(find(prefix, root), lambda path: run_in_place(path, out, slug, root))
    return not any(result.error for result in results)


def repository(root: Path = ROOT) -> str:
    """OWNER/NAME of the repository, from pyproject.toml."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"].removeprefix("https://github.com/")


def pages(slug: str) -> str:
    """Where GitHub Pages publishes the book of OWNER/NAME."""
    return slug.replace("/", ".github.io/")


def move_links(new: str, root: Path = ROOT) -> list[Path]:
    """Write the repository's new OWNER/NAME wherever the old one stands; returns the changed files."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", new):
        raise SystemExit(f"'{new}' is no repository: write OWNER/NAME, such as {repository(root)}")
    old, changed = repository(root), []
    moves = {f"/{old}": f"/{new}", pages(old): pages(new)}
    places = ["pyproject.toml", "README.md", "CONTRIBUTING.md", "CITATION.cff", "data/README.md"]
    for path in [*(root / place for place in places), *sorted((root / "notebooks").rglob("*.ipynb"))]:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        moved = text
        for one, other in moves.items():
            moved = moved.replace(one, other)
        if moved != text:
            path.write_text(moved, encoding="utf-8")
            changed.append(path)
    return changed


def version(root: Path = ROOT) -> str:
    """The course's version, from pyproject.toml; the tag of its release is `v` and this."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def set_version(new: str, root: Path = ROOT) -> list[Path]:
    """Write a new version where the old one stands."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", new):
        raise SystemExit(f"'{new}' is no version: write three numbers, such as {version(root)}")
    old, changed = version(root), []
    places = {"pyproject.toml": '\nversion = "{}"\n', "CITATION.cff": "\nversion: {}\n"}
    forms = {root / place: form for place, form in places.items()}
    for path, form in forms.items():
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if form.format(old) in text:
            path.write_text(text.replace(form.format(old), form.format(new)), encoding="utf-8")
            changed.append(path)
    return changed


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for command in ("tutorial", "save"):
        commands.add_parser(command).add_argument("prefix", nargs="?", default="", metavar="NB")
    commands.choices["tutorial"].add_argument("--profile", default="quick")
    commands.choices["tutorial"].add_argument("--out", type=Path, default=ROOT / "build" / "tutorial")
    commands.add_parser("links").add_argument("value", metavar="OWNER/NAME")
    commands.add_parser("release").add_argument("value", metavar="VERSION")
    chosen = parser.parse_args(arguments)
    if chosen.command in ("links", "release"):
        write = {"links": move_links, "release": set_version}[chosen.command]
        print("\n".join(f"changed {show(path)}" for path in write(chosen.value)) or "nothing to change")
        return 0
    os.environ.update(isolate())
    if chosen.command == "tutorial":
        return 0 if tutorial(chosen.prefix, chosen.profile, chosen.out.resolve()) else 1
    return 0 if save(chosen.prefix) else 1


if __name__ == "__main__":
    sys.exit(main())
