"""The exercises' self-checks: right answers pass, typical mistakes get the message meant for them."""

import math
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score

from smoothswap_lib import checks


def logistic(z, identity, temperature, others=False, cut=1.0):
    """The contrastive loss by loops, with switches for mistakes."""
    terms = []
    for i in range(len(z)):
        for p in range(len(z)):
            if identity[p] != identity[i] or p == i:
                continue
            below = [n for n in range(len(z)) if identity[n] != identity[i]]
            below += [n for n in range(len(z)) if others and n not in (i, p) and identity[n] == identity[i]]
            weights = [math.exp(z[i] @ z[n] / temperature**cut) for n in [*below, p]]
            terms.append(math.log(sum(weights)) - (z[i] @ z[p]).item() / temperature**cut)
    return sum(terms) / len(terms)


def arc(a, b, r, inner=torch.arccos, divide=torch.sin):
    w = inner((a * b).sum())
    return (torch.sin((1 - r) * w) * a + torch.sin(r * w) * b) / divide(w)


def film(a, b, frames, last=None):
    return torch.stack([arc(a, b, i / (last or frames - 1)) for i in range(frames)])


def halve(image, mode="constant", scale=64.0, across=None):
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    across = taps if across is None else across
    windows = F.pad(image[None, None], (1, 1, 1, 1), mode=mode)[0, 0].unfold(0, 4, 2).unfold(1, 4, 2)
    return (windows * taps[:, None] * across).sum((-1, -2)) / scale


def dealt(x, groups, deal=None, root=True):
    channel = torch.zeros(len(x), 1, *x.shape[2:], dtype=x.dtype)
    for members in deal or [list(range(g, len(x), groups)) for g in range(groups)]:
        spread = x[members].var(0, unbiased=False)
        channel[members] = (spread.sqrt() if root else spread).mean()
    return torch.cat([x, channel], dim=1)


def slope(logits, x, graph=True):
    return torch.autograd.grad(logits.sum(), x, create_graph=graph)[0].flatten(1)


def by_backward(logits, x):
    logits.sum().backward(retain_graph=True)
    return x.grad.flatten(1).square().sum(1).mean()


def smoother(ours, theirs, low=lambda s: s.low, high=lambda s: s.high, words="smoother than"):
    if high(ours) < low(theirs):
        return words
    return "less smooth than" if low(ours) > high(theirs) else "not told apart from"


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


def decibel(x, y, log=torch.log10):
    return 10 * log(4 / torch.mean((x - y) ** 2))


def gray(x, y, unit=127.5):
    return sum((x[c] - y[c]).abs() for c in range(3)) / 3 * unit


def relative(swap, source, target, gap=lambda a, b: ((a - b) ** 2).sum(-1).sqrt()):
    return 1 / (1 + gap(swap, target) / gap(swap, source))


def redrawn(values, source, target, drawn, ends=lambda s, t: s * t):
    """By loops: the mean over pairs, each as often as its people were drawn."""
    times = [sum(int(d) == person for d in drawn) for person in range(4)]
    weights = [ends(times[int(s)], times[int(t)]) for s, t in zip(source, target)]
    return sum(w * v for w, v in zip(weights, values)) / sum(weights)


def steps_to(step, loss, level):
    return next((k for k, value in zip(step, loss) if value <= level), math.nan)


def reproduced(value, low, high, limit, neutral):
    trend = "reproduced in trend" if high < neutral else "not reproduced"
    return "reproduced" if value <= limit else trend


def r1_part(dear, plain, interval):
    return (dear - plain) / sum([dear] + (interval - 1) * [plain])


def seconds(work, machine, n, ring=None, alone=sum):
    parts = work.flops / machine.flops, work.traffic / machine.bandwidth
    ring = 2 * (n - 1) / n if ring is None else ring
    return alone(parts) + work.operations * machine.overhead + ring * work.gradients / machine.link


def joined(gradients, images, divide=sum):
    return sum(count * gradient for count, gradient in zip(images, gradients)) / divide(images)


