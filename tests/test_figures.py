"""Figures show the values that they were given, name their axes, and leave the screen to the caller."""

from itertools import pairwise

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from smoothswap_lib import figures
from smoothswap_lib.evaluation import plots


@pytest.fixture(autouse=True)
def drawn_without_a_screen(monkeypatch):
    backend = mpl.get_backend()
    plt.switch_backend("agg")
    monkeypatch.setattr(plt, "show", lambda *a, **k: pytest.fail("a figure function called plt.show()"))
    with mpl.rc_context():
        figures.use_style()
        yield
    plt.close("all")
    plt.switch_backend(backend)


def images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def drawn(figure):
    """What a reader gets: fails where a label or a layout cannot be drawn."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def labels(figure):
    return [(ax.get_xlabel(), ax.get_ylabel()) for ax in figure.axes]


def test_pixels_are_the_images_without_a_shift_of_color():
    levels = torch.arange(256).float() / 127.5 - 1
    image = torch.stack([levels, levels.flip(0), levels.roll(7)]).view(3, 16, 16)
    expected = np.stack([np.arange(256), np.arange(256)[::-1], np.roll(np.arange(256), 7)], axis=-1)
    np.testing.assert_array_equal(figures.to_pixels(image), expected.reshape(16, 16, 3))
    assert figures.to_pixels(torch.tensor([-1.7, 0.0, 1.7]).view(3, 1, 1)).tolist() == [[[0, 128, 255]]]
    with pytest.raises(ValueError, match=r"\(3, H, W\)"):
        figures.to_pixels(torch.zeros(16, 16, 3))


def test_grid_shows_every_image_at_its_place_with_its_names():
    x = images(3, 4, 3, 16, 16)
    figure = figures.show_grid(x, ["a", "b", "c"], list("wxyz"), "title")
    (ax,) = figure.axes
    shown = np.asarray(ax.images[0].get_array())
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b", "c"]
    assert [text.get_text() for text in ax.get_xticklabels()] == list("wxyz")
    assert figure.get_suptitle() == "title"
    for i, row in enumerate(ax.get_yticks()):
        for j, column in enumerate(ax.get_xticks()):
            tile = shown[int(row - 7.5) : int(row + 8.5), int(column - 7.5) : int(column + 8.5)]
            np.testing.assert_array_equal(tile, figures.to_pixels(x[i, j]))
    assert shown.shape == (3 * 16 + 2 * 2, 4 * 16 + 3 * 2, 3)


def test_empty_places_and_images_that_do_not_fit():
    x = images(2, 3, 8, 8)
    shown = figures.show_grid([[x[0], None], [None, x[1]]]).axes[0].images[0].get_array()
    np.testing.assert_array_equal(shown[:8, :8], figures.to_pixels(x[0]))
    assert (shown[:8, 10:] == 255).all()
    assert figures.show_grid(x).axes[0].images[0].get_array().shape[0] == 8  # one row
    with pytest.raises(ValueError, match="one size"):
        figures.show_grid([[x[0], images(3, 9, 9)]])
    with pytest.raises(ValueError, match="one length"):
        figures.show_grid([[x[0]], [x[0], x[1]]])


def test_swap_figure_has_its_rows_in_order():
    x = images(4, 5, 3, 16, 16)
    for swaps, rows in (([x[2], x[3]], "swap, true swap"), ([{"a": x[2], "b": x[3]}], "a, b")):
        (ax,) = figures.swap_figure(x[0], x[1], *swaps).axes
        assert [text.get_text() for text in ax.get_yticklabels()] == ["source", "target", *rows.split(", ")]
        np.testing.assert_array_equal(ax.images[0].get_array()[36:52, :16], figures.to_pixels(x[2, 0]))


def test_curves_show_the_running_mean_and_skip_steps_without_a_value():
    step = np.arange(60)
    metrics = pd.DataFrame({"step": step * 10, "loss": 1.0 * step**2, "other": 1.0, "r1": np.nan})
    metrics.loc[::16, "r1"] = 3.0
    figure = figures.curves(metrics, ["loss", "r1"], smoothing=5, labels={"step": "training step"})
    assert labels(figure) == [("training step", "loss"), ("training step", "r1")]
    raw, mean = figure.axes[0].lines
    np.testing.assert_allclose(raw.get_ydata(), metrics.loss)
    np.testing.assert_allclose(mean.get_ydata()[2:-2], np.convolve(metrics.loss, np.ones(5) / 5, "valid"))
    np.testing.assert_array_equal(figure.axes[1].lines[1].get_xdata(), [0, 160, 320, 480])
    figure = figures.curves(metrics, {"two losses (no unit)": ["loss", "other"], "R1": ["r1"], "x": ["loss"]})
    assert len(figure.axes) == 3 and figure.axes[0].get_ylabel() == "two losses (no unit)"
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["loss", "other"]
    with pytest.raises(ValueError, match="no column"):
        figures.curves(metrics, ["los"])


def scores(seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.3, 1, 200), rng.uniform(-0.4, 0.5, 300)


def test_histograms_sum_to_one_and_name_the_auc():
    same, different = scores()
    figure = plots.cosine_histograms({"a": same, "b": same}, {"a": different, "b": different})
    assert labels(figure)[0] == ("cosine of the pair", "share of pairs")
    wins = np.mean(same[:, None] > different[None])
    assert figure.axes[1].get_title() == f"b: AUC {wins:.3f}"
    heights = [bar.get_height() for bar in figure.axes[0].containers[0]]
    assert sum(heights) == pytest.approx(1)
    assert any(bar.get_hatch() for container in figure.axes[0].containers for bar in container)
    drawn(figure)


def test_retrieval_strip_frames_what_repeats():
    x = images(4, 3, 16, 16)
    indices = {"smooth": [0, 1, 2, 3], "lumpy": torch.tensor([1, 1, 2, 1])}
    strips = {name: x[torch.as_tensor(i)] for name, i in indices.items()}
    (ax,) = plots.retrieval_strip(x[0], x[3], strips, indices).axes
    assert [text.get_text() for text in ax.get_yticklabels()] == ["smooth\n4 different", "lumpy\n2 different"]
    assert [text.get_text() for text in ax.get_xticklabels()][:3] == ["A", "r = 0.2", "r = 0.4"]
    centers = [tuple(np.round(patch.get_center())) for patch in ax.patches]
    assert centers == [(18 * 2 + 8, 18 + 8), (18 * 4 + 8, 18 + 8)]


def test_difference_maps_share_one_scale_about_zero():
    x = torch.zeros(3, 3, 8, 8)
    y = x.clone()
    y[0] += 0.5
    y[1, 1] -= 0.5
    figure = plots.difference_maps(y, x, ["up", "green down", "same"], "title", limit=0.5)
    *maps, bar = figure.axes
    maps = [ax.images[0] for ax in maps]
    assert bar.get_ylabel()
    assert all(shown.get_clim() == (-0.5, 0.5) for shown in maps)
    values = [float(shown.get_array().mean()) for shown in maps]
    np.testing.assert_allclose(values, [0.5, -0.5 * 0.7152, 0], atol=1e-6)
    drawn(figure)
    assert len(plots.difference_maps(x, x).axes) == 4  # no difference at all still has a scale


def test_signed_colors_rise_in_lightness_and_line_colors_differ_in_grey():
    colors = figures.SIGNED(np.linspace(0, 1, 65))[:, :3]
    assert (np.diff(colors @ [0.2126, 0.7152, 0.0722]) > 0).all()
    assert np.ptp(colors[32]) < 0.01  # neutral at zero
    grey = [np.dot(mpl.colors.to_rgb(color), [0.2126, 0.7152, 0.0722]) for color in figures.COLORS]
    assert all(abs(a - b) > 0.1 for a, b in pairwise(grey))
    assert len(set(figures.DASHES)) == len(set(figures.MARKERS)) == len(figures.COLORS)


def test_paper_bars_hatch_the_paper_and_leave_out_what_is_unknown():
    ours, paper = {"A": 0.3, "B": 0.5}, {"A": 0.135, "B": None, "C": 0.38}
    figure = plots.paper_bars(ours, paper, "d_smooth", "ours (quick)", {"A": (0.25, 0.36)})
    ax = figure.axes[0]
    bars = [bar for container in ax.containers[:] for bar in getattr(container, "patches", [])]
    assert [round(bar.get_height(), 3) for bar in bars] == [0.3, 0.5, 0.135, 0.38]
    assert [bool(bar.get_hatch()) for bar in bars] == [False, False, True, True]
    assert sorted(text.get_text() for text in ax.texts) == ["0.135", "0.3", "0.38", "0.5"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["A", "B", "C"]
    assert ax.get_ylabel() == "d_smooth"


def test_kernel_response_is_the_fourier_transform():
    figure = plots.kernel_response({"box": [1, 1], "FIR": [1, 3, 3, 1]})
    taps, response = figure.axes
    np.testing.assert_allclose(taps.lines[1].get_ydata(), np.array([1, 3, 3, 1]) / 8)
    f = response.lines[0].get_xdata()
    np.testing.assert_allclose(response.lines[0].get_ydata(), np.cos(np.pi * f), atol=1e-9)
    np.testing.assert_allclose(response.lines[1].get_ydata(), np.cos(np.pi * f) ** 3, atol=1e-9)
    assert all(all(pair) for pair in labels(figure))


def parts(stage):
    """The drawing's boxes: name -> (is it drawn in full, is its edge thick)."""
    (axes,) = figures.architecture(stage).axes
    boxes = [text for text in axes.texts if text.get_bbox_patch() and text.get_text()]
    full = [
        text.get_color() == "black" and text.get_bbox_patch().get_linestyle() in ("-", "solid")
        for text in boxes
    ]
    thick = [text.get_bbox_patch().get_linewidth() > 2 for text in boxes]
    return dict(zip(figures.PARTS, zip(full, thick, strict=True), strict=True))


