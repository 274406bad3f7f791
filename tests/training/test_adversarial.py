"""Pictures that an embedder is hardened on, and a trunk that keeps places."""

import torch

from smoothswap_lib import profiles
from smoothswap_lib.embedder import Embedder
from smoothswap_lib.training.embedder import adversarial, epsilon_at


def test_an_adversarial_picture_stays_in_its_box_and_raises_the_loss():
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    weight = torch.linspace(-1, 1, 3 * 8 * 8).view(1, 3, 8, 8)

    moved = adversarial(x, lambda image: (image * weight).sum(), 4.0, seed=0, step=0)

    reach = 4 * 2 / 255
    assert (moved - x).abs().max() <= reach + 1e-6 and moved.abs().max() <= 1
    # of a linear loss the worst corner is known; 1.25 of a step reaches it from nearly every start
    corner = (x + reach * weight.sign()).clamp(-1, 1)
    assert (moved - corner).abs().mean() < 0.3 * reach
    torch.testing.assert_close(moved, adversarial(x, lambda v: (v * weight).sum(), 4.0, seed=0, step=0))
    assert not torch.equal(moved, adversarial(x, lambda v: (v * weight).sum(), 4.0, seed=0, step=1))


def test_epsilon_rises_after_the_clean_steps():
    changes = {"steps": 100, "epsilon": 4.0, "clean_share": 0.3}
    config = profiles.get("quick").override("embedder", changes).embedder
    assert [epsilon_at(step, config) for step in (0, 30, 45, 60, 99)] == [0.0, 0.0, 2.0, 4.0, 4.0]


def test_the_plain_trunk_keeps_places():
    network = Embedder("plain", 16).eval()
    for size in (64, 128):
        assert network.pool(network.trunk(torch.zeros(1, 3, size, size))).shape == (1, 192, 4, 4)
