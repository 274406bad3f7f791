"""The embedder's loop: it learns, each loss works, the judge only looks, color jitter, rates."""

import dataclasses
import math

import pytest
import torch
from tiny_runs import TINY, FakeFaces, train
from torch.optim.optimizer import register_optimizer_step_pre_hook

from smoothswap_lib import checkpoints, training
from smoothswap_lib.embedder import ArcFaceHead, Embedder

pytestmark = pytest.mark.usefixtures("small_networks")


def test_the_embedder_learns_its_identities(tmp_path):
    profile = dataclasses.replace(TINY, log_every=10).override(
        "embedder", {"steps": 50, "identities_per_batch": 8, "images_per_identity": 4}
    )
    rows = train("embedder", tmp_path / "run", profile).metrics
    assert rows[-1]["loss"] < 0.3 * rows[0]["loss"]
    assert rows[-1]["cos_positive"] - rows[-1]["cos_negative"] > 0.5


@pytest.mark.parametrize("loss", ("supcon", "ce_lin", "ce_arc"))
def test_each_loss_falls_reaches_every_parameter_and_ships_no_classifier(tmp_path, loss):
    config = {"loss": loss, "steps": 30, "arc_scale": 8.0, "arc_margin": 0.1}
    reached = []
    hook = register_optimizer_step_pre_hook(
        lambda adam, *_: reached.append(
            [bool(p.grad.abs().sum() > 0) for group in adam.param_groups for p in group["params"]]
        )
    )
    result = train(
        "embedder", tmp_path / "run", dataclasses.replace(TINY, log_every=5).override("embedder", config)
    )
    hook.remove()
    assert all(reached[0])
    assert result.metrics[-1]["loss"] < result.metrics[0]["loss"]
    names, _ = checkpoints.read_tensors(result.folder / "weights.safetensors")
    assert set(names) == set(Embedder("plain", 8).state_dict())


def test_a_judge_sees_the_embedder_along_the_way_and_changes_nothing(tmp_path, finished):
    seen = []

    def judge(module):
        assert not module.training and not torch.is_grad_enabled()
        torch.rand(3)  # a judge may draw random numbers
        seen.append(module.fc1.weight.clone())
        return {"answer": len(seen)}

    result = train("embedder", tmp_path / "run", judge=judge)
    assert len(seen) == 2 and not torch.equal(*seen)  # after steps 5 and 10 of 10
    assert [row.get("answer") for row in result.metrics] == [None, None, 1, None, 2]
    plain = checkpoints.read_tensors(finished["embedder"].folder / "weights.safetensors")[0]
    judged = checkpoints.read_tensors(result.folder / "weights.safetensors")[0]
    assert all(torch.equal(plain[name], judged[name]) for name in plain)


def test_a_judge_without_an_answer_does_not_end_the_run(tmp_path):
    with pytest.warns(UserWarning, match="the judge gives no number for auc"):
        result = train("embedder", tmp_path / "run", judge=lambda module: {"auc": math.nan})
    assert result.steps == 10 and math.isnan(result.metrics[-1]["auc"])


def test_rates_fall_at_60_75_and_90_percent():
    config = dataclasses.replace(TINY.embedder, steps=100)
    rates = [training.decayed_learning_rate(step, config) for step in (0, 59, 60, 74, 75, 89, 90, 99)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6])


def test_color_jitter_changes_what_the_embedder_sees_and_nothing_else(tmp_path, finished):
    shaken = TINY.override("embedder", {"color_jitter": 0.4, "gray_share": 0.2, "steps": 4})
    plain = TINY.override("embedder", {"steps": 4})
    first, again, still = (
        training.train_embedder(p, tmp_path / n, FakeFaces(), progress=False).metrics[0]["loss"]
        for p, n in ((shaken, "a"), (shaken, "b"), (plain, "c"))
    )
    assert first == again != still


def test_arcfaces_logits_are_in_full_precision_under_autocast():
    torch.manual_seed(0)
    head, identity = ArcFaceHead(64, 50), torch.arange(50)
    z = torch.nn.functional.normalize(head.weight.detach() + 0.1 * torch.randn(50, 64), dim=1)
    expected = head(z, identity)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(head(z, identity), expected)
