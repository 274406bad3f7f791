"""The exercises' self-checks: right answers pass, and each typical mistake gets the message meant for it."""

import math

import answers_detection
import answers_later
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from smoothswap_lib import checks


def logistic(z, identity, temperature, own=False, others=False, top=True, cut=1.0, total=False):
    """The contrastive loss by loops, with switches for mistakes."""
    terms = []
    for i in range(len(z)):
        for p in range(len(z)):
            if identity[p] != identity[i] or (p == i and not own):
                continue
            below = [n for n in range(len(z)) if identity[n] != identity[i]]
            below += [n for n in range(len(z)) if others and n not in (i, p) and identity[n] == identity[i]]
            weights = [math.exp(z[i] @ z[n] / temperature**cut) for n in below]
            weights += [math.exp(z[i] @ z[p] / temperature**cut)] * top
            terms.append(math.log(sum(weights)) - (z[i] @ z[p]).item() / temperature**cut)
    return sum(terms) if total else sum(terms) / len(terms)


def arc(a, b, r, inner=torch.arccos, divide=torch.sin):
    w = inner((a * b).sum())
    return (torch.sin((1 - r) * w) * a + torch.sin(r * w) * b) / divide(w)


def halve(image, pad=(1, 1, 1, 1), mode="constant", scale=64.0):
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    padded = F.pad(image[None, None], pad, mode=mode)[0, 0]
    windows = padded.unfold(0, 4, 2).unfold(1, 4, 2)
    return (windows * taps[:, None] * taps).sum((-1, -2)) / scale


def dealt(x, groups, deal=None, unbiased=False, root=True, front=False, axis=0):
    channel = torch.zeros(len(x), 1, *x.shape[2:], dtype=x.dtype)
    deal = [list(range(g, len(x), groups)) for g in range(groups)] if deal is None else deal
    for members in deal:
        spread = x[members].var(axis, unbiased=unbiased)
        channel[members] = (spread.sqrt() if root else spread).mean()
    return torch.cat([channel, x] if front else [x, channel], dim=1)


def slope(logits, x, graph=True):
    return torch.autograd.grad(logits.sum(), x, create_graph=graph)[0].flatten(1)


def by_backward(logits, x):
    logits.sum().backward(retain_graph=True)
    return x.grad.flatten(1).square().sum(1).mean()


def verdict(ours, theirs, low=lambda s: s.low, high=lambda s: s.high, words=None):
    smoother, less, neither = words or ("smoother than", "less smooth than", "not told apart from")
    if high(ours) < low(theirs):
        return smoother
    return less if low(ours) > high(theirs) else neither


def paired(source, target, count, first=0):
    new = source.copy()
    new[first:count] = target[first:count]
    return new


def in_place(source, target, count):
    source[:count] = target[:count]
    return source


def cosines(a, b, dim=1):
    return (a * b).sum(dim) / (a.norm(dim=dim) * b.norm(dim=dim))


def sse(a, b):
    return ((a - b) ** 2).sum()


def decibel(x, y, peak=4.0, factor=10.0, log=torch.log10, mean=torch.mean):
    return factor * log(peak / mean((x - y) ** 2))


def gray(x, y, unit=127.5):
    return sum((x[c] - y[c]).abs() for c in range(3)) / 3 * unit


def film(a, b, frames, last=None, between=arc):
    return torch.stack([between(a, b, i / (last or frames - 1)) for i in range(frames)])


