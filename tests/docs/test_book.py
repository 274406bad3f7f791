"""The book: what its pages are made from, then the built site as files. test_book_browser.py opens it."""

import re
from urllib.parse import unquote, urlsplit

import book
import nbformat
import pages
import pytest
import run
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

URL = "https://example.org/owner/course"
PAGES = ["README.md", "notebooks/00_a.ipynb", "notebooks/01_b.ipynb", "docs/glossary.md"]
PICTURE = {"image/png": "iVBORw0KGgo=", "text/plain": "<Figure>"}


def toy_book(**references):
    return pages.Book(PAGES, URL, references)


def linked(text, place="notebooks/01_b.ipynb", **references):
    return pages.link(text, place, toy_book(**references))


def figure(count=1, source="plt.show()"):
    outputs = [new_output("display_data", data=dict(PICTURE)) for _ in range(count)]
    return new_code_cell(source, outputs=outputs)


def test_links_between_pages_stay_and_others_go_to_the_repository():
    assert linked("[start](../README.md#run-it)") == "[start](../index.md#run-it)"
    assert linked("[`f`](../lib/f.py)") == f"[`f`]({URL}/blob/main/lib/f.py)"
    assert linked("[missing](09_later.ipynb)") == f"[missing]({URL}/blob/main/notebooks/09_later.ipynb)"
    for kept in ("[a](00_a.ipynb#x) [w](../docs/glossary.md)", "[x](https://a.b/c) and [y](#part)"):
        assert linked(kept) == kept


def test_words_become_links_but_not_in_code_formulas_headings_and_on_their_own_page():
    assert linked("see notebook 00.") == "see [notebook 00](00_a.ipynb)."
    assert linked("in the README") == "in [the README](../index.md)"
    assert linked("Notebook 00", "docs/glossary.md") == "[Notebook 00](../notebooks/00_a.ipynb)"
    kept = ["`notebook 00`", "$notebook 00$", "# notebook 00", "[notebook 00](00_a.ipynb)", "notebook 01"]
    for text in (*kept, "```\nnotebook 00\n[a](b.py)\n```", "notebook 77"):
        assert linked(text) == text


def test_the_first_mention_of_a_paper_is_linked():
    reading = "- Deng et al.: [ArcFace](https://a.org/1), 2019. The margin.\n"
    reading += "- A, B: [Two words](https://a.org/2), 2020. C."
    cited = pages.references(reading)
    assert set(cited) == {"ArcFace", "Deng et al."}
    assert linked("ArcFace, ArcFace; `ArcFace` and CE-ArcFace", **{"ArcFace": cited["ArcFace"]}) == (
        '[ArcFace](https://a.org/1 "Deng et al., 2019"), ArcFace; `ArcFace` and CE-ArcFace'
    )


def test_pictures_of_a_page_are_remembered_and_badges_become_words():
    shelf = toy_book()
    assert pages.link("![two](images/two.png)", "docs/glossary.md", shelf) == "![two](images/two.png)"
    assert shelf.pictures == {"docs/images/two.png"}
    badge = "[![Open in Colab](https://colab/badge.svg)](https://colab/nb.ipynb)"
    assert pages.without_badges(badge) == "[Open in Colab](https://colab/nb.ipynb)"


def test_the_alt_text_is_what_stands_below_the_figure():
    caption = "*Figure: left, $d_{smooth}$ of the `supcon` embedder;\nright, [a link](x.md).*"
    notebook = new_notebook(
        cells=[
            figure(), new_markdown_cell(f"Before.\n\n{caption}\n\nAfter."),
            figure(), new_code_cell("1"), new_markdown_cell("*Alt text: two\ncurves.*"),
        ]
    )  # fmt: skip
    said = {0: "Left, d_smooth of the supcon embedder; right, a link.", 2: "Two curves."}
    assert pages.alt_texts(notebook) == said
    page = pages.page_of(notebook, "notebooks/01_b.ipynb", toy_book())
    assert page.cells[0].metadata["mystnb"]["image"]["alt"].startswith("Left, d_smooth")
    assert "{.described}\n*Figure: two\ncurves.*" in page.cells[4].source
    assert notebook.cells[0].metadata == {}, "the notebook itself must stay as it is"


def test_a_figure_that_nothing_describes_is_named():
    notebook = new_notebook(cells=[figure(source="draw()"), figure(), new_markdown_cell("*Figure: b.*")])
    with pytest.raises(pages.NoAltText, match="07.ipynb: the figure of cell 1"):
        pages.alt_texts(notebook, "07.ipynb")


def test_every_figure_of_the_course_is_described():
    for path in run.find():
        texts = list(pages.alt_texts(nbformat.read(path, as_version=4), path.name).values())
        assert texts and min(map(len, texts)) >= 30, "say what the figure shows"
        assert len(set(texts)) == len(texts), path.name


