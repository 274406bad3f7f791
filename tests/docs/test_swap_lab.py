"""The swap lab without a browser: when it can be built, and what its page says when it cannot."""

import lab_faces
import numpy as np
import pytest
import swap_lab
import web_runtime

from smoothswap_lib import figures
from smoothswap_lib.datasets import TrueSwap


def test_a_package_with_another_hash_is_thrown_away(tmp_path):
    path = tmp_path / f"{web_runtime.PACKAGE}-{web_runtime.VERSION}.tgz"
    path.write_bytes(b"something else")
    with pytest.raises(web_runtime.NoRuntime, match="hash"):
        web_runtime.tarball(tmp_path)
    assert not path.exists()


def test_without_npm_or_without_a_network_the_reason_is_given(tmp_path, monkeypatch):
    def no_network(command, **_):
        raise web_runtime.subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(web_runtime.subprocess, "run", no_network)
    for npm, reason in (("npm", "npm could not fetch"), (None, "npm, .* is not installed")):
        monkeypatch.setattr(web_runtime.shutil, "which", lambda _, npm=npm: npm)
        with pytest.raises(web_runtime.NoRuntime, match=reason):
            web_runtime.tarball(tmp_path)


def test_the_page_says_in_one_sentence_why_there_is_no_lab():
    text = (swap_lab.ROOT / swap_lab.PAGE).read_text(encoding="utf-8")
    page = swap_lab.page(text, "npm was asleep")
    assert "\n*The lab was not built with this book, because npm was asleep.*\n" in page
    assert "images/swaps.png" in page and "<script" not in page
    whole = swap_lab.page(text, "")
    assert whole.count("<script") >= 4 and "connect-src 'none'" in whole and "images/swaps.png" in whole


def test_the_pages_people_are_different_and_the_truth_has_the_targets_scene():
    test = TrueSwap("test", size=64)
    cast = lab_faces.draw_cast(test)
    rows = cast.rows
    count = lab_faces.SOURCES + lab_faces.TARGETS
    people, scenes = test.identities[rows], test.attribute_sets[rows]
    assert len(set(people[:count])) == count
    true_people, true_scenes = (x[count:].reshape(lab_faces.SOURCES, -1) for x in (people, scenes))
    assert (true_people == people[: lab_faces.SOURCES, None]).all()
    assert (true_scenes == scenes[None, lab_faces.SOURCES : count]).all()
    picture, tiles = lab_faces.sprite(cast)
    assert tiles == count + 2 * cast.x_true[:, :, 0, 0, 0].numel()
    sheet = np.asarray(lab_faces.Image.open(lab_faces.io.BytesIO(picture)).convert("RGB"))
    assert (sheet[:64, 64:128] == figures.to_pixels(cast.x_source[1])).all(), "a tile is a test face, exactly"
