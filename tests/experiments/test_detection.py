"""The detector of notebook 13 and what it is judged with: against hand-made answers and other packages."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score, roc_curve

from experiments import detection
from smoothswap_lib.datasets import to_float
from smoothswap_lib.world import masks


@pytest.fixture(scope="module")
def renders(test_split):
    return test_split.image_batch(np.arange(0, 640, 10))  # (64, 3, 64, 64)


def blurred(x):
    return torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def test_it_learns_to_see_a_blur_on_people_it_never_saw(renders):
    halves = renders.chunk(2)
    detector, losses = detection.train_detector(halves[0], blurred(halves[0]), steps=40, seed=1)
    assert not detector.training and len(losses) == 40 and losses[-1] < 0.3 < losses[0]
    fake, real = detection.scores(detector, blurred(halves[1])), detection.scores(detector, halves[1])
    assert detector(renders[:2, :, :32, :48]).shape == (2,)
    assert fake.shape == (32,) and roc_auc_score(np.repeat([1, 0], 32), np.r_[fake, real]) > 0.95


def test_training_repeats_leaves_torchs_generator_alone_and_reaches_every_weight(renders):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    runs = [detection.train_detector(renders[:16], blurred(renders[:16]), 3, seed=5)[0] for _ in range(2)]
    assert (torch.random.get_rng_state() == before).all()
    for a, b in zip(*(run.parameters() for run in runs)):
        assert torch.equal(a, b)
    for value in runs[0].parameters():
        assert value.grad is not None and value.grad.abs().sum() > 0


def test_people_not_pictures_are_redrawn():
    """A hundred copies of ten people's pictures say no more than ten pictures."""
    draw = np.random.default_rng(1)
    swap, real = draw.normal(1, 1, 10), draw.normal(0, 1, 10)
    few = detection.roc_over_people(swap, real, np.arange(10), np.arange(10))
    often = (np.repeat(values, 100) for values in (swap, real, np.arange(10), np.arange(10)))
    many = detection.roc_over_people(*often)
    assert many.auc_high - many.auc_low == pytest.approx(few.auc_high - few.auc_low, abs=1e-9)


def curve(*arguments, **options):
    return np.interp(detection.FALSE_ALARMS, *roc_curve(*arguments, **options)[:2])


def test_every_draw_is_sklearns_curve_and_area_with_its_weights(monkeypatch):
    """All draws at once, with ties and absent people, against scikit-learn one draw after the other."""
    monkeypatch.setattr(detection, "DRAWS", 25)
    draw = np.random.default_rng(2)
    swap, real = (draw.normal(mean, 1, 60).round(1) for mean in (1, 0))  # rounded: many scores are equal
    people = draw.integers(12, size=(60, 2))
    label, score = np.repeat([1, 0], 60), np.r_[swap, real]
    redraw, curves, areas = np.random.default_rng(4), [], []
    while len(curves) < detection.DRAWS:
        count = np.bincount(redraw.integers(12, size=12), minlength=12)
        weight = np.r_[count[people].prod(axis=1), count[people[:, 0]]]
        if weight[:60].any() and weight[60:].any():
            curves.append(curve(label, score, sample_weight=weight))
            areas.append(roc_auc_score(label, score, sample_weight=weight))
    roc = detection.roc_over_people(swap, real, people, people[:, 0], seed=4)
    wanted = np.quantile(curves, [0.025, 0.975], axis=0)
    np.testing.assert_allclose([roc.low, roc.high], wanted, atol=1e-12)
    np.testing.assert_allclose([roc.auc_low, roc.auc_high], np.quantile(areas, [0.025, 0.975]), atol=1e-12)
    np.testing.assert_allclose(roc.tpr, curve(label, score), atol=1e-12)
    assert roc.auc == pytest.approx(roc_auc_score(label, score))


def test_radial_power_finds_a_wave_and_obeys_parseval():
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    waves = [torch.cos(2 * torch.pi * 12 * x / 64), torch.cos(2 * torch.pi * (6 * x + 8 * y) / 64)]
    power = detection.radial_power(torch.stack(waves)[:, None].repeat(1, 3, 1, 1))
    assert power.shape == (2, 33)
    assert power[0].argmax() == 12 and power[1].argmax() == 10  # (6, 8) is 10 away from 0
    wave = torch.randn(1, 1, 64, 64, dtype=torch.double)
    window = np.hanning(64)[:, None] * np.hanning(64)
    spectrum = np.abs(np.fft.fft2((wave - wave.mean())[0, 0].numpy() * window)) ** 2
    places = [(i, j) for i in range(-32, 32) for j in range(-32, 32) if round(np.hypot(i, j)) == 5]
    assert np.mean([spectrum[i, j] for i, j in places]) == pytest.approx(detection.radial_power(wave)[0, 5])


def test_through_file_is_pillows(renders):
    pixels = ((renders[0] + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).resize((48, 48), Image.Resampling.BICUBIC).save(file, "JPEG", quality=50)
    wanted = to_float(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1))
    found = detection.through_file(renders[:2], size=48, format="JPEG", quality=50)
    assert found.shape == (2, 3, 48, 48) and torch.equal(found[0], wanted)
    assert torch.equal(detection.through_file(renders[:2], format="PNG"), renders[:2])


def test_cut_and_paste_follows_the_landmarks_and_stays_inside_of_the_face(test_split):
    """The source moved by whole pixels comes back to its place; the target keeps hair and background."""
    x, mask, points = test_split.image_batch([5])[0], test_split[5]["mask"], test_split.landmarks(5)
    assert (detection.cut_and_paste(x, x, mask, mask, points, points) - x).abs().max() < 1e-4
    moved = torch.roll(x, (-3, -4), dims=(1, 2))  # up and to the left
    moved_mask = np.roll(mask, (-3, -4), axis=(0, 1))
    back = detection.cut_and_paste(moved, x, moved_mask, mask, points - np.array([4, 3]), points)
    assert (back - x).abs().max() < 1e-3
    dark = detection.cut_and_paste(x, -x, mask, mask, points, points)
    inside = torch.as_tensor(mask == masks.FACE)
    assert (dark - -x)[:, ~inside].abs().max() < 1e-6 < (dark - -x)[:, inside].abs().max()
    assert (dark[:, inside].mean(dim=1) + x[:, inside].mean(dim=1)).abs().max() < 0.1  # the target's color
