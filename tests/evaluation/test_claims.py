"""The claims ledger: written whole, read back, and no verdict without a number."""

import json
from dataclasses import replace
from functools import partial

import pytest
import write_claims as script

from smoothswap_lib.evaluation import claims
from smoothswap_lib.evaluation.claims import Claim, read_claims, write_claims
from smoothswap_lib.files import data_folder

TRIED = Claim(
    "smoother, by a comma and a \"quote\"", "Table 2", "0.116 / 0.404", "0.30 [0.28, 0.33]", "laptop",
    "0 1 2", "reproduced in trend", "data/embedders.json",
)  # fmt: skip
OPEN = Claim("best overall", "Table 1", "0.48", "", "", "", "not tried", "")


def test_what_is_written_is_read_back(tmp_path):
    path = write_claims([TRIED, OPEN], tmp_path / "claims.csv")
    assert read_claims(path) == [TRIED, OPEN]
    assert path.read_bytes().count(b"\n") == 3


def test_no_verdict_without_a_number_and_no_number_without_a_verdict():
    for changes in ({"verdict": "proved"}, {"ours": ""}, {"source": ""}, {"verdict": "not tried"}):
        with pytest.raises(ValueError, match="choose one of|or neither if not tried"):
            replace(TRIED, **changes)


AT_MOST = partial(claims.verdict_at_most, limit=0.38)


@pytest.mark.parametrize(
    "rule, value, low, high, verdict",
    [
        (AT_MOST, 0.38, 0.30, 0.45, "reproduced"),
        (AT_MOST, 0.60, 0.55, 0.65, "reproduced in trend"),
        (AT_MOST, 0.95, 0.85, 1.05, "not reproduced"),
        (AT_MOST, 1.20, 1.10, 1.30, "not reproduced"),
        (claims.verdict_below_one, 0.9, 0.8, 0.99, "reproduced"),
        (claims.verdict_below_one, 0.9, 0.8, 1.0, "not reproduced"),
        (claims.verdict_below_one, 1.2, 1.1, 1.3, "not reproduced"),
    ],
)
def test_verdicts_follow_the_interval(rule, value, low, high, verdict):
    assert rule(value, low, high) == verdict
    with pytest.raises(ValueError, match="does not hold its own value"):
        rule(value, value + 0.1, value + 0.2)


def test_a_claim_stands_once(tmp_path):
    with pytest.raises(ValueError, match="twice"):
        write_claims([TRIED, TRIED], tmp_path / "claims.csv")
    assert not list(tmp_path.iterdir())


def test_a_damaged_or_missing_ledger_names_its_file(tmp_path):
    path = tmp_path / "claims.csv"
    with pytest.raises(FileNotFoundError, match="write_claims"):
        read_claims(path)
    for text in ("claim,where\na,b\n", "", '"a\n'):
        path.write_text(text)
        with pytest.raises(ValueError, match="claims.csv.*(?:readable table|columns)"):
            read_claims(path)


def test_the_shipped_ledger_is_what_its_script_makes_of_the_shipped_measurements(tmp_path):
    assert script.main(["--out", str(tmp_path / "claims.csv")]) == 0
    assert (tmp_path / "claims.csv").read_bytes() == (data_folder() / "claims.csv").read_bytes()
    tried = [claim for claim in read_claims() if claim.verdict != "not tried"]
    assert all((data_folder().parent / claim.source).is_file() for claim in tried)


def test_the_script_computes_ratios_intervals_and_verdicts(tmp_path, capsys):
    """On invented measurements: the printed loss three times smoother than CE-Arc, as smooth as CE-Lin."""

    def run(smooth, auc):
        number = {"mean": smooth, "low": 0.9 * smooth, "high": 1.1 * smooth}
        return {
            "table_2": {"d_smooth_r0.25": number, "d_smooth_r0.5": number, "auc_pairs": auc,
                        "unique_of_9": {"mean": 1 / smooth, "deviation": 0.8}},
            "renderer": {"identity": number},
            "kept_r2": {"face shape 1": number, "state.age within a person": number},
            "walks": {"age": {"span": number}, "another person": {"largest_step": number}},
            "gradients": {"whole_swap_pool8": number},
        }  # fmt: skip

    runs = {
        "printed": {"0": run(0.1, 0.990), "1": run(0.12, 0.992)},
        "ce_arc": {"0": run(0.33, 0.995), "1": run(0.33, 0.995)},
        "ce_lin": {"0": run(0.11, 0.999)},
    }
    (tmp_path / "embedders.json").write_text(json.dumps(runs))
    arguments = ["--embedders", str(tmp_path / "embedders.json"), "--out", str(tmp_path / "claims.csv")]
    assert script.main(arguments) == 0
    rows = {claim.claim: claim for claim in read_claims(tmp_path / "claims.csv")}
    arc = rows["The paper's d_smooth over CE-Arc's, with samples, r = .5"]
    # .11 / .33, from .9 x .1 / (1.1 x .33) to 1.1 x .12 / (.9 x .33); the paper's .31 is not reached
    assert arc.ours == "0.33 [0.25, 0.44] = 0.110 / 0.330"
    assert (arc.verdict, arc.seeds) == ("reproduced in trend", "2 against 2")
    assert rows[arc.claim.replace("CE-Arc", "CE-Lin")].verdict == "not reproduced"
    with_generator = rows["The paper's d_smooth over CE-Arc's, with a generator (here: the renderer), r = .5"]
    assert with_generator.verdict == "reproduced"
    arc, lin = (
        rows[f"Verification AUC that the paper's gives away to {name}: at most 0.005"]
        for name in ("CE-Arc", "CE-Lin")
    )
    assert arc.verdict == "reproduced" and lin.verdict == "not reproduced"
    assert lin.ours.startswith("+0.0080 [+0.0070, +0.0090]")

    (tmp_path / "embedders.json").write_text('{"printed": {}}')
    assert script.main(arguments) == 2
    assert "embedders.json" in capsys.readouterr().err
