"""The last stretch with a discriminator that is told whose face it should see."""

import average_weights
import numpy as np
import pytest
import torch
import train_told
from tiny_runs import TINY, fixed_embedder

from smoothswap_lib import checkpoints, training
from smoothswap_lib.datasets import TrueSwap
from smoothswap_lib.discriminator import StridedDiscriminator

PROFILE = TINY.override("swapper", {"discriminator": "strided", "steps": 2})


@pytest.fixture(scope="module")
def begun(tmp_path_factory, tiny, small_networks):
    folder = tmp_path_factory.mktemp("begun")
    training.train_swapper(PROFILE, folder, TrueSwap(tiny), fixed_embedder(), progress=False)
    return folder


def further(begun, out, tiny, steps):
    profile = PROFILE.override("swapper", {"steps": steps})
    return train_told.train_told(profile, begun, out, TrueSwap(tiny), fixed_embedder(), seed=0)


def weights(folder):
    return torch.cat(
        [tensor.flatten() for tensor in checkpoints.load_generator(folder).state_dict().values()]
    )


def test_generator_and_average_wait_for_the_discriminator_and_then_move(begun, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(train_told, "WARM", 2)
    further(begun, tmp_path / "out", tiny, 2)
    assert torch.equal(weights(tmp_path / "out"), weights(begun))
    further(begun, tmp_path / "out", tiny, 4)  # goes on where it stood
    further(begun, tmp_path / "whole", tiny, 4)
    assert not torch.equal(weights(tmp_path / "out"), weights(begun))
    assert torch.equal(weights(tmp_path / "out"), weights(tmp_path / "whole"))


def test_the_rates_fall_to_zero_over_the_last_steps(begun, tiny, tmp_path):
    profile = PROFILE.override("swapper", {"steps": 4})
    run = train_told.train_told(
        profile, begun, tmp_path / "out", TrueSwap(tiny), fixed_embedder(), seed=0, anneal=3
    )
    shares = [row["learning_rate"] / profile.swapper.generator_learning_rate for row in run.rows]
    assert shares == pytest.approx([1, 1 / 3])  # a row every two steps


def test_the_told_discriminator_begins_as_the_untold_one_and_then_asks_the_vector(fixed_seed):
    plain, told = StridedDiscriminator(16, 64, 8), train_told.ToldDiscriminator(16, 64, 8, 4)
    told.load_state_dict(plain.state_dict(), strict=False)
    x, z = torch.randn(3, 3, 16, 16), torch.nn.functional.normalize(torch.randn(3, 4), dim=1)
    torch.testing.assert_close(told(x, z), plain(x))
    torch.nn.init.normal_(told.proj.weight)
    matched = told(x, z) - plain(x)
    torch.testing.assert_close(told(x, -z) - plain(x), -matched)  # the projection is linear in the vector
    assert matched.abs().min() > 1e-4


def test_real_pairs_are_two_pictures_of_one_person():
    identities = np.array([3, 3, 3, 9, 9, 4, 4])
    members = [np.flatnonzero(identities == person) for person in np.unique(identities)]
    one, other = train_told.two_pictures(members, 200, [0, 1])
    assert (one != other).all() and (identities[one] == identities[other]).all()
    assert set(identities[one]) == {3, 4, 9}


def test_what_cannot_be_begun_with_is_said(begun, tmp_path, tiny):
    with pytest.raises(FileNotFoundError, match="--start names the folder of a swapper's run"):
        further(tmp_path, tmp_path / "x", tiny, 2)
    wider = PROFILE.override("swapper", {"discriminator_max": 16})
    with pytest.raises(ValueError, match="discriminator of other sizes than the profile's"):
        train_told.train_told(wider, begun, tmp_path / "y", TrueSwap(tiny), fixed_embedder(), seed=0)


def test_kept_averages_become_the_result_by_their_mean(begun, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_told, "WARM", 0)
    profile = PROFILE.override("swapper", {"steps": 4})
    out, first = tmp_path / "out", PROFILE.override("swapper", {"steps": 2})
    train_told.train_told(first, begun, tmp_path / "two", TrueSwap(tiny), fixed_embedder(), seed=0)
    train_told.train_told(profile, begun, out, TrueSwap(tiny), fixed_embedder(), seed=0, keep=2)
    two, four = weights(tmp_path / "two"), weights(out)
    assert not torch.equal(two, four)
    kept = sorted((out / "averages").iterdir())
    assert [path.name for path in kept] == ["step_000002.safetensors", "step_000004.safetensors"]
    assert average_weights.main(["--weights", *map(str, kept), "--run", str(out)]) == 0
    torch.testing.assert_close(weights(out), (two + four) / 2, rtol=1e-3, atol=1e-6)  # half precision
    other = checkpoints.weights_path("swapper")
    assert average_weights.main(["--weights", str(kept[0]), str(other), "--run", str(out)]) == 2
    assert "not of one training: their arguments differ" in capsys.readouterr().err
