"""Build the book: a web site from the notebooks with their saved outputs, and the documents beside them.

    python docs/book/book.py [--out build/book]

The notebooks are not run. `OUT/source` gets copies that are prepared for the web (`pages.py`), `OUT/html` the
site. It needs no network, neither to be built nor to be read; without one, and without what an earlier build
fetched, its swap lab (`swap_lab.py`) is left out.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pages
import swap_lab

ROOT = Path(__file__).resolve().parents[2]
# Parts of the course by the numbers of their notebooks; a notebook that is there has its place in one.
PARTS = (
    ("The task", range(2)),
    ("The embedding", range(2, 4)),
    ("The swapper", range(4, 8)),
    ("The judgment", range(8, 11)),
    ("In use", range(11, 100)),
)
BESIDE = (
    swap_lab.PAGE,
    "docs/glossary.md",
    "docs/reading.md",
    "docs/teaching.md",
    "data/README.md",
    "data/labbook.md",
    "data/head_model.md",
)
DATA = "data/"


def contents(root: Path = ROOT) -> list[tuple[str, list[str]]]:
    """(title of a part, its pages as paths in the repository) of all that is there."""
    notebooks = sorted(path.name for path in (root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    parts = [
        (title, [f"notebooks/{name}" for name in notebooks if int(name[:2]) in numbers])
        for title, numbers in PARTS
    ]
    beside = [name for name in BESIDE if (root / name).is_file()]
    parts.append(("Beside the notebooks", [name for name in beside if not name.startswith(DATA)]))
    parts.append(("Data", [name for name in beside if name.startswith(DATA)]))
    return [(title, names) for title, names in parts if names]


def repository(root: Path = ROOT) -> str:
    """The repository's address."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"].rstrip("/")


def missing() -> str:
    """Why the site cannot be built here, or an empty text."""
    lacking = [name for name in ("sphinx", "myst_nb", "sphinx-mathjax-offline") if find_spec(name) is None]
    return f"needs {', '.join(lacking)}: pip install -r requirements-book.txt" if lacking else ""


def prepare(
    source: Path, root: Path = ROOT, no_lab: str = "", sprites: dict[str, str] | None = None
) -> pages.Book:
    """Write the book's sources into an empty folder; the book that they make.

    `no_lab` says why the swap lab is not in it, if it is not; `sprites` are `pages.Book`'s.
    """
    sprites = sprites or {}
    parts = contents(root)
    names = [name for _, part in parts for name in part]
    reading = root / "docs" / "reading.md"
    cited = pages.references(reading.read_text(encoding="utf-8")) if reading.is_file() else {}
    book = pages.Book([pages.FRONT, *names], repository(root), cited, sprites)
    shutil.rmtree(source, ignore_errors=True)
    for name in names:
        out = source / name
        out.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".ipynb"):
            notebook = pages.page_of(nbformat.read(root / name, as_version=4), name, book)
            nbformat.write(notebook, out)
        else:
            text = pages.without_badges((root / name).read_text(encoding="utf-8"))
            text = pages.link(text, name, book)
            if name == swap_lab.PAGE:
                text = swap_lab.page(text, no_lab, "".join(sprites.values()))
            out.write_text(text, encoding="utf-8")
    readme = (root / pages.FRONT).read_text(encoding="utf-8")
    (source / "index.md").write_text(pages.front(readme, parts, book), encoding="utf-8")
    for name in book.pictures:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, source / name)
    return book


def render(source: Path, html: Path) -> None:
    """Run Sphinx; a warning, such as a link that leads nowhere, is an error."""
    options = ["-b", "html", "-q", "-W", "--keep-going", "-c", str(Path(__file__).parent)]
    places = ["-d", str(html.with_name("doctrees")), str(source), str(html)]
    shutil.rmtree(html, ignore_errors=True)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([sys.executable, "-m", "sphinx", *options, *places], env=environment)
    if done.returncode:
        raise SystemExit("the book was not built: see the warnings above")
    for page in html.rglob("*.html"):  # the theme's script chooses light or dark; where none runs, light
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace('data-theme="auto"', 'data-theme="light"', 1), encoding="utf-8")


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "book")
    out = parser.parse_args(arguments).out.resolve()
    if missing():
        raise SystemExit(missing())
    lab, reason = swap_lab.built()
    if reason:
        print(f"the swap lab was not built, because {reason}", file=sys.stderr)
    folder = swap_lab.sprites()
    sprites = {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.html"))}
    try:
        prepare(out / "source", no_lab=reason, sprites=sprites)
    except pages.NoAltText as error:
        raise SystemExit(str(error)) from None
    render(out / "source", out / "html")
    swap_lab.install(out / "html", lab, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