@pytest.mark.parametrize("view", ({pages.WIDGET: {"model_id": "widget-0"}}, {}))
def test_answers_are_folded_and_widgets_replaced(view):
    slider = new_output("display_data", data={**view, "text/plain": "HBox()"})
    slider.metadata.update({} if view else {"widget": True})  # as notebooks/run.py saves it
    cells = [
        new_code_cell("try:\n    import smoothswap_lib\nexcept ImportError:\n    pass"),
        new_code_cell("def f():\n    pass", metadata={"tags": ["solution"]}),
        new_markdown_cell("*Answer.* Because.", metadata={"tags": ["solution"]}),
        new_code_cell("slider", outputs=[slider]),
        new_code_cell("plt.show()", metadata={"tags": ["hide-input"]}),
    ]
    setup, code, prose, widget, plot = pages.page_of(new_notebook(cells=cells), PAGES[1], toy_book()).cells
    assert "hide-input" in setup.metadata["tags"]
    assert code.metadata["tags"] == ["solution", "hide-input"]
    assert plot.metadata["tags"] == ["hide-input"] and "figure" in plot.metadata["mystnb"]["code_prompt_show"]
    assert prose.source.startswith("<details") and "\n\n*Answer.* Because.\n\n" in prose.source
    assert list(widget.outputs[0].data) == ["text/markdown"]
    shelf = pages.Book(PAGES, URL, sprites={"PairTab": "<div>"})
    for name, data in (("PairTab", {"text/html": "<div>"}), ("UploadTab", widget.outputs[0].data)):
        slider.data = {**view, "text/plain": f"{name}: run the notebook"}
        assert pages.shown(nbformat.from_dict(slider), PAGES[1], shelf).data == data


@pytest.fixture(scope="module")
def soups(site):
    """{path in the site: parsed page}"""
    return {
        str(path.relative_to(site)): BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.parts
    }


def test_no_link_of_the_book_is_broken(site, soups):
    known = {name: {tag["id"] for tag in soup.find_all(id=True)} for name, soup in soups.items()}
    broken = []
    for name, soup in soups.items():
        for tag in soup.find_all(["a", "link", "script", "img"]):
            parts = urlsplit(tag.get("href") or tag.get("src") or "")
            if parts.scheme or parts.netloc:
                continue
            target = ((site / name).parent / unquote(parts.path)).resolve() if parts.path else site / name
            inside = str(target.relative_to(site)) if target.is_relative_to(site) else None
            if inside is None or not target.is_file():
                broken.append(f"{name}: {parts.geturl()}")
            elif parts.fragment and inside in known and unquote(parts.fragment) not in known[inside]:
                broken.append(f"{name}: {parts.geturl()} has no such place")
    assert broken == []


def test_links_to_the_repository_lead_to_files_that_are_there(soups):
    begin = f"{book.repository()}/blob/main/"
    linked = {tag["href"] for soup in soups.values() for tag in soup.find_all("a", href=True)}
    paths = {urlsplit(href.removeprefix(begin)).path for href in linked if href.startswith(begin)}
    assert paths
    assert [path for path in sorted(paths) if not (book.ROOT / unquote(path)).exists()] == []


def test_nothing_is_loaded_from_elsewhere(site, soups):
    for name, soup in soups.items():
        loaded = [tag.get("src") for tag in soup.find_all(["img", "script", "iframe", "source", "video"])]
        loaded += [tag["href"] for tag in soup.find_all("link", href=True) if tag.get("rel") != ["canonical"]]
        assert [place for place in loaded if place and re.match(r"(?:https?:)?//", place)] == [], name
    elsewhere = re.compile(r"(?:url\(|@import )[\"']?(?:https?:)?//")
    assert [p for p in site.rglob("*.css") if elsewhere.search(p.read_text(encoding="utf-8"))] == []


def test_every_picture_of_the_book_has_its_own_alt_text(site, soups):
    for name, soup in soups.items():
        texts = [tag.get("alt", "") for tag in soup.select(".bd-article img")]
        assert len(set(texts)) == len([text for text in texts if len(text) >= 20]), name
    for path in (site.parent / "source" / "notebooks").iterdir():
        expected = sum(map(pages.count_pictures, nbformat.read(path, as_version=4).cells))
        shown = soups[f"notebooks/{path.stem}.html"].select(".bd-article .cell_output img")
        assert len(shown) >= expected, f"{path.name}: a figure is missing"


def test_every_page_is_in_the_navigation(soups):
    hrefs = {tag["href"] for tag in soups["index.html"].select("nav.bd-links a")}
    pages_of_the_book = [name for _, names in book.contents() for name in names]
    assert {re.sub(r"\.\w+$", ".html", name) for name in pages_of_the_book} <= hrefs
    assert [name for name, soup in soups.items() if not soup.title or not soup.title.text] == []
