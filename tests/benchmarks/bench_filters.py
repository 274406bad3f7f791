"""The FIR filters in bfloat16 on a CPU: as PyTorch computes them, and in float32, as `layers._fir` does.

    python tests/benchmarks/bench_filters.py [--threads 2] [--repeats 5] [--out FILE]

Milliseconds of forward and backward of one filter at the sizes of the laptop profile's generator, and of the
whole generator compiled, under autocast; both ways in one run.
"""

import json
from unittest import mock

import torch
import torch.nn.functional as F
from measuring import best, parser_of

from smoothswap_lib import layers, profiles, training


def in_half_precision(x, gain, transposed=False, **how):
    """The filter in the precision of x."""
    taps = torch.tensor(layers.FIR_TAPS, dtype=x.dtype)
    kernel = torch.outer(taps, taps)
    kernel = (kernel * (gain / kernel.sum())).expand(x.shape[1], 1, 4, 4)
    return (F.conv_transpose2d if transposed else F.conv2d)(x, kernel, groups=x.shape[1], **how)


def milliseconds(network, inputs, repeats):
    """Forward and backward under autocast."""

    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            network(*inputs).square().mean().backward()

    return round(1000 * best(step, repeats), 1)


def main():
    options = parser_of(__doc__).parse_args()
    torch.set_num_threads(options.threads)
    profile = profiles.get("laptop")
    image = torch.rand(profile.swapper.batch_size, 3, profile.size, profile.size) * 2 - 1
    z = F.normalize(torch.randn(len(image), profile.embedder.dim), dim=1)
    rows = {}
    for way, fir in {"bfloat16": in_half_precision, "float32": layers._fir}.items():
        rows[way] = {}
        with mock.patch.object(layers, "_fir", fir):
            for channels, size in ((16, 64), (32, 32), (64, 16)):
                x = torch.randn(len(image), channels, size, size, dtype=torch.bfloat16, requires_grad=True)
                x = x.contiguous(memory_format=torch.channels_last)
                for name, filtered in {"down": layers.fir_downsample, "up": layers.fir_upsample}.items():
                    rows[way][f"{name} {channels}x{size}x{size}"] = milliseconds(
                        filtered, (x,), options.repeats
                    )
            torch._dynamo.reset()
            generator = torch.compile(training.build_swapper(profile, z.shape[1])[0])
            rows[way]["generator"] = milliseconds(generator, (image, z), options.repeats)
    for name in rows["float32"]:
        half, full = rows["bfloat16"][name], rows["float32"][name]
        print(f"{name:16s} bfloat16 {half:7.1f} ms  float32 {full:7.1f} ms  ratio {half / full:.1f}")
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
