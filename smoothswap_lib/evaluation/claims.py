"""The claims ledger, `data/claims.csv`: what the paper says, what was found here, and the verdict.

A row is written by code from the numbers of runs, never by hand.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pandas as pd

from smoothswap_lib.files import atomic, data_folder

VERDICTS = ("reproduced", "reproduced in trend", "not reproduced", "not tried")


@dataclass(frozen=True)
class Claim:
    """One claim of the paper beside what was measured here.

    claim: a sentence. where: section, table or figure. paper: its value, as text. ours: our value with its
    interval, as text; empty if not tried. profile, seeds: of the runs. verdict: one of VERDICTS. source: the
    file that holds our numbers, relative to the repository; empty if not tried.

    Raises
    ------
    ValueError
        An unknown verdict, or a verdict without a value and its source.
    """

    claim: str
    where: str
    paper: str
    ours: str
    profile: str
    seeds: str
    verdict: str
    source: str

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict is {self.verdict!r}; choose one of {', '.join(VERDICTS)}")
        tried = self.verdict != "not tried"
        if bool(self.ours) != tried or bool(self.source) != tried:
            raise ValueError(
                f"{self.claim!r} is {self.verdict}: give our value and its source, or neither if not tried"
            )


COLUMNS = tuple(field.name for field in fields(Claim))


def verdict_at_most(value: float, low: float, high: float, limit: float, neutral: float = 1.0) -> str:
    """The verdict on "at most `limit`" for a measured ratio and its 95 % interval.

    Reproduced if the value is at most `limit`; in trend if the whole interval lies on the claim's side of
    `neutral`, where nothing would differ; else not reproduced.
    """
    _check_interval(value, low, high)
    if value <= limit:
        return "reproduced"
    return "reproduced in trend" if high < neutral else "not reproduced"


def verdict_below_one(value: float, low: float, high: float) -> str:
    """The verdict on "lower" for a measured ratio and its 95 % interval, all of which has to lie below 1."""
    _check_interval(value, low, high)
    return "reproduced" if high < 1 else "not reproduced"


def _check_interval(value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"the interval [{low:g}, {high:g}] does not hold its own value {value:g}")


def write_claims(claims: Iterable[Claim], path: str | Path | None = None) -> Path:
    """Write the ledger whole; the default path is the shipped one.

    Raises
    ------
    ValueError
        Two rows are about one claim.
    """
    table = pd.DataFrame([asdict(claim) for claim in claims], columns=COLUMNS)
    twice = table.claim[table.claim.duplicated()].tolist()
    if twice:
        raise ValueError(f"these claims stand in the ledger twice: {twice}")
    path = Path(path) if path is not None else data_folder() / "claims.csv"
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    return path


def read_claims(path: str | Path | None = None) -> list[Claim]:
    """The ledger's rows, checked.

    Raises
    ------
    FileNotFoundError, ValueError
        Name the file and the column or row that is wrong.
    """
    path = Path(path) if path is not None else data_folder() / "claims.csv"
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing; `write_claims` writes it") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no readable table ({error}); write it again") from None
    if tuple(table.columns) != COLUMNS:
        raise ValueError(f"{path} has the columns {list(table.columns)}, not {list(COLUMNS)}")
    return [Claim(**row) for row in table.to_dict("records")]