def ahead(swap, true, tie=0.5, turn=1):
    """By loops: how often the swap is ahead."""
    wins = sum(1 if turn * (s - t) > 0 else tie * (s == t) for s in swap for t in true)
    return wins / (len(swap) * len(true))


def rings(size, length=math.hypot, rounding=round, fold=True):
    """By loops: the distance of each place of the FFT from the frequency 0."""
    cycles = [k - size if fold and 2 * k >= size else k for k in range(size)]
    return np.array([[rounding(length(a, b)) for b in cycles] for a in cycles])


def share(hits, false_alarms, base_rate):
    """By counting ten thousand pictures."""
    alarms = 10_000 * base_rate * hits + 10_000 * (1 - base_rate) * false_alarms
    return 10_000 * base_rate * hits / alarms


def lost(every, save, between, back=0.5):
    """By counting ten thousand interruptions."""
    saves = 10_000 * between / every
    return (saves * save + 10_000 * back * every) / (10_000 * between)


def styled(h, scale, shift, over=(2, 3), root=True):
    """AdaIN."""
    variance = h.var(over, correction=0, keepdim=True)
    return (
        scale[..., None, None] * (h - h.mean(over, keepdim=True)) / (variance.sqrt() if root else variance)
        + shift[..., None, None]
    )


def mixed(a, b, logits):
    return torch.lerp(a, b.expand_as(a), logits.sigmoid())