RIGHT = {
    "error_over_copying": lambda s, true, t: sse(s, true) / sse(t, true),
    "true_swap": lambda source, target: (source[0], source[1], target[2]),
    "psnr": decibel,
    "contrastive_loss": logistic,
    "slerp": arc,
    "verdict": verdict,
    "fir_downsample": halve,
    "identity_loss": lambda a, b: 1 - cosines(a, b).mean(),
    "minibatch_stddev": dealt,
    "r1_penalty": lambda logits, x: slope(logits, x).square().sum(1).mean(),
    "self_pairs": paired,
    "ema_update": lambda old, new, d: old + (1 - d) * (new - old),
    "difference": gray,
    "film": film,
}
WRONG = {
    "error_over_copying": {
        "upside down": lambda s, true, t: sse(t, true) / sse(s, true),
        "ratio of lengths": lambda s, true, t: (s - true).norm() / (t - true).norm(),
        "absolute values": lambda s, true, t: (s - true).abs().mean() / (t - true).abs().mean(),
        "not with the target": lambda s, true, t: sse(s, t) / sse(t, true),
        "mean of ratios": lambda s, true, t: torch.stack(
            [sse(a, b) / sse(c, b) for a, b, c in zip(s, true, t)]
        ).mean(),
        "one ratio an image": lambda s, true, t: torch.stack(
            [sse(a, b) / sse(c, b) for a, b, c in zip(s, true, t)]
        ),
        "copying the target is missing": lambda s, true, t: F.mse_loss(s, true),
    },
    "true_swap": {
        "source's own picture": lambda source, target: source,
        "target's own picture": lambda source, target: target,
        "state comes from the source": lambda source, target: (source[0], *target[1:]),
        "the other way round": lambda source, target: (*target[:2], source[2]),
        "identity comes from the source": lambda source, target: (target[0], source[1], target[2]),
        "three groups": lambda source, target: (source, target),
        "wrong order": lambda source, target: (target[2], source[0], source[1]),
    },
    "psnr": {
        "peak of 1": lambda x, y: decibel(x, y, peak=1.0),
        "must be squared: 2^2": lambda x, y: decibel(x, y, peak=2.0),
        "not 255": lambda x, y: decibel(x, y, peak=255.0**2),
        "base 10": lambda x, y: decibel(x, y, log=torch.log),
        "20 belongs to its root": lambda x, y: decibel(x, y, factor=20.0),
        "not their sum": lambda x, y: decibel(x, y, mean=torch.sum),
        "sign is wrong": lambda x, y: -decibel(x, y),
    },
    "contrastive_loss": {
        "Khosla's loss": lambda *a: logistic(*a, others=True),
        "no positive of itself": lambda *a: logistic(*a, own=True),
        "positive is missing from the denominator": lambda *a: logistic(*a, top=False),
        "temperature is missing": lambda *a: logistic(*a, cut=0.0),
        "do not multiply": lambda *a: logistic(*a, cut=-1.0),
        "not the sum": lambda *a: logistic(*a, total=True),
        "sign is wrong": lambda *a: -logistic(*a),
        "returns nothing": lambda *a: None,
    },
    "slerp": {
        "this is Lerp, the chord": lambda a, b, r: a + r * (b - a),
        "not turn at an even pace": lambda a, b, r: F.normalize(a + r * (b - a), dim=0),
        "exchanged": lambda a, b, r: arc(b, a, r),
        "division by sin(omega) is missing": lambda a, b, r: arc(a, b, r, divide=torch.ones_like),
        "arccos of the inner product is missing": lambda a, b, r: arc(a, b, r, inner=lambda dot: dot),
        "the shape is (1, 5), expected (5,)": lambda a, b, r: arc(a, b, r)[None],
    },
    "verdict": {
        "lower d_smooth is smoother": lambda a, b: verdict(b, a),
        "means alone decide nothing": lambda a, b: verdict(a, b, lambda s: s.mean, lambda s: s.mean),
        "the ends of both intervals": lambda a, b: verdict(a, b, low=lambda s: s.mean),
        "'better' is no verdict": lambda a, b: verdict(a, b, words=("better", "worse", "equal")),
        "begins above the other is less smooth": lambda a, b: verdict(
            a, b, words=("smoother than", "not told apart from", "not told apart from")
        ),
        "ours above: no verdict": lambda a, b: (
            "less smooth than" if a.mean > b.mean else verdict(a, b)  # only one side asks for intervals
        ),
    },
    "fir_downsample": {
        "without the filter": lambda image: image[::2, ::2],
        "mean of 2 x 2 pixels": lambda image: (
            (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) / 4
        ),
        "not two on the right and below": lambda image: halve(image, (0, 2, 0, 2)),
        "not two on the left and above": lambda image: halve(image, (2, 0, 2, 0)),
        "repeats the border": lambda image: halve(image, mode="replicate"),
        "padding is missing": lambda image: halve(image, (0, 0, 0, 0)),
        "divide by 64": lambda image: halve(image, scale=1.0),
        "a factor of 4 too large": lambda image: halve(image, scale=16.0),
        "the shape is (8, 10), expected (4, 5)": lambda image: image,
    },
    "identity_loss": {
        "divide by both lengths": lambda a, b: 1 - (a * b).sum(1).mean(),
        "this is the cosine": lambda a, b: cosines(a, b).mean(),
        "so that more alike costs less": lambda a, b: cosines(a, b).mean() - 1,
        "not plus": lambda a, b: 1 + cosines(a, b).mean(),
        "not the sum": lambda a, b: (1 - cosines(a, b)).sum(),
        "one number an image": lambda a, b: 1 - cosines(a, b),
        "wrong axis": lambda a, b: 1 - cosines(a, b, dim=0).mean(),
        "each swap is compared with each source": lambda a, b: 1 - cosines(a[:, None], b[None], dim=2).mean(),
    },
    "minibatch_stddev": {
        "not a run of neighbors": lambda x, n: dealt(x, n, deal=[[0, 1, 2], [3, 4, 5]]),
        "unbiased=False": lambda x, n: dealt(x, n, unbiased=True),
        "one for the whole batch": lambda x, n: dealt(x, 1),
        "root is missing": lambda x, n: dealt(x, n, root=False),
        "channel alone": lambda x, n: dealt(x, n)[:, -1:],
        "not in front": lambda x, n: dealt(x, n, front=True),
        "wrong axis": lambda x, n: torch.cat(
            [x, x.std((1, 2, 3), unbiased=False).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])], 1
        ),
    },
    "r1_penalty": {
        "length must be squared": lambda logits, x: slope(logits, x).norm(dim=1).mean(),
        "this is their mean": lambda logits, x: slope(logits, x).square().mean(),
        "not the sum": lambda logits, x: slope(logits, x).square().sum(),
        "gamma / 2": lambda logits, x: slope(logits, x).square().sum(1).mean() / 2,
        "divided by the batch": lambda logits, x: (
            slope(logits.mean()[None], x).square().sum(1).mean()  # the slope of the mean
        ),
        "WGAN-GP": lambda logits, x: (slope(logits, x).norm(dim=1) - 1).square().mean(),
        "create_graph=True is missing": lambda logits, x: (
            slope(logits, x, graph=False).square().sum(1).mean()
        ),
        "use torch.autograd.grad": by_backward,
        "one number an image": lambda logits, x: slope(logits, x).square().sum(1),
    },
    "self_pairs": {
        "changed in place": in_place,
        "nothing was changed": lambda source, target, count: source.copy(),
        "too many": lambda source, target, count: paired(source, target, count + 1),
        "too few": lambda source, target, count: paired(source, target, count - 1),
        "every pair": lambda source, target, count: target,
        "wrong side": lambda source, target, count: paired(target, source, count),
        "leaves out the first": lambda source, target, count: paired(source, target, count + 1, 1),
        "first pairs, not the last": lambda source, target, count: np.r_[source[:-count], target[-count:]],
    },
    "ema_update": {
        "exchanged": lambda old, new, d: (1 - d) * old + d * new,
        "new value needs its weight": lambda old, new, d: d * old + new,
        "old average needs its weight": lambda old, new, d: old + (1 - d) * new,
        "plain mean": lambda old, new, d: (old + new) / 2,
        "not subtracted": lambda old, new, d: d * old - (1 - d) * new,
        "only decays": lambda old, new, d: d * old,
    },
    "difference": {
        "this has a sign": lambda x, y: (x - y).mean(0) * 127.5,
        "before the mean": lambda x, y: (x.mean(0) - y.mean(0)).abs() * 127.5,
        "in gray levels": lambda x, y: gray(x, y, 1.0),
        "not 255": lambda x, y: gray(x, y, 255.0),
        "not their sum": lambda x, y: (x - y).abs().sum(0) * 127.5,
    },
    "film": {
        "divide by frames - 1": lambda a, b, n: film(a, b, n, last=n),
        "both ends belong": lambda a, b, n: film(a, b, n + 2)[1:-1],
        "exchanged": lambda a, b, n: film(b, a, n),
        "this is Lerp, the chord": lambda a, b, n: film(a, b, n, between=torch.lerp),
        "scaled to unit length": lambda a, b, n: F.normalize(film(a, b, n, between=torch.lerp), dim=1),
    },
}
RIGHT |= answers_later.RIGHT | answers_detection.RIGHT
WRONG |= answers_later.WRONG | answers_detection.WRONG
CASES = [(name, words, answer) for name, answers in WRONG.items() for words, answer in answers.items()]


