"""One notation: every symbol of the notebooks' equations stands in the table of docs/glossary.md."""

import re

import contract
import nbformat
import run

GLOSSARY = (run.ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
# Signs, spaces and functions that every reader of an equation knows; all else is a symbol.
SIGNS = re.compile(
    r"\\(?:"
    r"approx|big|bigl|bigr|Big|cdot|cdots|cos|dots|exp|frac|ge|in|infty|langle|ldots|le|left|leftarrow|leq|"
    r"geq|ll|ln|log|lVert|max|min|neq|odot|pm|prod|qquad|quad|rVert|rangle|right|rightarrow|sin|sim|sqrt|"
    r"sum|times|to|top|mid|lvert|rvert|arg|hat|bar|tilde|mathrm|mathcal|mathbb|text|operatorname|begin|end|"
    r"circ|arccos|forall|cap|cup|subset"
    r")"
)
EQUATION = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$([^$\n]+)\$", flags=re.DOTALL)
WORD = r"\\(?:mathrm|operatorname)\{[^{}]*\}"
SCRIPT = r"_(?:\{(?:[^{}]|\{[^{}]*\})*\}|\\?[A-Za-z0-9])"
SYMBOL = re.compile(rf"({WORD}|\\math(?:cal|bb)\{{[A-Z]\}}|\\[A-Za-z]+|[A-Za-z])({SCRIPT})?(\^\*)?")
# What a reader knows by another spelling: notebook 03 spells two names out as the code does.
SPELLED_OUT = {"source": "src", "target": "tgt"}


def symbols(text: str) -> set[str]:
    """The symbols of all equations in a text of Markdown, each with its subscript, in one spelling."""
    found = set()
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    for display, inline in EQUATION.findall(text):
        equation = re.sub(rf"\\text\{{[^{{}}]*\}}({SCRIPT})?", "", display or inline)
        for base, script, star in SYMBOL.findall(equation):
            if not SIGNS.fullmatch(base):
                over = base in (r"\mathbb{E}", r"\nabla")  # their subscript says over what
                name = "" if over else script[1:].strip("{} ")
                found.add(base + (f"_{SPELLED_OUT.get(name, name)}" if name else "") + star)
    return found


def test_symbols_are_found_in_equations():
    text = r"$\mathcal{L}_{id}(t)$, `$q$`, "
    text += r"$$f_{emb}^* \cdot \mathrm{PSNR} + \text{dB}\,W_{out} \lVert z_i \rVert_2$$"
    assert symbols(text) == {r"\mathcal{L}_id", "t", "f_emb^*", r"\mathrm{PSNR}", "W_out", "z_i"}


def test_every_symbol_of_a_notebook_is_in_the_table():
    columns = [line.split("|")[1] for line in GLOSSARY.splitlines() if line.startswith("|")]
    known = symbols("\n".join(columns))
    for path in run.find():
        used = symbols(contract.prose(nbformat.read(path, as_version=4)))
        assert used <= known, f"docs/glossary.md lacks {used - known}, which {path.name} uses"
