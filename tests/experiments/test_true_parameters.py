"""The numbers that an oracle is told: the source's person, and nothing of the picture's."""

import pytest
import torch
from true_parameters import parameter_table, parameter_vectors

from smoothswap_lib.datasets import TrueSwap


@pytest.fixture(scope="module")
def test_split():
    return TrueSwap("test")


def test_a_row_of_the_matrix_is_one_vector(test_split):
    """The matrix holds each person in one state under many attributes, and a vector knows no attribute."""
    z = parameter_vectors(test_split, TrueSwap("train"))[test_split.matrix_indices()]
    assert torch.equal(z, z[:, :1].expand_as(z))
    assert torch.allclose(z.norm(dim=2), torch.ones(z.shape[:2]))
    cosines = z[:, 0] @ z[:, 0].T - 2 * torch.eye(len(z))
    assert cosines.max() < 0.9  # no two people are told as one


def test_splits_have_the_same_columns(test_split):
    assert parameter_table(test_split).shape[1] == parameter_table(TrueSwap("train")).shape[1]
