"""CPU seconds of a TrueSwap image by stage, by size and by light paths, and the noise that the paths leave.

python tests/benchmarks/bench_render.py [--people 4] [--images 6]
"""

import argparse
import io
import time
from collections import defaultdict
from contextlib import contextmanager

import mitsuba
import numpy as np
from PIL import Image

from smoothswap_lib import world
from smoothswap_lib.render import build, scene

SIZE = 128  # pixels of what ships
CASES = ((64, 16), (128, 1), (128, 8), (128, 16), (128, 32), (256, 16))  # (pixels, light paths)
STAGES = {  # name: the function of smoothswap_lib.render.scene that does it; a stage holds all that it calls
    "textures": "paint",
    "hair": "hair_mesh",
    "beard": "beard_mesh",
    "handing meshes over": "_shape",
    "picture": "_develop",
    "mask": "_mask",
}


def draw(people, images):
    """An identity's images one after the other, as a build renders them."""
    rng = np.random.default_rng(0)
    for _ in range(people):
        identity = world.sample_identity(rng)
        for _ in range(images):
            yield identity, world.sample_state(rng), world.sample_attributes(rng)


@contextmanager
def timed(seconds):
    """Add up the CPU seconds of every stage while the block runs."""
    originals = {name: getattr(scene, name) for name in STAGES.values()}

    def watch(stage, function):
        def watched(*arguments, **options):
            start = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                seconds[stage] += time.process_time() - start

        return watched

    for stage, name in STAGES.items():
        setattr(scene, name, watch(stage, originals[name]))
    try:
        yield
    finally:
        for name, function in originals.items():
            setattr(scene, name, function)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=4, help="identities (default %(default)s)")
    parser.add_argument("--images", type=int, default=6, help="pictures of each (default %(default)s)")
    options = parser.parse_args()
    pictures = list(draw(options.people, options.images))
    scene.use_one_thread()
    start = time.process_time()
    scene.render_with_truth(*pictures[-1], 64, 1)
    print(f"first picture of a process (imports, head model): {time.process_time() - start:.1f} CPU s")

    seconds = defaultdict(float)
    start = time.process_time()
    with timed(seconds):
        images = [scene.render_with_truth(*picture, SIZE, build.SAMPLES).image for picture in pictures]
    whole = time.process_time() - start
    start = time.process_time()
    for image in images:
        Image.fromarray(image).save(io.BytesIO(), **build.ENCODING)
    seconds["encoding"] = time.process_time() - start
    seconds["the rest (deformation, scene)"] = whole - sum(seconds[stage] for stage in STAGES)
    print(f"\n{SIZE} px, {build.SAMPLES} paths: {1000 * whole / len(pictures):.0f} CPU ms an image, of which")
    for stage, total in sorted(seconds.items(), key=lambda item: -item[1]):
        print(f"{stage:>30} {1000 * total / len(pictures):>6.1f}")

    print(f"\n{'size':>5} {'paths':>6} {'CPU s an image':>15} {'noise, gray levels RMS':>23}")
    for size, samples in CASES:
        some = pictures[:: options.images]
        start = time.process_time()
        first = [scene.render(*picture, size, samples, seed=1) for picture in some]
        spent = (time.process_time() - start) / len(some)
        second = [scene.render(*picture, size, samples, seed=2) for picture in some]
        noise = [np.sqrt(((a.astype(float) - b) ** 2).mean()) for a, b in zip(first, second)]
        print(f"{size:>5} {samples:>6} {spent:>15.2f} {np.mean(noise):>23.2f}", flush=True)
    print(f"Mitsuba {mitsuba.__version__}, {mitsuba.variant()}")


if __name__ == "__main__":
    main()
