"""The generator beside its peers, at equal configuration and weights: seconds and peak memory.

    python tests/benchmarks/bench_peers.py [--threads 2] [--size 64] [--widths 16 32] [--batch 8] [--out FILE]

"diffusers" is UNet2DModel with Skip blocks; "literal" is our generator with FIR resampling as score_sde's
definition reads: zeros between the pixels, padding, one convolution a channel, every second pixel. All three
must give one picture before they are timed. Each is measured in a process of its own. The share is of the
floating-point operations a second of a large matrix product with the same threads.
"""

import json
import multiprocessing
import sys
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from measuring import best, megabytes, parser_of
from torch import nn

from experiments import costs
from smoothswap_lib import generator, layers

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))
import ncsnpp

MULTIPLIERS, BLOCKS, ATTENTION, DIM = (1, 2, 2, 2), 1, (16,), 128
KINDS = ("ours", "diffusers", "literal")


def upfirdn(x, up, down, before, after, gain):
    """Zeros between the pixels, padding, low-pass filter, every `down`-th pixel, channel by channel."""
    batch, channels, height, width = x.shape
    x = x.reshape(batch * channels, 1, height, width)
    spread = x.new_zeros(batch * channels, 1, height, up, width, up)
    spread[:, :, :, 0, :, 0] = x
    x = F.pad(spread.reshape(batch * channels, 1, height * up, width * up), (before, after, before, after))
    taps = torch.tensor(layers.FIR_TAPS, dtype=x.dtype)
    kernel = torch.outer(taps, taps)
    x = F.conv2d(x, (kernel * gain / kernel.sum()).flip(0, 1)[None, None])[..., ::down, ::down]
    return x.reshape(batch, channels, *x.shape[2:])


literal_down = partial(upfirdn, up=1, down=2, before=1, after=1, gain=1)
literal_up = partial(upfirdn, up=2, down=1, before=2, after=1, gain=4)


def make_literal(network):
    """Give a generator the literal resampling, in this process."""
    generator.fir_downsample, generator.fir_upsample = literal_down, literal_up
    literal = {layers.fir_downsample: literal_down, layers.fir_upsample: literal_up}
    for block in network.modules():
        if isinstance(block, layers.ResidualBlock):
            block.resample = literal.get(block.resample, block.resample)


def build(kind, size, width):
    """A network of that kind as a function of (x, z), and its parameters; all kinds hold equal weights."""
    torch.manual_seed(0)
    ours = generator.Generator(size, width, MULTIPLIERS, BLOCKS, ATTENTION, DIM)
    theirs = ncsnpp.diffusers_unet(size, width, MULTIPLIERS, BLOCKS, ATTENTION)
    ncsnpp.same_groups(ours, theirs)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.1)
    ncsnpp.from_diffusers(ours, theirs)
    if kind == "literal":
        make_literal(ours)
    if kind == "diffusers":
        return lambda x, z: x + theirs(x, torch.ones(len(x))).sample, list(theirs.parameters())
    return ours, list(ours.parameters())


def measure(task):
    """Seconds of forward, of forward and backward, added memory in MB, and the picture, of one kind."""
    kind, size, width, batch, threads, repeats = task
    torch.set_num_threads(threads)
    network, parameters = build(kind, size, width)
    draw = torch.Generator().manual_seed(1)
    x = torch.rand(batch, 3, size, size, generator=draw) * 2 - 1
    z = F.normalize(torch.randn(batch, DIM, generator=draw), dim=1)

    def forward():
        with torch.no_grad():
            return network(x, z)

    def both():
        for parameter in parameters:
            parameter.grad = None
        network(x, z).square().sum().backward()

    before = megabytes()
    both()  # first of all: memory that was freed would not count when it is used again
    memory = megabytes() - before
    picture = forward()[0].numpy()
    return best(forward, repeats), best(both, repeats), memory, picture


def gemm_rate(threads, repeats):
    """Floating-point operations a second of a product of two 2048 x 2048 matrices."""
    torch.set_num_threads(threads)
    a, b = torch.randn(2, 2048, 2048)
    return 2 * 2048**3 / best(lambda: a @ b, repeats)


def operations(size, width, batch):
    """Floating-point operations of our forward and backward pass."""
    counter = costs.Counter()
    with torch.device("meta"), counter:
        ours = generator.Generator(size, width, MULTIPLIERS, BLOCKS, ATTENTION, DIM)
        ours(torch.empty(batch, 3, size, size), torch.empty(batch, DIM)).sum().backward()
    return counter.flops


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--size", type=int, default=64, help="pixels a side (default %(default)s)")
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    rate = gemm_rate(options.threads, options.repeats)
    print(f"matrix product: {rate / 1e9:.1f} GFLOP/s with {options.threads} thread(s)")
    print("width    network  forward, s  + backward, s      MB  of theirs")
    rows, shares = [], {}
    for width in options.widths:
        results = {}
        for kind in KINDS:
            task = (kind, options.size, width, options.batch, options.threads, options.repeats)
            with context.Pool(1) as pool:
                results[kind] = pool.apply(measure, (task,))
            torch.testing.assert_close(results[kind][3], results["ours"][3], rtol=1e-4, atol=1e-4)
        ours = results["ours"][1]
        for kind, (forward, both, memory, _) in results.items():
            print(f"{width:>5} {kind:>10} {forward:>11.3f} {both:>14.3f} {memory:>7.0f} {ours / both:>10.2f}")
            names = ("width", "network", "forward", "forward_backward", "megabytes")
            rows.append(dict(zip(names, (width, kind, forward, both, memory))))
        shares[width] = share = operations(options.size, width, options.batch) / ours / rate
        print(f"{width:>5} ours: {share:.2f} of the matrix product's rate", flush=True)
    if options.out:
        result = {"threads": options.threads, "size": options.size, "batch": options.batch}
        result |= {"matrix_product_flops": rate, "share_of_matrix_product": shares, "networks": rows}
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
