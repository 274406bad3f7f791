"""The mark in the pixels and the manifest: what they outlive, what they cost, what they never claim."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn
from scipy.stats import binom

from smoothswap_lib.checkpoints import swap
from smoothswap_lib.datasets import to_uint8
from smoothswap_lib.lab import manifest, marking, watermark

needs_c2pa = pytest.mark.skipif(not manifest.installed(), reason="needs the extra marking")


def to_arrays(images):
    return images.permute(0, 2, 3, 1).contiguous().numpy()


@pytest.fixture(scope="module")
def swaps(test_split):
    """(100, 64, 64, 3) uint8: swaps of the shipped swapper."""
    matrix, draw = test_split.matrix_indices(), np.random.default_rng(0)
    people = np.stack([draw.permutation(len(matrix))[:2] for _ in range(100)])
    columns = draw.integers(matrix.shape[1], size=(100, 2))
    source, target = (test_split.image_batch(matrix[people[:, i], columns[:, i]]) for i in range(2))
    return to_arrays(to_uint8(swap(source, target)))


@pytest.fixture(scope="module")
def marked(swaps):
    return np.stack([watermark.embed(image) for image in swaps])


def through(image, size=None, **options):
    """A picture after resizing and after a file."""
    picture = Image.fromarray(image)
    if size:
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    picture.save(file, **options)
    return np.asarray(Image.open(file).convert("RGB"))


DOORS = [
    {"format": "PNG"},
    {"format": "JPEG", "quality": 90},
    {"format": "JPEG", "quality": 75},
    {"format": "WEBP", "quality": 80},
    {"size": (48, 48), "format": "PNG"},
    {"size": (150, 150), "format": "JPEG", "quality": 75},
    {"size": (90, 70), "format": "PNG"},
]


@pytest.mark.parametrize("door", DOORS, ids=str)
def test_the_mark_outlives_files_and_resizing_and_is_found_nowhere_else(swaps, marked, door):
    """All of 100 swaps at 64 px; JPEG with Pillow's usual 4:2:0."""
    assert all(watermark.is_marked(through(image, **door)) for image in marked)
    assert not any(watermark.is_marked(through(image, **door)) for image in swaps[:20])


def test_renders_and_swaps_are_not_marked(test_split, swaps):
    images = [*to_arrays(test_split.images), *swaps]
    bits = np.array([watermark.right_bits(image) for image in images])
    assert (bits < watermark.LEAST_BITS).all()
    assert abs(bits.mean() - 16) < 1 and bits.std() < 3.3  # 32 fair coins: 16 and 2.83
    chance = binom.sf(watermark.LEAST_BITS - 1, 32, 0.5)
    assert watermark.chance_of() == pytest.approx(chance) and chance < 2e-7


def test_the_mark_costs_little(swaps, marked):
    error = (swaps.astype(float) - marked).reshape(len(swaps), -1)
    psnr = 10 * np.log10(255**2 / (error**2).mean(axis=1))
    assert psnr.mean() > 38.5 and psnr.min() > 34 and np.abs(error).max() < 32
    assert (watermark.embed(marked[0]) == marked[0]).all()


