"""The probes against closed forms: linear embedders, paths on a circle, finite differences, scikit-learn."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, spearmanr
from sklearn.metrics import r2_score
from torch import nn

from smoothswap_lib import losses
from smoothswap_lib.evaluation import probes

SIDE, PIXELS = 4, 3 * 4**2


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def images(count, side=SIDE, seed=0):
    return 0.9 * normal(count, 3, side, side, seed=seed).tanh()


def circle(angles):
    angles = torch.as_tensor(angles, dtype=torch.float64)
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def on_a_circle(weight):
    """z = (1, w x) at unit length: the angle is arctan(w x), so its extremes are those of w x."""

    def embedder(x):
        height = x.flatten(1) @ weight
        return F.normalize(torch.stack([torch.ones_like(height), height], dim=1), dim=1)

    return embedder


def curved(seed=0):
    """A small network with batch norm and dropout, whose two modes differ; smooth, in float64."""
    torch.manual_seed(seed)
    head = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Tanh())
    network = head.extend([nn.Dropout(0.5), nn.Flatten(), nn.Linear(24, 5)]).double()
    network(images(8))  # moves the running averages from 0 and 1
    return network


def people(count=60, each=4, dim=6, seed=0):
    """Embeddings with unequal spreads, and whose they are."""
    z = normal(count * each, dim, seed=seed).numpy() * np.arange(1, dim + 1) + 3
    return z, np.repeat(np.arange(count), each)


def by_normal_equations(z_train, y_train, z_test, penalty):
    a, b = ((z - z_train.mean(0)) / z_train.std(0) for z in (z_train, z_test))
    weight = np.linalg.solve(a.T @ a + penalty * np.eye(a.shape[1]), a.T @ (y_train - y_train.mean(0)))
    return b @ weight + y_train.mean(0)


@pytest.mark.parametrize("penalty", [0.01, 30.0, 3000.0])
def test_the_ridge_is_the_normal_equations_on_standardized_inputs(penalty):
    z, identity = people()
    y = z @ normal(6, 2, seed=1).numpy() + normal(len(z), 2, seed=2).numpy()
    ours = probes.ridge_predict(z[:160], y[:160], z[160:], identity[:160], [penalty])
    np.testing.assert_allclose(ours, by_normal_equations(z[:160], y[:160], z[160:], penalty))


def test_r2_is_the_share_of_the_variance_that_the_embedding_holds():
    z, identity = people(count=1000)
    half = len(z) // 2
    signal, noise = (z[:, 0] - 3), normal(len(z), seed=3).numpy()  # both of variance 1
    y = np.stack([signal, signal + noise, signal + 3 * noise, noise, np.full(len(z), 0.1)], 1)
    r2 = probes.ridge_r2(z[:half], y[:half], z[half:], y[half:], identity[:half])
    np.testing.assert_allclose(r2[:4], [1, 1 / 2, 1 / 10, 0], atol=0.04)
    assert r2[0] > 0.9999 and r2.shape == (5,) and np.isnan(r2[4])
    # Units of the parameters and of the embedding's dimensions make no difference; tensors do as well.
    scaled = torch.from_numpy(z * 7 - 2)
    other = 50 + 9 * y
    again = probes.ridge_r2(scaled[:half], other[:half], scaled[half:], other[half:], identity[:half])
    np.testing.assert_allclose(again, r2, rtol=1e-6)


def test_each_column_gets_the_penalty_that_is_best_for_other_identities():
    """An embedding that names the person, and parameters of which one only goes on to other people."""
    rng = np.random.default_rng(0)
    identity = np.repeat(np.arange(50), 8)
    code = rng.normal(size=(100, 40))
    z = code[np.repeat(np.arange(100), 8)] + 0.01 * rng.normal(size=(800, 40))
    y = np.stack([code[:, 0], rng.normal(size=100)], 1)[np.repeat(np.arange(100), 8)]
    penalties = [1e-3, 1e6]
    weak, strong, chosen = (
        probes.ridge_predict(z[:400], y[:400], z[400:], identity, some)
        for some in (penalties[:1], penalties[1:], penalties)
    )
    np.testing.assert_allclose(chosen[:, 0], weak[:, 0])
    np.testing.assert_allclose(chosen[:, 1], strong[:, 1])
    # Folds that share people would have recalled the second one, and been wrong about the others.
    recalled = probes.ridge_predict(z[:400], y[:400], z[400:], np.arange(400) % 5, penalties)
    np.testing.assert_allclose(recalled[:, 1], weak[:, 1])
    assert probes.r2_shares(y[400:, 1], recalled[:, 1]).mean() < -0.5
    assert probes.r2_shares(y[400:, 1], chosen[:, 1]).mean() > -0.3


def test_shares_have_the_mean_that_scikit_learn_calls_r2():
    y, guess = normal(30, 2, seed=5).numpy(), normal(30, 2, seed=6).numpy()
    expected = r2_score(y, guess, multioutput="raw_values")
    np.testing.assert_allclose(probes.r2_shares(y, guess).mean(0), expected)


def test_within_identity_leaves_the_drift_alone():
    rng = np.random.default_rng(1)
    identity = rng.permutation(np.repeat([7, 3, 90], [2, 5, 3]))
    values = rng.normal(size=(10, 4))
    ours = probes.within_identity(torch.from_numpy(values), identity)
    for person in (7, 3, 90):
        rows = identity == person
        np.testing.assert_allclose(ours[rows], values[rows] - values[rows].mean(0))
    np.testing.assert_allclose(probes.within_identity(values[:, 1], identity), ours[:, 1])
    # 0.1 + 0.1 + 0.1 is not 0.3: what is left of a parameter of the identity must not look like drift.
    assert (probes.within_identity(np.full(3, 0.1), [5, 5, 5]) == 0).all()
    with pytest.raises(ValueError, match=r"one image .*\[3\]"):
        probes.within_identity(values[:3], [1, 1, 3])


def test_an_interval_is_that_of_the_normal_law_for_many_values():
    values = normal(500, seed=7)
    interval = probes.mean_interval(values)
    law = norm.interval(0.95, values.mean(), values.std() / math.sqrt(500))
    assert interval.mean == pytest.approx(values.mean())
    assert (interval.low, interval.high) == pytest.approx(law, abs=0.15 * (law[1] - interval.mean))
    assert interval == probes.mean_interval(values.numpy()) != probes.mean_interval(values, seed=1)


def test_copies_of_an_identity_make_nothing_more_certain():
    values = normal(40, seed=8).numpy()
    single = probes.mean_interval(values)
    copied = probes.mean_interval(np.repeat(values, 9), np.repeat(np.arange(40), 9))
    assert (copied.low, copied.high) == pytest.approx((single.low, single.high))
    sure = probes.mean_interval(np.repeat(values, 9))
    assert sure.high - sure.low == pytest.approx((single.high - single.low) / 3, rel=0.15)


def test_walks_on_a_circle_have_the_numbers_of_their_angles():
    jump, zigzag, back = [0, 0, 0, 1, 1], [0, 0.2, 0.1, 0.25, 0.3], [0, -0.1, -0.2, -0.3, -0.05]
    paths = jump, zigzag, back, [0, 0.25, 0.5, 0.75, 1]
    scores = probes.walk_scores(4 * circle(paths))
    np.testing.assert_allclose(scores.span, [1, 0.3, 0.05, 1])
    np.testing.assert_allclose(scores.length, [1, 0.5 / 0.3, 0.55 / 0.05, 1])
    np.testing.assert_allclose(scores.largest_step, [4, 0.2 / 0.125, 0.25 / 0.1375, 1])
    expected = [spearmanr(np.abs(path), range(5)).statistic for path in paths]
    np.testing.assert_allclose(scores.monotonicity, expected)
    assert scores.steps == 4
    assert scores.summary()["length"].mean == pytest.approx(scores.length.mean())
    assert scores.summary(identity=[1, 2, 2, 2])["span"].high == pytest.approx(1)  # a quarter of the draws


def test_walks_that_cannot_be_measured_are_refused():
    back = circle([[0, 1, 2], [0, 1, 0], [0, 0, 1]])
    cases = {"3 points": circle([[0, 1]]), "zero": torch.zeros(1, 3, 2), r"\[1\]": back, "axes": back[0]}
    for message, walk in cases.items():
        with pytest.raises(ValueError, match=message):
            probes.walk_scores(walk)


def test_the_gradient_is_that_of_the_identity_loss():
    x, z_goal, embedder = images(3), normal(3, 5, seed=11), curved().eval()
    gradient = probes.identity_gradient(embedder, x, z_goal)
    moved = normal(*x.shape, seed=12)

    def loss(step, row):
        return losses.identity_loss(embedder(x + step * moved)[row : row + 1], z_goal[row : row + 1]).item()

    for row in range(3):
        slope = (loss(1e-5, row) - loss(-1e-5, row)) / 2e-5
        assert (gradient[row] * moved[row]).sum().item() == pytest.approx(slope, rel=1e-5)


def test_the_cosine_of_a_linear_embedder_is_the_closed_form():
    weight, x, z_goal = normal(5, PIXELS, seed=13), images(4), normal(4, 5, seed=14)
    # d cos(z, g) / d x = W^T (g / |g| - cos z / |z|) / |z|, and something at a right angle to it.
    z, goal = F.normalize(x.flatten(1) @ weight.T), F.normalize(z_goal)
    pull = F.normalize((goal - (z * goal).sum(1, keepdim=True) * z) @ weight)  # (4, PIXELS)
    side = normal(4, PIXELS, seed=15)
    side = F.normalize(side - (side * pull).sum(1, keepdim=True) * pull)
    for cosine in (1.0, 0.6, 0.0, -1.0):
        direction = 1e-9 * (cosine * pull + math.sqrt(1 - cosine**2) * side).reshape(x.shape)
        ours = probes.gradient_cosine(lambda x: x.flatten(1) @ weight.T, x, direction, z_goal)
        torch.testing.assert_close(ours, torch.full((4,), cosine, dtype=torch.float64))


def test_pooling_takes_away_what_alternates_from_pixel_to_pixel():
    board = torch.ones(SIDE, SIDE, dtype=torch.float64)
    board[::2, ::2] = board[1::2, 1::2] = -1
    smooth = F.interpolate(normal(2, 3, 2, 2, seed=17), scale_factor=2)
    noisy = smooth + board * smooth.flatten(1).norm(dim=1)[:, None, None, None] / math.sqrt(PIXELS)
    raw, pooled = (probes.image_cosine(noisy, smooth, pool) for pool in (1, 2))
    torch.testing.assert_close(raw, torch.full((2,), math.sqrt(0.5), dtype=torch.float64))
    torch.testing.assert_close(pooled, torch.ones(2, dtype=torch.float64))
    # An embedder whose gradient is `noisy`: z = (1, w x) drawn toward (0, 1).
    up = circle([math.pi / 2])
    ours = probes.gradient_cosine(on_a_circle(noisy[0].flatten()), images(1), smooth[:1], up, pool=2)
    torch.testing.assert_close(ours, pooled[:1])
    assert (probes.image_cosine(torch.zeros_like(noisy), noisy) == 0).all()


@pytest.mark.parametrize("epsilon", [2 * probes.GRAY_LEVEL, 0.3])
def test_pgd_finds_the_worst_case_that_is_known(epsilon):
    weight, x = normal(PIXELS, seed=20) / 10, images(6)
    rises = weight.reshape(3, SIDE, SIDE) > 0
    low, high = (x - epsilon).clamp_min(-1), (x + epsilon).clamp_max(1)
    ends = torch.where(rises, low, high), x, torch.where(rises, high, low)
    least, angle, greatest = (torch.atan(end.flatten(1) @ weight) for end in ends)
    # The start decides which side is gone to; the best of some starts is the better side.
    starts = [probes.pgd_shift(on_a_circle(weight), x, epsilon, seed=seed)[0] for seed in range(8)]
    turn = torch.maximum(greatest - angle, angle - least)
    torch.testing.assert_close(torch.stack(starts).min(0).values, turn.cos())
    goal = circle([math.pi / 2]).expand(6, 2)
    cosine, moved = probes.pgd_shift(on_a_circle(weight), x, epsilon, z_goal=goal)
    torch.testing.assert_close(moved, ends[2])
    torch.testing.assert_close(cosine, (math.pi / 2 - greatest).cos())


@settings(max_examples=15, deadline=None)
@given(
    epsilon=st.floats(0, 2.5),
    steps=st.integers(0, 4),
    aimed=st.booleans(),
    seed=st.integers(0, 999),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_pgd_stays_in_the_ball_and_in_the_range(epsilon, steps, aimed, seed, dtype):
    embedder = curved().to(dtype)
    x = (1.5 * images(3, seed=seed)).clamp(-1, 1).to(dtype)
    z_goal = normal(3, 5, seed=seed).to(dtype) if aimed else None
    cosine, moved = probes.pgd_shift(embedder, x, epsilon, steps, z_goal=z_goal, seed=seed)
    assert moved.dtype == dtype and moved.abs().max() <= 1
    assert (moved - x).abs().max() <= epsilon + 1e-6
    with torch.no_grad():
        z, clean = embedder.eval()(moved), embedder(x)
        target = clean if z_goal is None else z_goal
        torch.testing.assert_close(F.cosine_similarity(z, target).double(), cosine, rtol=0, atol=1e-5)
        if aimed:
            assert (cosine >= F.cosine_similarity(clean, target) - 1e-5).all()


@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_the_embedder_is_left_as_it_was(context):
    embedder = curved()
    embedder[1].eval()  # a frozen batch norm in a network that trains
    embedder[0].bias.requires_grad_(False)
    before = {name: value.clone() for name, value in embedder.state_dict().items()}
    with context():
        x, z_goal = images(5), normal(5, 5, seed=21)
        whole = probes.gradient_cosine(embedder, x, images(5, seed=1), z_goal)
        parts = probes.gradient_cosine(embedder, x, images(5, seed=1), z_goal, batch_size=2)
        probes.pgd_shift(embedder, x, 0.1, 3)
        probes.pgd_shift(embedder, x, 0.1, 3, z_goal=z_goal)
    with pytest.raises(ValueError, match="one 2-dimensional shape"):
        probes.identity_gradient(embedder, x, normal(5, 4))
    torch.testing.assert_close(whole, parts)  # batch norm and dropout were in eval mode
    assert [module.training for module in embedder] == [True, False, True, True, True, True]
    assert all(parameter.grad is None for parameter in embedder.parameters())
    assert [p.requires_grad for p in embedder.parameters()] == [True, False, True, True, True, True]
    assert all(torch.equal(value, before[name]) for name, value in embedder.state_dict().items())
    assert not (whole.requires_grad or x.requires_grad)


@pytest.mark.parametrize(
    ("function", "change", "message"),
    [
        (probes.identity_gradient, {"x": images(3)[:, :1]}, r"\(B, 3, H, W\)"),
        (probes.identity_gradient, {"x": torch.zeros(3, 3, 4, 4, dtype=torch.uint8)}, "floating point"),
        (probes.identity_gradient, {"x": images(3) * math.nan}, "finite"),
        (probes.identity_gradient, {"z_goal": normal(2, 5)}, "B = 3"),
        (probes.identity_gradient, {"z_goal": torch.zeros(3, 5)}, "zero or non-finite"),
        (probes.identity_gradient, {"batch_size": 0}, "batch_size"),
        (probes.identity_gradient, {"embedder": lambda x: x.detach().flatten(1)[:, :5]}, "do not depend"),
        (probes.gradient_cosine, {"direction": torch.zeros(3, 3, 4, 4)}, "direction is zero"),
        (probes.gradient_cosine, {"direction": images(2)}, "one shape"),
        (probes.gradient_cosine, {"direction": images(3, seed=1), "pool": 3}, "divisor"),
        (probes.pgd_shift, {"epsilon": -0.1}, "at least 0"),
        (probes.pgd_shift, {"epsilon": 0.1, "steps": -1}, "at least 0"),
        (probes.pgd_shift, {"epsilon": 0.1, "x": 2 + images(3)}, "clip"),
    ],
)
def test_bad_images_and_goals_are_refused_in_words(function, change, message):
    with pytest.raises(ValueError, match=message):
        function(**{"embedder": curved(), "x": images(3), "z_goal": normal(3, 5)} | change)


def test_bad_tables_are_refused_in_words():
    z, identity = people(count=5, each=2)
    y = z[:, 0]
    for changes, message in (
        ({"identity_train": np.zeros(10)}, "n_splits=5"),
        ({"y_train": y[:9]}, "numbers of samples"),
        ({"identity_train": identity[:9]}, "each of the 10"),
        ({"y_test": y[:9]}, "y_test"),
        ({"y_train": y * np.nan}, "NaN"),
        ({"penalties": [-1.0]}, "greater than 0"),
    ):
        table = {"z_train": z, "y_train": y, "z_test": z, "y_test": y, "identity_train": identity}
        with pytest.raises(ValueError, match=message):
            probes.ridge_r2(**table | changes)
    with pytest.raises(ValueError, match="at least two"):
        probes.mean_interval(y, identity=np.ones(10))