RIGHT = {
    "adain": styled,
    "blend_by_mask": mixed,
    "auc": lambda swap, true: roc_auc_score(np.repeat([1, 0], [len(swap), len(true)]), np.r_[swap, true]),
    "claim_verdict": reproduced,
    "contrastive_loss": logistic,
    "difference": gray,
    "ema_update": lambda old, new, d: old + (1 - d) * (new - old),
    "error_over_copying": lambda s, true, t: sse(s, true) / sse(t, true),
    "film": film,
    "fir_downsample": halve,
    "identity_loss": lambda a, b: 1 - cosines(a, b).mean(),
    "joined_gradient": joined,
    "lost_share": lost,
    "minibatch_stddev": dealt,
    "psnr": decibel,
    "r1_penalty": lambda logits, x: slope(logits, x).square().sum(1).mean(),
    "r1_share": r1_part,
    "redrawn_mean": redrawn,
    "relative_distance": relative,
    "rings": rings,
    "self_pairs": paired,
    "share_of_alarms": share,
    "slerp": arc,
    "step_seconds": seconds,
    "steps_to_level": steps_to,
    "true_swap": lambda source, target: (source[0], source[1], target[2]),
    "verdict": smoother,
}
# What students write, and what they must be told. That no other message of a check fits is tested below.
WRONG = [
    ("adain", "the statistics of the batch", lambda h, a, b: styled(h, a, b, over=(0, 2, 3))),
    ("adain", "take its root", lambda h, a, b: styled(h, a, b, root=False)),
    ("adain", "changed places", lambda h, a, b: styled(h, b, a)),
    ("adain", "not normalized first", lambda h, a, b: a[..., None, None] * h + b[..., None, None]),
    ("blend_by_mask", "the wrong way round", lambda a, b, logits: mixed(a, b, -logits)),
    ("blend_by_mask", "no mask yet", lambda a, b, logits: torch.lerp(a, b.expand_as(a), logits)),
    ("blend_by_mask", "a hard choice", lambda a, b, logits: torch.where(logits > 0, b, a)),
    ("blend_by_mask", "without a choice", lambda a, b, logits: a + b),
    ("auc", "not nothing", lambda swap, true: ahead(swap, true, tie=0)),
    ("auc", "the other way round", lambda swap, true: ahead(swap, true, turn=-1)),
    ("auc", "difference of means", lambda swap, true: swap.mean() - true.mean()),
    ("claim_verdict", "'no' is no verdict", lambda value, low, high, *_: "no"),
    ("claim_verdict", "on the wrong side of neutral", lambda *a: "reproduced"),
    ("claim_verdict", "no difference is possible", lambda v, low, high, *a: reproduced(v, low, v, *a)),
    ("claim_verdict", "holds the limit itself", lambda v, *a: reproduced(v + 1e-9, *a)),
    ("contrastive_loss", "Khosla's loss", lambda *a: logistic(*a, others=True)),
    ("contrastive_loss", "temperature is missing", lambda *a: logistic(*a, cut=0.0)),
    ("difference", "this has a sign", lambda x, y: (x - y).mean(0) * 127.5),
    ("difference", "not 255", lambda x, y: gray(x, y, 255.0)),
    ("ema_update", "exchanged", lambda old, new, d: (1 - d) * old + d * new),
    ("ema_update", "only decays", lambda old, new, d: d * old),
    ("error_over_copying", "upside down", lambda s, true, t: sse(t, true) / sse(s, true)),
    ("error_over_copying", "ratio of lengths", lambda s, true, t: (s - true).norm() / (t - true).norm()),
    ("film", "divide by frames - 1", lambda a, b, n: film(a, b, n, last=n)),
    ("fir_downsample", "repeats the border", lambda image: halve(image, mode="replicate")),
    ("fir_downsample", "reflects the image", lambda image: halve(image, mode="reflect")),
    ("fir_downsample", "columns are only picked", lambda image: halve(image, across=torch.eye(4)[1] * 8)),
    ("fir_downsample", "a factor of 4 too large", lambda image: halve(image, scale=16.0)),
    ("fir_downsample", "the shape is (8, 10), expected (4, 5)", lambda image: image),
    ("identity_loss", "wrong axis", lambda a, b: 1 - cosines(a, b, dim=0).mean()),
    ("identity_loss", "one number an image", lambda a, b: 1 - cosines(a, b)),
    ("joined_gradient", "this is the plain mean", lambda gradients, images: gradients.mean(0)),
    ("joined_gradient", "this is the weighted sum", lambda *a: joined(*a, divide=lambda weights: 1)),
    ("lost_share", "takes back is missing", lambda every, save, between: save / every),
    ("lost_share", "that saving takes is missing", lambda every, save, between: every / (2 * between)),
    ("lost_share", "takes back half of the time", lambda *a: lost(*a, back=1)),
    ("lost_share", "not the seconds", lambda *a: a[2] * lost(*a)),
    ("minibatch_stddev", "not a run of neighbors", lambda x, n: dealt(x, n, [[0, 1, 2], [3, 4, 5]])),
    ("minibatch_stddev", "root is missing", lambda x, n: dealt(x, n, root=False)),
    ("psnr", "base 10", lambda x, y: decibel(x, y, log=torch.log)),
    ("psnr", "sign is wrong", lambda x, y: -decibel(x, y)),
    ("r1_penalty", "must be squared", lambda logits, x: slope(logits, x).norm(dim=1).mean()),
    ("r1_penalty", "create_graph=True", lambda f, x: slope(f, x, graph=False).square().sum(1).mean()),
    ("r1_penalty", "use torch.autograd.grad", by_backward),
    ("r1_share", "by the interval", lambda dear, plain, k: (dear - plain) / dear),
    ("r1_share", "not by one without R1", lambda dear, plain, k: (dear - plain) / k / plain),
    ("redrawn_mean", "redraw people, not pairs", lambda values, source, target, drawn: values[drawn].mean()),
    ("redrawn_mean", "the target counts too", lambda *a: redrawn(*a, ends=lambda s, t: s)),
    ("redrawn_mean", "asks only who was drawn", lambda *a: redrawn(*a, ends=lambda s, t: int(s * t > 0))),
    ("relative_distance", "root is missing", lambda *z: relative(*z, gap=lambda a, b: ((a - b) ** 2).sum(1))),
    ("relative_distance", "wrong axis", lambda *z: relative(*z, gap=lambda a, b: (a - b).norm(dim=0))),
    ("relative_distance", "the mean comes later", lambda *z: relative(*z).mean()),
    ("rings", "negative frequencies", lambda size: rings(size, fold=False)),
    ("rings", "nothing is shifted", lambda size: np.fft.fftshift(rings(size))),
    ("rings", "not the sum", lambda size: rings(size, lambda a, b: abs(a) + abs(b))),
    ("self_pairs", "changed in place", in_place),
    ("self_pairs", "nothing was changed", lambda source, target, count: source.copy()),
    ("self_pairs", "too many", lambda source, target, count: paired(source, target, count + 1)),
    ("self_pairs", "wrong side", lambda source, target, count: paired(target, source, count)),
    ("share_of_alarms", "the base rate is missing", lambda hits, alarms, base: share(hits, alarms, 0.5)),
    ("share_of_alarms", "the swaps that are found", lambda hits, alarms, base: hits),
    ("slerp", "this is Lerp, the chord", lambda a, b, r: a + r * (b - a)),
    ("slerp", "arccos of the inner product", lambda a, b, r: arc(a, b, r, inner=lambda dot: dot)),
    ("slerp", "the shape is (1, 5), expected (5,)", lambda a, b, r: arc(a, b, r)[None]),
    ("step_seconds", "needs the ring's factor", lambda *a: seconds(*a, ring=1)),
    ("step_seconds", "nothing overlaps", lambda *a: seconds(*a, alone=max)),
    ("steps_to_level", "this is the row", lambda step, loss, level: np.flatnonzero(loss <= level)[0]),
    ("steps_to_level", "a NaN is no loss yet", lambda step, loss, level: step[~(loss > level)][0]),
    ("steps_to_level", "not the last", lambda step, loss, level: step[loss <= level][-1]),
    ("steps_to_level", "(now: IndexError)", lambda step, loss, level: step[loss <= level][0]),
    ("steps_to_level", "the answer is NaN, not 20", lambda step, loss, level: step[np.argmax(loss <= level)]),
    ("true_swap", "source's own picture", lambda source, target: source),
    ("true_swap", "state comes from the source", lambda source, target: (source[0], *target[1:])),
    ("true_swap", "three groups", lambda source, target: (source, target)),
    ("true_swap", "wrong order", lambda source, target: (target[2], source[0], source[1])),
    ("verdict", "lower d_smooth is smoother", lambda a, b: smoother(b, a)),
    (
        "verdict",
        "means alone decide nothing",
        lambda a, b: smoother(a, b, lambda s: s.mean, lambda s: s.mean),
    ),
    ("verdict", "'better' is no verdict", lambda a, b: smoother(a, b, words="better")),
]


