"""Verification, errors and the report against literal versions, closed forms and known answers."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import nn

from smoothswap_lib import evaluation


def images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


class ColorEmbedder(nn.Module):
    """Mean color as a unit vector: an identity that a test can compute by hand."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.norm = nn.BatchNorm2d(3)
        self.calls = []

    def forward(self, x):
        self.calls.append((len(x), self.training, torch.is_inference_mode_enabled()))
        return nn.functional.normalize(self.scale * x.mean((2, 3)), dim=1)


def test_embed_works_in_batches_in_eval_mode_and_puts_the_mode_back():
    embedder, x = ColorEmbedder().train(), images(10, 3, 4, 4)
    z = evaluation.embed(x, embedder, batch_size=4)
    assert embedder.calls == [(4, False, True), (4, False, True), (2, False, True)]
    assert embedder.training and not z.is_inference() and not z.requires_grad
    torch.testing.assert_close(z, embedder(x).detach())
    torch.testing.assert_close(evaluation.embed(iter([x[:3], x[3:]]), embedder), z)
    evaluation.embed(x, embedder.eval())
    assert not embedder.training


def test_auc_counts_the_pairs_that_are_in_the_right_order():
    z = nn.functional.normalize(torch.randn(24, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    z[3] = z[2]  # ties count half
    identity = np.arange(24) % 5
    first, second = np.array([(i, j) for i in range(24) for j in range(i)]).T
    cosine, same = (z[first] * z[second]).sum(1).double().numpy(), identity[first] == identity[second]
    ahead = cosine[same][:, None] - cosine[~same]
    expected = np.mean((ahead > 1e-7) + 0.5 * (np.abs(ahead) < 1e-7))
    assert evaluation.verification_auc(z, identity) == pytest.approx(expected, abs=1e-6)
    assert evaluation.verification_auc_pairs(z, first, second, same) == pytest.approx(expected, abs=1e-6)


def test_verification_refuses_what_it_cannot_judge(monkeypatch):
    z, people = torch.randn(8, 3), np.arange(8)
    for identity, most, message in ((people * 0, 99, "one kind"), (people[:7], 99, "one value for each"),
                                    (people % 2, 20, "too many pairs")):  # fmt: skip
        monkeypatch.setattr(evaluation.verification, "MAX_PAIRS", most)
        with pytest.raises(ValueError, match=message):
            evaluation.verification_auc(z, identity)
    with pytest.raises(ValueError, match="fold by fold"):
        evaluation.verification_accuracy(z, np.zeros(40, int), np.ones(40, int), np.arange(40) < 20)


def test_best_threshold_is_the_best_of_all_thresholds():
    rng = np.random.default_rng(2)
    for _ in range(20):
        cosine = np.round(rng.uniform(-1, 1, 30), 1)  # rounded, so that there are ties
        same = rng.random(30) < 0.5
        tried = np.concatenate([[-2], np.unique(cosine) + 0.05])
        best = max(np.mean((cosine > threshold) == same) for threshold in tried)
        assert np.mean((cosine > evaluation.best_threshold(cosine, same)) == same) == pytest.approx(best)


def test_accuracy_chooses_each_threshold_on_the_other_folds():
    # Angles put cosines at will: image 0 is the reference, image i lies at the angle of pair i.
    cosine = np.array([0.9, 0.1, 0.85, 0.2, 0.45, 0.7])
    same = np.array([True, False, True, False, True, False])
    angle = torch.as_tensor(np.concatenate([[0.0], np.arccos(cosine)]))
    z = torch.stack([angle.cos(), angle.sin()], 1)
    first, second = np.zeros(6, int), np.arange(1, 7)
    # Fold 3 (.45 same, .70 different) is wrong twice under the .525 that the other folds agree on. The best
    # thresholds without fold 1, .775 and .325, are both right on .9 and .1; so are those without fold 2.
    mean, error = evaluation.verification_accuracy(z, first, second, same, folds=3)
    assert mean == pytest.approx(2 / 3)
    assert error == pytest.approx(np.std([1, 1, 0], ddof=1) / math.sqrt(3))


def test_ssim_is_scikit_images():
    x = images(2, 3, 14, 17, seed=3)
    y = (x + 0.3 * images(2, 3, 14, 17, seed=4)).clamp(-1, 1)
    wang = {"gaussian_weights": True, "use_sample_covariance": False, "data_range": 2, "full": True}
    arrays = ((a.double().numpy() + 1, b.double().numpy() + 1) for a, b in zip(x, y))
    whole = [structural_similarity(a, b, channel_axis=0, **wang)[1].mean(0) for a, b in arrays]
    expected = np.stack(whole)[:, 5:-5, 5:-5]  # where the window of 11 pixels fits in
    np.testing.assert_allclose(evaluation.ssim_map(x, y).numpy(), expected, atol=1e-10)
    np.testing.assert_allclose(evaluation.ssim(x, y).numpy(), expected.mean((1, 2)), atol=1e-10)
    with pytest.raises(ValueError, match="at least 11"):
        evaluation.ssim(x[..., :8], y[..., :8])


def test_error_to_truth_by_region():
    x_true = images(3, 3, 24, 24, seed=5) * 0.5
    mask = torch.zeros(3, 24, 24, dtype=torch.uint8)
    mask[:, :, 12:] = 1
    mask[0, :12, :12] = 2
    added = torch.tensor([0.1, 0.2, 0.4])[mask.long()].unsqueeze(1)
    table = evaluation.error_to_truth(x_true + added, x_true, mask)
    assert list(table.index) == ["all", "background", "face", "hair", "clothes"]
    assert list(table.mse[["background", "face", "hair"]]) == pytest.approx([0.01, 0.04, 0.16], rel=1e-5)
    assert table.loc["clothes", ["mse", "psnr", "ssim"]].isna().all() and table.share["clothes"] == 0
    known = table.drop(["all", "clothes"])
    assert known.share.sum() == pytest.approx(1)
    assert table.mse["all"] == pytest.approx((known.mse * known.share).sum())
    assert table.psnr["background"] == pytest.approx(20 * math.log10(2 / 0.1), rel=1e-5)
    assert table.ssim["hair"] < table.ssim["face"] < table.ssim["background"] < 1
    assert table.ssim["all"] == pytest.approx(evaluation.ssim(x_true + added, x_true).mean().item())


def test_relative_distance_runs_from_source_to_target():
    source, target = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert evaluation.relative_distance(source, source, target).item() == 0
    assert evaluation.relative_distance(target, source, target).item() == 1
    between = evaluation.relative_distance(-source, source, target).item()
    assert between == pytest.approx(2 / (2 + math.sqrt(2)))
    assert evaluation.relative_distance(source, source, source).isnan().all()


def test_swap_report_rows_and_columns():
    x_source, x_target, x_true = (images(6, 3, 16, 16, seed=seed) for seed in (6, 7, 8))
    mask = (torch.arange(16) // 4).to(torch.uint8).expand(6, 16, 16)
    half = (x_target + x_true) / 2
    judges = {"color": ColorEmbedder(), "twin": ColorEmbedder()}
    report = evaluation.swap_report({"half way": half}, x_source, x_target, x_true, mask, judges)
    assert list(report.index) == ["copy target", "copy source", "half way", "true swap"]
    assert not report.isna().any().any()
    for name in ("color", "twin"):
        assert report.loc["copy source", f"cos_source_{name}"] == pytest.approx(1, abs=1e-6)
        assert report.loc["copy target", f"cos_target_{name}"] == pytest.approx(1, abs=1e-6)
        assert report.loc["copy source", f"identity_r_{name}"] == pytest.approx(0, abs=1e-6)
        assert report.loc["copy target", f"identity_r_{name}"] == pytest.approx(1, abs=1e-6)
    assert report.error_over_copying["copy target"] == pytest.approx(1, abs=1e-12)
    assert report.error_over_copying["half way"] == pytest.approx(0.25, rel=1e-5)
    assert report.mse_true["half way"] == pytest.approx((half - x_true).square().mean().item(), rel=1e-5)
    regions = report.loc[
        "half way", [f"mse_true_{name}" for name in ("background", "face", "hair", "clothes")]
    ]
    assert regions.mean() == pytest.approx(report.mse_true["half way"])  # four regions of equal size
    assert report.background_change["copy target"] == 0
    changed = (half - x_target)[..., :4].square().mean().item()
    assert report.background_change["half way"] == pytest.approx(changed, rel=1e-5)
    assert report.mse_true["true swap"] == 0
    assert report.ssim["true swap"] == pytest.approx(1)
    assert math.isinf(report.psnr["true swap"])
    assert math.isfinite(report.psnr["half way"])


def test_swap_report_without_truth_or_judges():
    x_source, x_target = images(2, 3, 16, 16, seed=9), images(2, 3, 16, 16, seed=10)
    report = evaluation.swap_report({}, x_source, x_target, embedders={"color": ColorEmbedder()})
    assert list(report.index) == ["copy target", "copy source"]
    assert list(report.columns) == ["cos_source_color", "cos_target_color", "identity_r_color"]
    report = evaluation.swap_report({}, x_source, x_target, mask=torch.zeros(2, 16, 16))
    assert list(report.columns) == ["background_change"]
    assert report.background_change["copy source"] > 0


def test_report_and_errors_refuse_mixed_up_images():
    x = images(2, 3, 16, 16)
    with pytest.raises(ValueError, match="ours must be"):
        evaluation.swap_report({"ours": x[:1]}, x, x, x)
    with pytest.raises(ValueError, match="these rows are added"):
        evaluation.swap_report({"copy target": x}, x, x, x)
    with pytest.raises(ValueError, match="floating point"):
        evaluation.error_to_truth(x, (x * 127).to(torch.uint8))
    with pytest.raises(ValueError, match="mask must be"):
        evaluation.error_to_truth(x, x, torch.zeros(2, 8, 8))


def test_the_paint_bucket_gives_regions_their_true_mean_colors_and_touches_nothing_else():
    generator = torch.Generator().manual_seed(0)
    x_target, x_true = (torch.rand(2, 2, 3, 8, 8, generator=generator) * 0.4 - 0.5).unbind()
    masks = torch.randint(0, 4, (2, 2, 8, 8), generator=generator, dtype=torch.uint8)
    mask_target, mask_true = masks.unbind()
    mask_true[1][mask_true[1] == 2] = 0  # a bald head: nothing to paint the hair with

    painted = evaluation.recolour(x_target, mask_target, x_true, mask_true)

    for image, region in ((0, 1), (0, 2), (1, 1)):
        got = painted[image][:, mask_target[image] == region].mean(1)
        torch.testing.assert_close(got, x_true[image][:, mask_true[image] == region].mean(1))
    same = (mask_target == 0) | (mask_target == 3)
    same[1] |= mask_target[1] == 2
    same = same[:, None].expand_as(x_target)
    torch.testing.assert_close(painted[same], x_target[same])
    # where the truth is a recolored target, the paint bucket is perfect
    dyed = torch.where((mask_target == 2)[:, None], (x_target + 1) * 1.3 - 1, x_target)
    torch.testing.assert_close(evaluation.recolour(x_target, mask_target, dyed, mask_target), dyed)


def test_uneven_folds_are_taken_as_given_and_even_ones_by_their_number():
    rng = np.random.default_rng(0)
    z = nn.functional.normalize(torch.as_tensor(rng.normal(size=(40, 3))), dim=1)
    first, second = rng.integers(40, size=(2, 60))
    same, folds = np.arange(60) % 2 == 0, np.repeat([0, 1, 2], [10, 20, 30])
    cosine = evaluation.pair_cosines(z, first, second)
    right = []
    for fold in range(3):
        threshold = evaluation.best_threshold(cosine[folds != fold], same[folds != fold])
        right.append(np.mean((cosine > threshold)[folds == fold] == same[folds == fold]))
    shuffled = rng.permutation(60)
    pairs = first[shuffled], second[shuffled], same[shuffled]
    mean, error = evaluation.verification_accuracy(z, *pairs, folds=folds[shuffled])
    assert mean == pytest.approx(np.mean(right)) and error == pytest.approx(np.std(right, ddof=1) / 3**0.5)
    even = evaluation.verification_accuracy(z, first, second, same, folds=3)
    assert even == evaluation.verification_accuracy(z, first, second, same, folds=np.repeat([0, 1, 2], 20))
    with pytest.raises(ValueError, match="one per pair"):
        evaluation.verification_accuracy(z, first, second, same, folds=folds[:5])
