"""Write the shipped embedder and generator as ONNX, for runtimes without PyTorch such as a browser.

    pip install -e ".[web]"
    python experiments/export_onnx.py --out build/onnx

PyTorch's exporter writes the graphs; a weight that half precision holds exactly is stored in it and cast when
the file is loaded. Both files are then run beside PyTorch on pairs of test faces. OUT gets embedder.onnx,
generator.onnx and onnx.json, which says what was measured. Nothing is written if a check fails.
"""

import argparse
import contextlib
import json
import logging
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from command import exit_code, parser_of
from torch import nn

from smoothswap_lib import load_embedder, load_generator
from smoothswap_lib.checkpoints import read_metadata, weights_path
from smoothswap_lib.datasets import TrueSwap
from smoothswap_lib.files import atomic

PAIRS = 64  # of test faces, on which the files must agree with PyTorch
TOLERANCE = 1e-4  # largest difference of a vector's entry, or of a value of an image in [-1, 1]
MOST_BYTES = 6_500_000  # of both files, which a browser loads: the shipped pair has 6.2 million
LEAST_ENTRIES = 64  # a smaller weight stays in single precision: its cast would cost more bytes than it saves
OPSET = 18


def graph_of(network: nn.Module, inputs: dict[str, torch.Tensor], output: str):
    """The network as an `onnx.ModelProto` for inputs of exactly these shapes, weights in single precision.

    The exporter's own optimizer merges batch norm into kernels, which half precision then no longer holds
    exactly. So it stays off where there is batch norm; a runtime merges them when it loads the file.
    """
    merges = any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells that torchvision is not there
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network, tuple(inputs.values()), input_names=list(inputs), output_names=[output],
            opset_version=OPSET, dynamo=True, optimize=not merges, verbose=False,
        )  # fmt: skip
    model = program.model_proto
    for node in model.graph.node:  # where in the source a node comes from: paths of this machine
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    return model


def halve(model) -> None:
    """Store in half precision, in place, every weight of `model` that it holds exactly."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT:
            continue
        exact = numpy_helper.to_array(weight)
        half = exact.astype(np.float16)
        if half.size < LEAST_ENTRIES or not np.array_equal(half.astype(np.float32), exact):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def draw_pairs(count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sources and targets of the test split, drawn with seed 0: (count, 3, size, size) in [-1, 1]."""
    test = TrueSwap("test", size=size)
    matrix = test.matrix_indices()
    rng = np.random.default_rng(0)
    people, columns = matrix.shape
    source = rng.integers(people, size=count)
    target = (source + rng.integers(1, people, size=count)) % people
    rows = [matrix[who, rng.integers(columns, size=count)] for who in (source, target)]
    return test.image_batch(rows[0]), test.image_batch(rows[1])


@torch.inference_mode()
def differences(embedder: nn.Module, generator: nn.Module, content: dict[str, bytes], pairs: int) -> dict:
    """The largest absolute difference from PyTorch over test pairs, of vectors and of swaps."""
    import onnxruntime

    x_source, x_target = draw_pairs(pairs, generator.size)
    run = {
        name: onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        for name, data in content.items()
    }
    worst = {"vector": 0.0, "swap": 0.0}
    for source, target in zip(x_source.split(1), x_target.split(1)):
        z_source = embedder(source)  # (1, dim)
        x_swap = generator(target, z_source)  # (1, 3, size, size)
        (z,) = run["embedder"].run(None, {"image": source.numpy()})
        (x,) = run["generator"].run(None, {"target": target.numpy(), "vector": z})
        worst["vector"] = max(worst["vector"], float(np.abs(z - z_source.numpy()).max()))
        worst["swap"] = max(worst["swap"], float(np.abs(x - x_swap.numpy()).max()))
    return worst


def export(out: Path, weights: str = "swapper", pairs: int = PAIRS) -> dict:
    """Write both networks into the folder `out` and return what was measured; ValueError if a check fails."""
    told = read_metadata(weights_path(weights))
    generator, embedder = load_generator(weights), load_embedder(told["embedder"])
    image, vector = torch.zeros(1, 3, generator.size, generator.size), torch.zeros(1, generator.identity_dim)
    models = {
        "embedder": graph_of(embedder, {"image": image}, "vector"),
        "generator": graph_of(generator, {"target": image, "vector": vector}, "swap"),
    }
    for model in models.values():
        halve(model)
    content = {name: model.SerializeToString() for name, model in models.items()}
    report = {
        "weights": {"generator": told["tensor_hash"], "embedder": told["embedder_hash"]},
        "bytes": {name: len(data) for name, data in content.items()},
        "pairs": pairs,
        "largest_difference": differences(embedder, generator, content, pairs),
        "size": generator.size,
        "identity_dim": generator.identity_dim,
    }
    check(report)
    out.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        with atomic(out / f"{name}.onnx") as temporary:
            temporary.write_bytes(data)
    with atomic(out / "onnx.json") as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def check(report: dict) -> None:
    """ValueError where the files are too large or not near enough to PyTorch."""
    for name, worst in report["largest_difference"].items():
        if not worst <= TOLERANCE:
            raise ValueError(f"the {name} differs from PyTorch's by {worst:.1e}, allowed are {TOLERANCE:g}")
    total = sum(report["bytes"].values())
    if total > MOST_BYTES:
        raise ValueError(
            f"the two files have {total:,} bytes, allowed are {MOST_BYTES:,}: ship the weights in half "
            "precision, or a smaller pair"
        )


def work(options: argparse.Namespace) -> None:
    report = export(options.out, options.weights, options.pairs)
    total, worst = sum(report["bytes"].values()), report["largest_difference"]
    print(f"{options.out}: {total:,} bytes; at most {worst['vector']:.1e} (vectors) and {worst['swap']:.1e}")
    print(f"(swaps) from PyTorch over {report['pairs']} pairs of test faces")


def main(arguments=None) -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--weights", default="swapper", help="a generator: shipped name, run or file")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of test faces to compare on")
    return exit_code(work, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
