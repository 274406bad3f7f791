"""From the course's notebooks and documents to the pages of the book: links, references, figures, answers.

Texts in, texts out: no file is read or written here. A page lies in the book where its source lies in the
repository, so that a link from one page to another holds as it is.
"""

import copy
import posixpath
import re
from dataclasses import dataclass, field

# One pass over a text: what must not be touched, links, and words that become links.
CODE = r"^```.*?^```$|`+[^`]+?`+|\$\$.+?\$\$|\$[^$]+?\$"
HEADING = r"^#{1,6} .*?$"
LINK = r"(?P<image>!?)\[(?P<label>(?:[^\[\]`]|`[^`]*`|\[[^\[\]]*\])*)\]\((?P<target>[^()\s]+)\)"
WORDS = r"\b[Nn]otebook (?P<number>\d\d)\b|\bthe README\b"
BADGE = re.compile(r"\[!\[([^\]]*)\]\(https?://[^)]*\)\]\(([^)]*)\)")
CAPTION = re.compile(r"^\*(?:Figures?|Alt text)\b.*\*$", re.DOTALL)
REFERENCE = re.compile(
    r"^- (?P<authors>[^\[\n]+): \[(?P<title>[^\]]+)\]\((?P<url>[^)]+)\), (?P<year>\d{4})\.", re.M
)
OUTSIDE = re.compile(r"^(?:[a-z]+:|#|//)")
WIDGET = "application/vnd.jupyter.widget-view+json"
FRONT = "README.md"  # becomes index.md
SETUP = "import smoothswap_lib"


class NoAltText(ValueError):
    """A figure is not described in the text below it."""


@dataclass
class Book:
    """What a page must know of the others.

    pages : paths in the repository of all pages, such as "notebooks/00_overview.ipynb"
    url : the repository's address; what is no page is linked there
    references : word in a text -> (address, authors and year), for papers of the reading list
    sprites : a widget's class -> HTML that stands in its place
    pictures : paths in the repository of the pictures that pages show; filled while pages are made
    """

    pages: list[str]
    url: str
    references: dict[str, tuple[str, str]] = field(default_factory=dict)
    sprites: dict[str, str] = field(default_factory=dict)
    pictures: set[str] = field(default_factory=set)

    def numbered(self, number: str) -> str | None:
        """The page of the notebook with that number."""
        begin = f"notebooks/{number}_"
        return next((page for page in self.pages if page.startswith(begin)), None)


def references(reading_list: str) -> dict[str, tuple[str, str]]:
    """Words that name a paper of the reading list: a title of one word, or "Authors et al."."""
    found = {}
    for entry in REFERENCE.finditer(reading_list):
        cited = entry["url"], f"{entry['authors']}, {entry['year']}"
        if " " not in entry["title"]:
            found[entry["title"]] = cited
        if entry["authors"].endswith(" et al."):
            found[entry["authors"]] = cited
    return found


def link(text: str, place: str, book: Book, numbers: bool = True) -> str:
    """A page's text with the book's links.

    Links to pages stay, links to other files go to the repository, "notebook 03" and the first mention of a
    paper become links.

    Parameters
    ----------
    text : Markdown
    place : the page's path in the repository
    numbers : whether words become links, too
    """
    here = posixpath.dirname(place)
    papers = dict(book.references) if numbers else {}
    names = "|".join(rf"(?<![\w-]){re.escape(name)}(?!\w)" for name in papers) or r"(?!)"
    parts = (rf"(?P<kept>{CODE}|{HEADING})", LINK, rf"(?P<words>{WORDS})", rf"(?P<paper>{names})")

    def replace(match):
        if match["kept"]:
            return match[0]
        if match["target"]:
            return (
                f"{match['image']}[{match['label']}]({resolve(match['target'], here, book, match['image'])})"
            )
        if match["paper"]:
            url, title = papers.pop(match["paper"], (None, None))
            return f'[{match["paper"]}]({url} "{title}")' if url else match[0]
        page = book.numbered(match["number"]) if match["number"] else FRONT
        if not (numbers and page) or page == place:
            return match[0]
        return f"[{match['words']}]({resolve(posixpath.relpath(page, here or '.'), here, book)})"

    return re.sub("|".join(parts), replace, text, flags=re.DOTALL | re.MULTILINE)


def resolve(target: str, here: str, book: Book, image: str = "") -> str:
    """Where a link of a page in the folder `here` leads in the book."""
    if OUTSIDE.match(target):
        return target
    path, hash_, anchor = target.partition("#")
    path = posixpath.normpath(posixpath.join(here, path))
    if image:
        book.pictures.add(path)
        return target
    if path in book.pages:
        path = "index.md" if path == FRONT else path
        return posixpath.relpath(path, here or ".") + hash_ + anchor
    return f"{book.url}/blob/main/{path}{hash_}{anchor}"


def without_badges(text: str) -> str:
    """Badges are pictures from elsewhere: their text stays, linked."""
    return BADGE.sub(r"[\1](\2)", text)


