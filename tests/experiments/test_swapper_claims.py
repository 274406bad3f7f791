"""The ledger's rows about swappers, on invented curves whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import zscore
from swapper_claims import BEST, NOT_TRIED, OVERALL, at_equal_identity, curve_claims, overall_claim

from smoothswap_lib.evaluation import over_seeds, overall_score


def curves(ours_speed, rival_speed, ours_change=0.1, rival_change=0.2, seeds=(0,)):
    """Identity losses that fall on a straight line; a mean over 4 rows lags all lines alike."""
    tables = []
    for seed in seeds:
        runs = ("printed", ours_speed, ours_change), ("ce_arc", rival_speed, rival_change)
        for name, speed, change in runs:
            run = pd.DataFrame({"step": np.arange(10, 4010, 10)})
            run = run.assign(variant=name, seed=seed, identity=1 - speed * run.step, change=change)
            tables.append(run)
    return pd.concat(tables)


def test_steps_to_an_equal_identity_loss():
    found = at_equal_identity(curves(2e-4, 1e-4), seed=0)
    # the rival ends at .6 + the lag of 15 steps; ours is there in half of the steps, the lag apart
    assert found["level"] == pytest.approx(1 - 1e-4 * 3985)
    assert found["steps_ce_arc"] == 4000 and found["steps_printed"] == pytest.approx(3985 / 2 + 15, abs=10)


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


def test_runs_are_averaged_over_their_seeds():
    rows = {"no_r1-0": [1, 10], "no_r1-12": [3, 20], "printed-0": [5, 50]}
    rows |= {"oracle": [7, 0], "copy-target": [0, 0]}
    mean, seeds = over_seeds(pd.DataFrame(rows, index=["fid", "pose"], dtype=object).T)
    assert mean.T.to_dict() == {"no_r1": {"fid": 2, "pose": 15}, "printed": {"fid": 5, "pose": 50}}
    assert seeds.to_dict() == {"no_r1": 2, "printed": 1}


def test_best_overall_is_judged_at_equal_steps_without_the_oracle():
    def row(level, steps=1000):
        return dict.fromkeys(OVERALL, level) | {"steps": steps}

    systems = {"printed-0": row(1.0), "ce_arc-0": row(2.0), "supcon-0": row(3.0), "oracle": row(0.0)}
    systems["swapper"] = row(0.0, steps=4000)  # longer training is no better recipe
    claim = overall_claim({"systems": systems}, "data/swappers.json")
    assert (claim.claim, claim.verdict) == (BEST, "reproduced") and claim.ours.startswith("rank 1 of 3")
    systems["supcon-0"] = row(0.5)
    assert overall_claim({"systems": systems}, "data/swappers.json").verdict == "not reproduced"
    systems["printed-1"] = row(-0.5)  # the mean over both seeds is .25, better than .5
    claim = overall_claim({"systems": systems}, "data/swappers.json")
    assert (claim.verdict, claim.seeds) == ("reproduced", "2 of ours, 1 of others")
    assert overall_claim({"systems": {"printed-0": row(1.0)}}, "x").verdict == "not tried"
