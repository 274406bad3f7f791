"""The claims ledger: written whole, read back, and no verdict without a number."""

from dataclasses import replace

import pytest

from smoothswap_lib import claims
from smoothswap_lib.claims import Claim, read_claims, verdict_at_most, write_claims

TRIED = Claim(
    "smoother, by a comma and a \"quote\"", "Table 2", "0.116 / 0.404", "0.30 [0.28, 0.33]", "laptop",
    "0 1 2", "reproduced in trend", "data/embedders.json",
)  # fmt: skip
OPEN = Claim("best overall", "Table 1", "0.48", "", "", "", "not tried", "")


def test_what_is_written_is_read_back(tmp_path):
    path = write_claims([TRIED, OPEN], tmp_path / "claims.csv")
    assert read_claims(path) == [TRIED, OPEN]
    assert path.read_bytes().count(b"\n") == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "proved"},
        {"ours": ""},
        {"source": ""},
        {"ours": "", "source": ""},
        {"verdict": "not tried"},
        {"verdict": "not tried", "ours": ""},
    ],
    ids=str,
)
def test_no_verdict_without_a_number_and_no_number_without_a_verdict(changes):
    with pytest.raises(ValueError, match="choose one of|or neither if not tried"):
        replace(TRIED, **changes)


@pytest.mark.parametrize(
    "value, low, high, verdict",
    [
        (0.38, 0.30, 0.45, "reproduced"),
        (0.60, 0.55, 0.65, "reproduced in trend"),
        (0.95, 0.85, 1.05, "not reproduced"),
        (1.20, 1.10, 1.30, "not reproduced"),
    ],
)
def test_verdicts_follow_the_interval(value, low, high, verdict):
    assert verdict_at_most(value, low, high, limit=0.38) == verdict


def test_an_interval_that_misses_its_value_is_refused():
    with pytest.raises(ValueError, match="does not hold its own value"):
        verdict_at_most(0.5, 0.6, 0.7, limit=0.4)


def test_a_claim_stands_once(tmp_path):
    with pytest.raises(ValueError, match="twice"):
        write_claims([TRIED, TRIED], tmp_path / "claims.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text, message",
    [
        ("claim,where\na,b\n", "has the columns"),
        ("", "no readable table"),
        ('"a\n', "no readable table|columns"),
    ],
)
def test_a_damaged_ledger_names_its_file(tmp_path, text, message):
    path = tmp_path / "claims.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_claims(path)
    assert str(path) in str(error.value)


def test_a_missing_ledger_says_who_writes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="write_claims"):
        read_claims(tmp_path / "claims.csv")


def test_columns_are_those_of_a_claim():
    assert claims.COLUMNS[0] == "claim" and claims.COLUMNS[-2:] == ("verdict", "source")
