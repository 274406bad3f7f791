"""The ledger's rows about swappers, on invented curves whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import zscore
from swapper_claims import BEST, NOT_TRIED, OVERALL, at_equal_identity, curve_claims, overall_claim

from smoothswap_lib.evaluation import overall_score


def curves(ours_speed, rival_speed, ours_change=0.1, rival_change=0.2, seeds=(0,), every=(10, 10)):
    """Identity losses that fall on a straight line; rows are means over `every` steps."""
    tables = []
    for seed in seeds:
        runs = ("printed", ours_speed, ours_change), ("ce_arc", rival_speed, rival_change)
        for (name, speed, change), rows in zip(runs, every):
            run = pd.DataFrame({"step": np.arange(rows, 4001, rows)})
            loss = 1 - speed * (run.step - (rows - 1) / 2)
            run = run.assign(variant=name, seed=seed, identity=loss, change=change)
            tables.append(run)
    return pd.concat(tables)


@pytest.mark.parametrize("every", [(10, 10), (10, 25), (50, 10)])
def test_steps_to_an_equal_identity_loss_however_often_runs_log(every):
    found = at_equal_identity(curves(2e-4, 1e-4, every=every), seed=0)
    # a mean over 100 steps lags 49.5; ours is where the rival ends in half of the steps, the lag apart
    assert found["level"] == pytest.approx(1 - 1e-4 * (4000 - 49.5))
    assert found["steps_ce_arc"] == 4000
    assert found["steps_printed"] == pytest.approx((4000 - 49.5) / 2 + 49.5, abs=every[0])


@pytest.mark.parametrize(
    ("speeds", "changes", "verdicts"),
    [
        ((5e-4, 1e-4), (0.1, 0.2), ["reproduced", "reproduced"]),
        ((2e-4, 1e-4), (0.1, 0.2), ["reproduced in trend", "reproduced"]),
        ((1e-4, 2e-4), (0.2, 0.1), ["not reproduced", "not reproduced"]),
    ],
)
def test_verdicts_of_fig_7(speeds, changes, verdicts):
    rows = curve_claims(curves(*speeds, *changes, seeds=(0, 1)), "data/swappers.parquet")
    assert [row.verdict for row in rows] == verdicts
    assert {row.seeds for row in rows} == {"2 against 2"}


def test_one_run_alone_is_no_claim():
    table = curves(2e-4, 1e-4)
    assert curve_claims(table[table.variant == "printed"], "x") == list(NOT_TRIED[:2])


def test_overall_is_the_mean_of_standardized_columns():
    table = pd.DataFrame({"a": [1.0, 3.0, 5.0], "b": [10.0, 20.0, 60.0]}, index=["x", "y", "z"])
    assert overall_score(table).tolist() == pytest.approx(list(zscore(table).mean(axis=1)))
    assert overall_score(table, ["x", "y"])["z"] == pytest.approx(np.mean([(5 - 2) / 1, (60 - 15) / 5]))
    with pytest.raises(ValueError, match="two systems or more"):
        overall_score(table, ["x"])


def test_best_overall_is_judged_among_those_that_passed_their_check():
    def row(level, passed=True):
        return dict.fromkeys(OVERALL, level) | {"check": {"passed": passed}, "overall": 0.0}

    def claim(**systems):
        return overall_claim({"systems": systems, "steps": 9}, "data/rivals.json")

    best = claim(smoothswap=row(1.0), simswap=row(2.0), hififace=row(3.0), faceshifter=row(0.0, passed=False))
    assert (best.claim, best.verdict) == (BEST, "reproduced") and best.ours.startswith("rank 1 of 3")
    two = {"check": {"passed": True}}  # knows two people: it has no place in the ranking
    assert (
        claim(smoothswap=row(1.0), simswap=row(0.5), hififace=row(3.0), deepfakes=two).verdict
        == "not reproduced"
    )
    rows = {"smoothswap": (46, 52, 36, 26), "simswap": (36, 39, 45, 35), "hififace": (37, 39, 46, 31)}
    rows["faceswap"] = (53, 69, 44, 20)  # who takes part decides
    moved = {name: row(0) | dict(zip(OVERALL, scores)) for name, scores in rows.items()}
    assert claim(**moved).verdict == "reproduced in trend"
    assert claim(smoothswap=row(1.0)).verdict == "not tried"
