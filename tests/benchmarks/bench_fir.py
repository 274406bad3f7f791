"""Seconds of the FIR resampling, forward and backward, as a grouped convolution and as 16 shifted sums.

    python tests/benchmarks/bench_fir.py [--threads 1]

The second way is what one writes without a convolution; both give the same numbers, which is checked first.
"""

import argparse
import time

import torch
import torch.nn.functional as F

from smoothswap_lib.layers import fir_downsample

TAPS = (1, 3, 3, 1)
SHAPES = ((8, 16, 64, 64), (8, 32, 64, 64), (8, 32, 32, 32))
REPEATS = 10


def shifted_sums(x):
    """`fir_downsample` written as a weighted sum of shifted copies."""
    x = F.pad(x, (1, 1, 1, 1))
    height, width = x.shape[-2] - 3, x.shape[-1] - 3
    total = 0
    for i, a in enumerate(TAPS):
        for j, b in enumerate(TAPS):
            total = total + a * b / 64 * x[..., i : i + height, j : j + width]
    return total[..., ::2, ::2]


def seconds(function, x):
    """The best of some runs of forward and backward."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        function(x).square().sum().backward()
        best = min(best, time.perf_counter() - start)
    return best


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1, help="of torch (default %(default)s)")
    torch.set_num_threads(parser.parse_args().threads)
    print(f"{'shape':>18} {'library, ms':>12} {'shifted sums, ms':>17}")
    for shape in SHAPES:
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
        torch.testing.assert_close(fir_downsample(x), shifted_sums(x), rtol=1e-4, atol=1e-5)
        ours, slow = (1000 * seconds(function, x) for function in (fir_downsample, shifted_sums))
        print(f"{' x '.join(map(str, shape)):>18} {ours:>12.1f} {slow:>17.1f}", flush=True)


if __name__ == "__main__":
    main()
