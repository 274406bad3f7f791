"""Write the README's tables of numbers from the files of data/: `python docs/front_page.py`.

Between `<!-- NAME -->` and `<!-- end of NAME -->` the README holds what the function of that name returns;
a test compares the two.
"""

import argparse
import json
import re
from collections import Counter
from pathlib import Path

from smoothswap_lib.evaluation.claims import VERDICTS, read_claims
from smoothswap_lib.files import data_folder

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
ABOUT = {  # what the claims of a place in the paper say, taken together
    "Table 2": "contrastive training makes a smoother identity space ($d_{smooth}$)",
    "Table 2, VGG2": "it verifies people nearly as well as a classifier",
    "Sec. 5.5, Fig. 9": "a walk in its space meets more different images",
    "Sec. 4.1": "it keeps what a classifier throws away: shape, changes of age",
    "Sec. 3.3, Fig. 3": "a walk from one person to another has smaller jumps",
    "Sec. 3.3": "its gradient points more to the true swap",
    "Sec. 5.4, Fig. 7": "the swapper trains faster with it, and changes less of the target",
    "Table 1": "best Overall score of all systems",
}
SCORES = {  # column of shipped.json -> heading
    "error_over_copying": "error, all",
    "error_over_copying_face": "error, face",
    "cos_source_judge": "a judge of renders: to the source",
    "cos_target_judge": "to the target",
    "cos_source_sface": "SFace: to the source",
    "cos_target_sface": "to the target",
    "nearer_to_source_sface": "nearer to the source",
}


def table(head: list[str], rows: list[list[str]]) -> str:
    """A markdown table; the first column is text, the others are set to the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def claims() -> str:
    """How many claims of each place in the paper got which verdict."""
    counts = Counter((claim.where, claim.verdict) for claim in read_claims())
    places = list(dict.fromkeys(where for where, _ in counts))
    rows = [
        [f"{ABOUT.get(place, 'see the ledger')} ({place})", *(str(counts[place, v] or "") for v in VERDICTS)]
        for place in places
    ]
    rows.append(["**all**", *(f"**{sum(counts[place, v] for place in places)}**" for v in VERDICTS)])
    return table(["The paper says", *VERDICTS], rows)


def scores() -> str:
    """The shipped swapper between its floors and the truth, by judges that took no part in its training."""
    measured = json.loads((data_folder() / "shipped.json").read_text(encoding="utf-8"))

    def cell(score: str, value: float) -> str:
        return f"{value:.0%}" if score.startswith("nearer") else f"{value:.2f}"

    rows = [
        [f"**{name}**" if name == "swapper" else name, *(cell(score, found[score]) for score in SCORES)]
        for name, found in measured["systems"].items()
        if name != "oracle"  # needs the explanation of notebook 08
    ]
    return table(["", *SCORES.values()], rows)


PARTS = {"claims": claims, "scores": scores}


def filled(text: str) -> str:
    """The README's text with every part written anew.

    Raises
    ------
    ValueError
        The marks of a part are not there once.
    """
    for name, write in PARTS.items():
        marks = rf"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)"
        found = list(re.finditer(marks, text, re.DOTALL))
        if len(found) != 1:
            raise ValueError(f"the marks of {name} must stand in the text once")
        text = f"{text[: found[0].start()]}\n{write()}\n\n{text[found[0].end() :]}"
    return text


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
