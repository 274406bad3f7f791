"""The swap lab without a browser: when it can be built, and what its page says when it cannot."""

import lab_faces
import numpy as np
import pytest
import sprites
import swap_lab
import web_runtime

from smoothswap_lib import figures
from smoothswap_lib.datasets import TrueSwap
from smoothswap_lib.lab import watermark


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
    for reason in ("npm was asleep", ""):
        assert "```{raw} html\n<i></i>\n```" in swap_lab.page(text, reason, "<i></i>\n")
    whole = swap_lab.page(text, "")
    assert whole.count("<script") >= 4 and swap_lab.POLICY in whole and "images/swaps.png" in whole


def test_the_sprites_are_small_and_their_swaps_are_marked():
    folder = swap_lab.sprites()
    sheets = {path.stem: path for path in folder.glob("*.webp")}
    assert set(sheets) == {"pairs", "walk", "age"}
    assert sum(path.stat().st_size for path in sheets.values()) < 200_000
    swaps = {"pairs": (1, 3, 5), "walk": (1, 2, 3), "age": (1,)}  # rows of the sheets
    for name, path in sheets.items():
        picture = lab_faces.Image.open(path)
        assert picture.getexif()[0x010E].startswith("Synthetic")
        sheet = np.asarray(picture)
        for row in swaps[name]:
            for left in range(64, sheet.shape[1], 64):
                assert watermark.is_marked(sheet[64 * row : 64 * row + 64, left : left + 64]), (name, row)


def test_a_frame_shows_the_tiles_of_its_setting():
    faces = np.random.default_rng(0).uniform(-1, 1, (3, 2, 4, 3, 64, 64)).astype(np.float32)
    table = [[sprites.lab.Swapped(*map(sprites.torch.from_numpy, done)) for done in row] for row in faces]
    sliders = {"Source": ["a", "b", "c"], "Target": ["d", "e"]}
    sprite = sprites.with_truths("pairs", "PairTab", table, sliders, "", "")
    tiles = [tile for row in sprite.rows for tile in row]
    frame = sprite.frames[2 * 2 + 1]  # source c, target e
    assert frame["text"].startswith("Source c, target e: ")
    for place, x in ((0, table[2][0].x_source), (1, table[0][1].x_target), (3, table[2][1].x_true)):
        assert (tiles[frame["tiles"][place]] == figures.to_pixels(x)).all()


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