def check_of(name):
    return getattr(checks, f"check_{name}")


def test_every_check_has_a_right_answer_and_four_wrong_ones():
    names = {name.removeprefix("check_") for name in vars(checks) if name.startswith("check_")}
    assert names == set(RIGHT) == set(WRONG)
    assert min(map(len, WRONG.values())) >= 4


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer_passes_and_is_told_so(name, capsys):
    check_of(name)(RIGHT[name])
    assert capsys.readouterr().out.endswith(": right\n")


def message_of(name, answer):
    with pytest.raises(checks.WrongAnswer) as caught:
        check_of(name)(answer)
    return str(caught.value)


@pytest.mark.parametrize("name, words, answer", CASES, ids=[f"{name}: {words}" for name, words, _ in CASES])
def test_each_mistake_gets_its_own_message(name, words, answer):
    message = message_of(name, answer)
    assert words in message
    others = [other for other in WRONG[name] if other != words and other in message]
    assert not others, f"the message of '{words}' would also answer to {others}"


@pytest.mark.parametrize("name", RIGHT)
def test_an_unwritten_answer_says_so_itself(name):
    def hole(*_):
        raise NotImplementedError("Exercise A")

    with pytest.raises(NotImplementedError, match="Exercise A"):
        check_of(name)(hole)
    assert "is the return missing?" in message_of(name, lambda *_: None)


def test_an_odd_mistake_is_told_by_its_size():
    assert "by up to 1, and by no usual mistake" in message_of("psnr", lambda x, y: decibel(x, y) + 1)
    assert "not finite" in message_of("identity_loss", lambda a, b: torch.tensor(math.nan))
    assert "got a str" in message_of("ema_update", lambda *_: "4.65")


def test_checks_leave_the_random_numbers_of_a_notebook_alone():
    before = torch.random.get_rng_state()
    for name, answer in RIGHT.items():
        check_of(name)(answer)
    assert (torch.random.get_rng_state() == before).all()
