"""Costs: networks of known size, a real step beside the counted one, the paper's profile at 256 px."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_runs import ROOT, TINY
from torch import nn

from experiments import costs
from smoothswap_lib import profiles

pytestmark = pytest.mark.usefixtures("small_networks")


def test_a_table_of_two_layers_has_the_numbers_of_a_hand_calculation():
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1, bias=False))
        x = torch.empty(2, 3, 10, 10)
    rows = costs.module_table(network, x)
    assert [row["module"] for row in rows] == ["0", "1", "2", "total"]
    assert [row["parameters"] for row in rows] == [224, 0, 32, 256]
    assert [round(row["GMAC"] * 1e9) for row in rows] == [43_200, 0, 6_400, 49_600]  # 200 x (27 x 8 + 32)
    assert [row["weights MB"] * 2**20 for row in rows] == [896, 0, 128, 1024]
    assert [row["activations MB"] * 2**20 for row in rows] == [6400, 6400, 3200, 16000]


def test_the_papers_networks_have_the_known_sizes():
    """Parameters and multiply-adds of score_sde's, diffusers' and StyleGAN2's networks of these numbers."""
    rows = {(r["network"], r["module"]): r for r in costs.networks_table(profiles.get("paper"))}
    generator, discriminator = rows["generator", "total"], rows["discriminator", "total"]
    assert generator["parameters"] == 17_725_717
    assert generator["GMAC"] == pytest.approx(67.06, rel=0.01)
    assert discriminator["parameters"] == 28_864_129
    assert discriminator["GMAC"] == pytest.approx(47.0, rel=0.01)
    parts = [row for (name, module), row in rows.items() if name == "embedder" and module != "total"]
    assert sum(row["parameters"] for row in parts) == rows["embedder", "total"]["parameters"]


def test_operations_of_a_step_follow_from_those_of_the_networks():
    """A backward pass costs twice the forward one, or once where no weight wants a gradient."""
    profile = profiles.get("laptop")
    forward = {r["network"]: 2e9 * r["GMAC"] for r in costs.networks_table(profile) if r["module"] == "total"}
    generator = 3 * forward["generator"]
    discriminator = (2 + 2 * 3) * forward["discriminator"]  # frozen once, then photographs and swaps
    embedder = (1 + 2) * forward["embedder"]  # the source without a gradient, the swap through a frozen one
    counted = costs.swapper_work(profile, 4, with_r1=False)
    assert counted.flops == pytest.approx(4 * (generator + discriminator + embedder), rel=0.02)
    rows = [r for r in costs.networks_table(profile) if r["module"] == "total" and r["network"] != "embedder"]
    assert counted.gradients == 4 * sum(row["parameters"] for row in rows)


def test_peak_knows_what_gradient_checkpointing_saves():
    plain, lean = (
        costs.swapper_work(dataclasses.replace(TINY, gradient_checkpointing=on), 8, with_r1=False)
        for on in (False, True)
    )
    assert lean.peak < 0.8 * plain.peak and lean.flops > 1.1 * plain.flops


def test_peak_of_a_known_sequence_of_tensors():
    with costs.Counter() as counter, torch.device("meta"):
        first = torch.zeros(1000)  # 4,000 bytes
        second = first + 1
        del first
        third = second.view(10, 100) * 2  # a view takes nothing
        del second
        fourth = third + 1
    assert counter.peak == counter.live == 8000 and third.shape == fourth.shape


@pytest.mark.parametrize(("name", "most"), [("gpu64", 70), ("gpu128", 300)])
def test_a_gpus_profiles_take_an_hour_and_an_afternoon_on_a_t4(name, most):
    minutes = costs.predicted_minutes(profiles.get(name), ["T4"])["T4"]
    assert most / 2 < sum(minutes.values()) < most


def test_seconds_add_up_and_r1_counts_by_its_share(monkeypatch):
    work = costs.Work(flops=6e9, traffic=4e9, peak=0, gradients=100_000_000)
    machine = costs.Machine("m", flops=2e9, bandwidth=1e9, link=1e8)
    assert costs.predicted_seconds(work, machine) == pytest.approx(3 + 4)
    assert costs.predicted_seconds(work, machine, processes=4) == pytest.approx(3 + 4 + 1.5)
    made = [costs.Work(work.flops, work.traffic, 5, 7), costs.Work(4 * work.flops, work.traffic, 6, 7)]
    monkeypatch.setattr(costs, "swapper_work", lambda profile, batch, with_r1: made[with_r1])
    mean = costs.mean_swapper_work(TINY, 2)
    assert mean.flops == pytest.approx(2 / 3 * 6e9 + 1 / 3 * 24e9)  # R1 in every third step
    assert (mean.traffic, mean.peak, mean.gradients) == (pytest.approx(4e9), 6, 7)


# Two previews, not eight, which would cost a quarter of the step. VmHWM is the most memory so far.
PAPER_STEP = """
import json, sys, tempfile
from pathlib import Path
import numpy as np, torch
torch.set_num_threads(2)
from smoothswap_lib import profiles, training
from smoothswap_lib.embedder import Embedder
section = sys.argv[1]
class Faces:
    size, identities = 256, np.repeat(np.arange(8), 4)
    def __len__(self):
        return 32
    def image_batch(self, indices):
        draw = torch.Generator().manual_seed(int(indices[0]))
        return torch.rand(len(indices), 3, 256, 256, generator=draw) * 2 - 1
training.swapper.NUM_PREVIEWS = 2
small = {"embedder": {"identities_per_batch": 2}, "swapper": {"batch_size": 2}}[section]
profile = profiles.get("paper").override("profile", {"log_every": 1}).override(section, {"steps": 1, **small})
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
before = peak()
with tempfile.TemporaryDirectory() as out:
    extra = {"embedder": []}.get(section, [Embedder()])
    result = getattr(training, f"train_{section}")(profile, out, Faces(), *extra, progress=False)
print(json.dumps({"row": result.metrics[-1], "megabytes": peak() - before}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's account of its memory")
@pytest.mark.parametrize(
    "section, losses", [("embedder", ["loss"]), ("swapper", ["identity", "change", "adversarial", "r1"])]
)
def test_one_step_of_the_papers_profile_at_256_pixels(section, losses):
    """All numbers are the paper's but the batch: 2 x 4 images, not 32 x 4; 2 pairs, not 8; fp32 on a CPU.

    The peak holds the weights' and the state's copies that are written at the end.
    """
    command = [sys.executable, "-c", PAPER_STEP, section]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert all(-1e-6 <= found["row"][name] < 20 for name in losses)
    paper = profiles.get("paper")
    work = costs.swapper_work(paper, 2, True) if section == "swapper" else costs.embedder_work(paper, 8)
    assert 0.7 * work.peak / 2**20 < found["megabytes"] < 2.5 * work.peak / 2**20
