"""The exported graphs compute what PyTorch does, of any trunk; what half precision cannot hold stays."""

import export_onnx
import numpy as np
import pytest
import torch
from torch import nn

from smoothswap_lib.checkpoints import half_precision
from smoothswap_lib.embedder import Embedder
from smoothswap_lib.generator import Generator

pytest.importorskip("onnxscript", reason="needs the extra web")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra web")


def spread(network: nn.Module) -> nn.Module:
    """In eval mode, with weights as shipped (held exactly by half precision) and none of them near zero."""
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.05 * torch.rand_like(tensor))
    network.load_state_dict(half_precision(network.state_dict()))
    return network.eval()


def small_generator():
    return Generator(16, 8, (1, 2), blocks_per_level=1, attention_resolutions=(8,), identity_dim=8)


@pytest.mark.parametrize("make", (small_generator, lambda: Embedder("plain", dim=8)))
def test_a_graph_agrees_with_pytorch_in_half_the_bytes(make, fixed_seed):
    network = spread(make())
    inputs = {"image": torch.rand(1, 3, 64, 64) * 2 - 1}
    if isinstance(network, Generator):
        vector = nn.functional.normalize(torch.rand(1, 8))
        inputs = {"target": inputs["image"][..., :16, :16], "vector": vector}
    model = export_onnx.graph_of(network, inputs, "out")
    whole = model.ByteSize()
    export_onnx.halve(model)
    weights = sum(tensor.numel() for tensor in network.state_dict().values() if tensor.ndim > 1)
    assert whole - model.ByteSize() > 1.5 * weights
    assert b"/experiments/" not in model.SerializeToString(), "a graph names no path of the machine"
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {name: x.numpy() for name, x in inputs.items()})
    with torch.no_grad():
        wanted = network(*inputs.values()).numpy()
    assert np.abs(got - wanted).max() < export_onnx.TOLERANCE


def test_a_weight_that_half_precision_rounds_stays_as_it_is():
    layer = nn.Linear(32, 32)  # its first weights have more digits
    model = export_onnx.graph_of(layer, {"x": torch.zeros(1, 32)}, "y")
    before = model.ByteSize()
    export_onnx.halve(model)
    assert model.ByteSize() == before


def test_what_is_too_far_off_or_too_large_is_refused():
    fine = {"largest_difference": {"swap": 1e-6}, "bytes": {"generator": 1_000_000}}
    export_onnx.check(fine)
    for worst in (1e-3, float("nan")):
        with pytest.raises(ValueError, match="swap differs"):
            export_onnx.check(fine | {"largest_difference": {"swap": worst}})
    with pytest.raises(ValueError, match="bytes"):
        export_onnx.check(fine | {"bytes": {"generator": export_onnx.MOST_BYTES + 1}})