def plain(text: str) -> str:
    """Markdown as one line of plain text, its formulas readable aloud: "$d_{smooth}$" is "d_smooth"."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\\(?:mathcal|mathrm|text|mathbb|left|right)\b|[${}`\\]|\*\*?", "", text)
    return " ".join(text.split())


def captions(text: str) -> list[str]:
    """The paragraphs of a Markdown cell that describe a figure: "*Figure: ...*" or "*Alt text: ...*"."""
    paragraphs = (paragraph.strip() for paragraph in re.split(r"\n\s*\n", text))
    return [paragraph for paragraph in paragraphs if CAPTION.match(paragraph)]


def alt_text(caption: str) -> str:
    """What a caption says, for an image's alt attribute."""
    text = plain(re.sub(r"^(?:Figures?|Alt text): *", "", caption.strip("*")))
    return text[:1].upper() + text[1:]


def count_pictures(cell) -> int:
    return sum("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def alt_texts(notebook, name: str = "") -> dict[int, str]:
    """Position of each cell with pictures -> their alt text: the next caption, before the next picture.

    Raises NoAltText, with the cell's first line, where there is none.
    """
    with_picture = [i for i, cell in enumerate(notebook.cells) if count_pictures(cell)]
    found = {}
    for i, end in zip(with_picture, [*with_picture[1:], len(notebook.cells)]):
        texts = [c.source for c in notebook.cells[i + 1 : end] if c.cell_type == "markdown"]
        described = [caption for text in texts for caption in captions(text)]
        if not described:
            first = notebook.cells[i].source.splitlines()[0]
            raise NoAltText(
                f"{name}: the figure of cell {i + 1}, which begins `{first}`, has no description: "
                "write a paragraph '*Figure: ...*' below it"
            )
        found[i] = alt_text(described[0])
    return found


def as_captions(text: str) -> str:
    """Descriptions of figures set as captions, "Alt text" under the name that readers expect."""
    for caption in captions(text):
        shown = re.sub(r"^\*Alt text\b", "*Figure", caption)
        text = text.replace(caption, "{.described}\n" + shown)
    return text


def folded(text: str, title: str) -> str:
    return f'<details class="folded"><summary>{title}</summary>\n\n{text}\n\n</details>'


def show_code_as(cell, title: str):
    """Fold a cell's code under a title."""
    cell.metadata["tags"] = list(dict.fromkeys([*cell.metadata.get("tags", []), "hide-input"]))
    cell.metadata["mystnb"] = {"code_prompt_show": title, "code_prompt_hide": title}


def page_of(notebook, place: str, book: Book):
    """A copy of a notebook as the book shows it: alt texts, folded answers and set-up, links, no widgets."""
    notebook = copy.deepcopy(notebook)
    described = alt_texts(notebook, place)
    for i, cell in enumerate(notebook.cells):
        solution = "solution" in cell.metadata.get("tags", [])
        if cell.cell_type == "markdown":
            text = link(as_captions(without_badges(cell.source)), place, book)
            cell.source = folded(text, "An answer") if solution else text
        elif cell.cell_type == "code":
            if solution:
                show_code_as(cell, "An answer")
            elif SETUP in cell.source:
                show_code_as(cell, "Set-up and imports")
            elif "hide-input" in cell.metadata.get("tags", []):
                show_code_as(cell, "The code of this figure")
            cell.outputs = [shown(output, place, book) for output in cell.outputs]
        if i in described:
            cell.metadata.setdefault("mystnb", {})["image"] = {"alt": described[i]}
    return notebook


def shown(output, place: str, book: Book):
    """An output as the book shows it: a widget needs a kernel, so a sprite or a word stands in its place."""
    data = output.get("data", {})
    if WIDGET in data or output.get("metadata", {}).get("widget"):  # its view goes when a notebook is saved
        sprite = book.sprites.get("".join(data.get("text/plain", "")).partition(":")[0])
        word = "*A widget stands here when the notebook runs.*"
        output["data"] = {"text/html": sprite} if sprite else {"text/markdown": word}
        output["metadata"] = {}
    elif "text/markdown" in data:
        data["text/markdown"] = link("".join(data["text/markdown"]), place, book, numbers=False)
    return output


def front(readme: str, parts: list[tuple[str, list[str]]], book: Book) -> str:
    """The landing page: the README, a way in, and the book's contents for the sidebar."""
    text = link(without_badges(readme), FRONT, book, numbers=False)
    title, promise, rest = text.split("\n\n", 2)
    first = next(page for page in book.pages if page.endswith(".ipynb"))
    trees = [
        "\n".join(["```{toctree}", ":hidden:", f":caption: {name}", "", *pages, "```"])
        for name, pages in parts
    ]
    way_in = f"{{.way-in}}\n[Start with the first notebook]({first})"
    return "\n\n".join([title, promise, way_in, rest.rstrip(), *trees]) + "\n"