def test_every_bits_sum_reaches_its_margin(swaps, marked):
    """Against DCT coefficients computed here, one by one."""
    places, weights = watermark.pattern()
    assert len(np.unique(places)) == places.size
    y, x = np.divmod(places, 64)
    assert ((np.hypot(x, y) >= 10) & (np.hypot(x, y) < 32)).all()
    spectrum = dctn(marked[3] @ [0.299, 0.587, 0.114], norm="ortho")
    word = [int(bit) for byte in b"SWAP" for bit in f"{byte:08b}"]
    for bit, place, weight in zip(word, places, weights):
        total = sum(w * spectrum[p // 64, p % 64] for w, p in zip(weight, place))
        assert (2 * bit - 1) * total > watermark.MARGIN - 1
    assert watermark.right_bits(swaps[3]) < watermark.LEAST_BITS


def test_a_large_photograph_is_marked_like_a_small_one(monkeypatch):
    """On a copy, strip by strip: 12 megapixels here, in the same time and memory for each of 90."""
    y, x = np.mgrid[:3000, :4000].astype(np.float32)
    picture = np.stack([x / 16, y / 12, 255 - x / 16], axis=-1).astype(np.uint8)
    marked = watermark.embed(picture)
    assert watermark.is_marked(marked) and not watermark.is_marked(picture)
    assert watermark.is_marked(through(marked, size=(250, 190), format="JPEG", quality=75))
    assert np.abs(marked.astype(int) - picture).mean() < 5
    monkeypatch.setattr(watermark, "LARGE", 10**9)
    assert np.abs(watermark.embed(picture).astype(int) - marked).mean() < 1


def test_what_cannot_be_marked_is_said(tmp_path):
    for picture, words in ((np.zeros((100, 63, 3), np.uint8), "63 x 100"), (np.zeros((64, 64, 3)), "uint8")):
        with pytest.raises(ValueError, match=words):
            watermark.embed(picture)
    white = np.full((64, 64, 3), 255, np.uint8)  # can only grow darker, and still carries the word
    assert watermark.is_marked(watermark.embed(white))


@pytest.mark.parametrize("ending", marking.FORMATS)
def test_a_saved_swap_is_marked(swaps, tmp_path, ending):
    path = marking.save_swap(swaps[0], tmp_path / "new" / f"swap{ending}")
    assert str(marking.verify(path)).startswith("marked as synthetic (32 of 32 bits)")
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_without_the_extra_the_pixels_are_marked_all_the_same(swaps, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "installed", lambda: False)
    path = marking.save_swap(swaps[0], tmp_path / "swap.png")
    assert (np.asarray(Image.open(path)) == watermark.embed(swaps[0])).all()
    verdict = marking.verify(path)
    assert verdict.marked and manifest.INSTALL in str(verdict)


def test_nothing_is_written_when_something_fails(swaps, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="swap.gif: .*.png, .jpg, .jpeg, .webp"):
        marking.save_swap(swaps[0], tmp_path / "swap.gif")
    monkeypatch.setattr(watermark, "embed", lambda image: image)  # a mark that does not hold
    with pytest.raises(ValueError, match="the mark did not outlive the compression"):
        marking.save_swap(swaps[0], tmp_path / "swap.jpg")
    assert list(tmp_path.iterdir()) == []


@needs_c2pa
@pytest.mark.parametrize("ending", marking.FORMATS)
def test_the_manifest_says_what_it_is_and_stays_small(swaps, tmp_path, ending):
    path = marking.save_swap(swaps[0], tmp_path / f"swap{ending}")
    found = marking.verify(path).manifest
    assert found.intact and found.problems == (manifest.UNTRUSTED,)
    assert found.title == manifest.TITLE and found.source_type == "compositeWithTrainedAlgorithmicMedia"
    content = io.BytesIO()
    Image.open(path).save(content, **marking.FORMATS[ending])
    assert path.stat().st_size < len(content.getvalue()) + 6000


@needs_c2pa
def test_a_changed_file_is_seen_and_a_file_saved_again_keeps_the_mark_only(swaps, tmp_path):
    path = marking.save_swap(swaps[0], tmp_path / "swap.png")
    bent = bytearray(path.read_bytes())
    bent[bent.rindex(b"IEND") + 5] ^= 1  # its checksum, which Pillow does not read
    (tmp_path / "bent.png").write_bytes(bent)
    assert not marking.verify(tmp_path / "bent.png").manifest.intact
    with Image.open(path) as image:
        image.save(tmp_path / "again.jpg", quality=90)
    verdict = marking.verify(tmp_path / "again.jpg")
    assert verdict.marked and verdict.manifest is None
    other = path.rename(tmp_path / "swap.jpg")  # a wrong ending: the bytes count
    assert marking.verify(other).manifest.intact
