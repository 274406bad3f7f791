"""Sphinx's settings of the book. `book.py` calls Sphinx with them; nothing here may need the network."""

import importlib.util
import shutil
from pathlib import Path

import book
import pages
from docutils import nodes

project = "Smooth-Swap, step by step"
author = "the course's authors"
html_title = project
extensions = ["myst_nb"]
exclude_patterns = []

nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {}  # its scripts would come from elsewhere

myst_enable_extensions = ["amsmath", "attrs_block", "dollarmath"]
myst_heading_anchors = 4

html_theme = "sphinx_book_theme"
templates_path = ["templates"]
html_static_path = ["static"]
html_css_files = ["book.css"]
html_js_files = [("sprites.js", {"defer": "defer"})]
html_favicon = "static/favicon.svg"
html_context = {"default_mode": "auto"}
html_show_copyright = False
html_copy_source = False
html_use_index = False
html_show_sourcelink = False
html_theme_options = {
    "repository_url": book.repository(),
    "use_repository_button": True,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "logo": {"text": project},
}

# MathJax and its fonts, a copy beside the pages.
MATHJAX = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
mathjax_path = "mathjax/tex-chtml.js"
LONG_FORMULA = 30  # characters; a phone's line has about 40
MATHJAX_PARTS = ("tex-chtml.js", "input/tex/extensions", "output/chtml/fonts/woff-v2")


def number_pictures(app, doctree):
    """Pictures of one cell share its alt text: say which is which."""
    for cell in doctree.findall(nodes.container):
        if "cell_output" not in cell["classes"]:
            continue
        pictures = list(cell.findall(nodes.image))
        for k, picture in enumerate(pictures, start=1):
            if len(pictures) > 1:
                picture["alt"] = f"Picture {k} of {len(pictures)}. {picture['alt']}"


def mark_long_formulas(app, doctree):
    """A formula in a line cannot be broken: `book.css` lets the long ones scroll on a phone."""
    for formula in doctree.findall(nodes.math):
        if len(pages.plain(formula.astext())) > LONG_FORMULA:
            formula["classes"].append("long")


def copy_mathjax(app, error):
    if error is None:
        for part in MATHJAX_PARTS:
            out = Path(app.outdir) / "_static" / "mathjax" / part
            out.parent.mkdir(parents=True, exist_ok=True)
            if (MATHJAX / part).is_dir():
                shutil.copytree(MATHJAX / part, out, dirs_exist_ok=True)
            else:
                shutil.copy(MATHJAX / part, out)


def setup(app):
    app.connect("doctree-read", number_pictures)
    app.connect("doctree-read", mark_long_formulas)
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