def check_of(name):
    return getattr(checks, f"check_{name}")


def test_a_right_answer_passes_and_is_told_so(capsys):
    before = torch.random.get_rng_state()
    assert set(RIGHT) == {name.removeprefix("check_") for name in vars(checks) if name.startswith("check_")}
    for name, answer in RIGHT.items():
        check_of(name)(answer)
        assert capsys.readouterr().out.endswith(": right\n")
    assert (torch.random.get_rng_state() == before).all(), "a notebook's random numbers were touched"


def message_of(name, answer):
    with pytest.raises(checks.WrongAnswer) as caught:
        check_of(name)(answer)
    return str(caught.value)


@pytest.mark.parametrize("name, words, answer", WRONG)
def test_a_mistake_gets_its_message(name, words, answer):
    assert words in message_of(name, answer)


def test_no_mistake_of_a_check_is_right_or_gives_what_an_earlier_one_gives(monkeypatch):
    """Else its message could never be told."""
    calls = []
    for name, answer in RIGHT.items():
        module = sys.modules[check_of(name).__module__]
        if hasattr(module, "judge"):
            judge = lambda *a, **k: calls.append(a)  # noqa: E731
            monkeypatch.setattr(module, "judge", judge)
            check_of(name)(answer)
    assert len(calls) > 15
    for _, _, right, mistakes in calls:
        told = [torch.as_tensor(right).double(), *(torch.as_tensor(v).double() for v in mistakes.values())]
        for k, value in enumerate(told):
            equal = [e for e in told[:k] if e.shape == value.shape and torch.allclose(e, value, 1e-4, 1e-7)]
            assert not equal, list(mistakes)[k - 1]


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