def test_the_architecture_grows_and_marks_what_is_new():
    for before, stage in pairwise(figures.STAGES):
        known = {name for name, (full, _) in parts(before).items() if full}
        now = {name for name, (full, _) in parts(stage).items() if full}
        thick = {name for name, (_, edge) in parts(stage).items() if edge}
        assert known <= now and now - known <= thick <= now, "no part is lost, a new one has a thick edge"
    known = {name for name, (full, _) in parts("embedder").items() if full}
    assert known == {"source", "embed", "z", "contrast"}
    assert all(full for full, _ in parts("training").values())
    assert {name for name, (_, thick) in parts("training").items() if thick} == {"generate", "judge"}
    with pytest.raises(ValueError, match="no stage is called 'unet'; .* embedder, .* training"):
        figures.architecture("unet")


@pytest.mark.parametrize("stage", figures.STAGES)
def test_the_parts_of_the_architecture_stand_apart_and_inside(stage):
    figure = figures.architecture(stage)
    drawn(figure)
    texts = [text for text in figure.axes[0].texts if text.get_text()]
    boxes = [(text.get_bbox_patch() or text).get_window_extent() for text in texts]
    assert all(figure.bbox.count_contains(box.corners()) == 4 for box in boxes)
    assert all(box.count_overlaps(boxes) == 1 for box in boxes), "only with itself"


def test_no_arrow_of_the_architecture_is_cut_from_a_part():
    """Each arrow begins and ends at a part; gradients run against arrows, down to what is trained."""
    arrows, gradients = (
        {tuple(key.split("-")) for key in keys.split()} for keys in (figures.ARROWS, figures.GRADIENTS)
    )
    assert {name for arrow in arrows | gradients for name in arrow} == set(figures.PARTS)
    assert {begin for begin, _ in gradients} - {end for _, end in gradients} == {"id", "chg", "adv", "dis"}
    forward = {(end, begin) for begin, end in arrows} | {("swap", "generate")}  # over the plus sign
    assert gradients <= forward
