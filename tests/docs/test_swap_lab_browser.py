"""The book's swap lab in headless Chromium: its swaps are PyTorch's, a reader's picture stays and is marked.

Skipped where there is no Chromium, and where the lab could not be built.
"""

import base64
import io
import re

import chromium
import lab_faces
import numpy as np
import pytest
import swap_lab
import torch
from chromium import NARROW, WIDE, check_width, errors, resize, until
from PIL import Image

from smoothswap_lib import figures, load_embedder, load_generator
from smoothswap_lib.checkpoints import read_metadata, weights_path
from smoothswap_lib.datasets import TrueSwap
from smoothswap_lib.lab import watermark
from smoothswap_lib.smoothness import slerp

pytestmark = chromium.MARKS
PAGE = "docs/swap_lab.html"
RIGHT, END, ENTER = "\ue014", "\ue010", "\ue007"  # keys, as WebDriver names them
STATE = "return document.getElementById('swap-lab').dataset.state"
DRAWN = "return document.getElementById('swap-lab').dataset.drawn"
SHOWN = "return [...document.querySelectorAll('#lab-pairs [data-kind={}]')].map(c => c.toDataURL())"
LOADED = "return performance.getEntriesByType('resource').map(e => e.name)"
# What becomes of a request: a page without a policy sends each of the two.
FETCHED = "return fetch(arguments[0], {mode: 'no-cors'}).then(() => 'sent', () => 'refused')"
PICTURED = """
const done = arguments[1], image = new Image();
Object.assign(image, {onload: () => done('sent'), onerror: () => done('refused'), src: arguments[0]});
"""
STILL = "return document.querySelector('#swap-lab-still img').getClientRects().length > 0"


@pytest.fixture(scope="module")
def place(site):
    """The site, if it has the lab."""
    if not (site / "_static" / "lab" / "faces.js").is_file():
        pytest.skip(f"the lab was not built, because {swap_lab.built()[1]}")
    return site


@pytest.fixture(scope="module")
def address(place):
    """The site under a path of its own, as on GitHub Pages."""
    with chromium.served(place.parent) as root:
        yield f"{root}/{place.name}/{PAGE}"


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with chromium.offline(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture(scope="module")
def networks():
    told = read_metadata(weights_path("swapper"))
    return load_generator(), load_embedder(told["embedder"])


@pytest.fixture(scope="module")
def cast(networks):
    return lab_faces.draw_cast(TrueSwap("test", size=networks[0].size))


def show(driver, address):
    """Open the lab and wait until it is ready."""
    driver.get(address)
    until(lambda: driver.execute_script(STATE), "the lab")
    assert driver.execute_script(STATE) == "ready", driver.find_element("id", "lab-status").text


def bring(driver, path):
    """Choose a picture of one's own."""
    driver.find_element("id", "lab-file").send_keys(str(path))
    until(lambda: driver.find_element("id", "lab-crop").is_displayed(), "the box")


def focused(driver):
    return driver.switch_to.active_element.get_attribute("id")


def after(driver, act):
    """Do something, and wait until the swaps that it asks for are drawn."""
    before = driver.execute_script(DRAWN)
    act()
    until(lambda: driver.execute_script(DRAWN) != before, "swaps")


def shown(driver, kind):
    """Pixels of the six pictures of that kind, (6, H, W, 3) uint8."""
    urls = driver.execute_script(SHOWN.format(kind))
    files = [io.BytesIO(base64.b64decode(url.split(",")[1])) for url in urls]
    return np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])


@torch.inference_mode()
def swapped(networks, z, x_target):
    """What PyTorch makes of it: (6, H, W, 3) uint8."""
    swaps = networks[0](x_target, z.expand(len(x_target), -1))
    return np.stack([figures.to_pixels(x) for x in swaps])


def largest(a, b):
    return np.abs(a.astype(int) - b).max()


def test_swaps_and_the_walk_are_pytorchs(driver, address, networks, cast):
    show(driver, address)
    with torch.inference_mode():
        z_a, z_c = networks[1](cast.x_source[[0, 2]])
    assert largest(shown(driver, "swap"), swapped(networks, z_a, cast.x_target)) <= 1
    for kind, x in (("true", cast.x_true), ("bucket", cast.x_bucket)):
        assert largest(shown(driver, kind), np.stack([figures.to_pixels(y) for y in x[0]])) == 0
    assert not driver.execute_script(STILL), "the still picture makes room"
    # by keys alone: half-way to the next person
    source_b = driver.find_elements("css selector", "#lab-b input")[1]
    after(driver, lambda: source_b.send_keys(RIGHT))
    ratio = driver.find_element("id", "lab-ratio")
    driver.execute_script("arguments[0].value = 49", ratio)
    after(driver, lambda: ratio.send_keys(RIGHT))
    assert ratio.get_attribute("aria-valuetext") == "50 % from person 1 to person 3"
    middle = swapped(networks, slerp(z_a, z_c, 0.5), cast.x_target)
    assert largest(shown(driver, "swap"), middle) <= 1
    named = driver.find_element("css selector", "[data-kind=true]").get_attribute("aria-label")
    assert named == "true swap: none"
    after(driver, lambda: ratio.send_keys(END))
    true = np.stack([figures.to_pixels(x) for x in cast.x_true[2]])
    assert largest(shown(driver, "true"), true) == 0, "at the other end the truth is known again"
    assert errors(driver) == []


def test_a_readers_picture_stays_in_the_page_and_its_swaps_are_marked(driver, address, tmp_path, cast):
    show(driver, address)
    photo = figures.to_pixels(cast.x_true[4, 3]).repeat(4, 0).repeat(4, 1)
    Image.fromarray(np.pad(photo, ((0, 0), (100, 60), (0, 0)))).save(tmp_path / "me.png")
    before = driver.execute_script(LOADED)
    bring(driver, tmp_path / "me.png")
    after(driver, driver.find_element("id", "lab-as-source").click)
    canvas = driver.find_element("id", "lab-photo")
    boxed = "return ['lab-left', 'lab-side'].map(id => Number(document.getElementById(id).value))"
    left, side = driver.execute_script(boxed)
    assert abs(left - 0.5) < 0.01 and side == 1
    move = chromium.drag(driver, canvas, (0, 0), (15, 0))  # 416 pixels are shown as 320: 20 of them
    after(driver, move.perform)
    assert abs(driver.execute_script(boxed)[0] - 100 / 160) < 0.02, "the box is on the face"
    marked = shown(driver, "swap")
    assert marked.shape[1:] == (256, 256, 3)
    for picture in marked:
        assert watermark.is_marked(picture), "hidden in the pixels"
        assert (picture[-40:] > 200).mean() > 0.05 and (picture[-40:] < 30).mean() > 0.4, "the word is seen"
    assert driver.execute_script(LOADED) == before, "nothing was asked for, and so nothing was sent"
    with chromium.served(tmp_path) as elsewhere:
        assert driver.execute_script(FETCHED, f"{elsewhere}/me.png") == "refused"
        assert driver.execute_async_script(PICTURED, f"{elsewhere}/me.png") == "refused"
        errors(driver)  # of the refused requests
        driver.get(f"{address.removesuffix(PAGE)}index.html")
        assert driver.execute_script(FETCHED, f"{elsewhere}/me.png") == "sent", "it was the policy"
        assert driver.execute_async_script(PICTURED, f"{elsewhere}/me.png") == "sent", "it was the policy"


def test_by_keys_the_focus_outlives_the_buttons_that_go(driver, address, place):
    graphics = "Object.defineProperty(navigator, 'gpu', {value: {requestAdapter: async () => ({})}})"
    added = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": graphics})
    show(driver, address)
    driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    bring(driver, place / "_images" / "swaps.png")
    after(driver, lambda: driver.find_element("id", "lab-as-source").send_keys(ENTER))
    assert shown(driver, "swap").shape[1] == 256, "marked"
    after(driver, lambda: driver.find_element("id", "lab-remove").send_keys(ENTER))
    assert focused(driver) == "lab-file"
    assert shown(driver, "swap").shape == shown(driver, "target").shape, "without it nothing is marked"
    button = driver.find_element("id", "lab-gpu")
    until(button.is_displayed, "the offer")
    button.send_keys(ENTER)
    assert focused(driver) == "lab-ratio"
    status = driver.find_element("id", "lab-status")
    until(lambda: status.text.startswith("The graphics processor cannot be used ("), "the lab to give up")
    after(driver, lambda: driver.find_element("id", "lab-ratio").send_keys(RIGHT))


def test_with_everything_open_it_fits_a_phone_and_a_laptop(driver, address, place):
    show(driver, address)
    bring(driver, place / "_images" / "swaps.png")
    after(driver, driver.find_element("id", "lab-as-source").click)
    driver.find_element("css selector", "#lab-quiz [data-kind=bucket]").click()
    for size in (NARROW, WIDE):
        resize(driver, size)
        check_width(driver, size)
    assert errors(driver) == []


def test_the_books_search_works_from_here_too(driver, address):
    show(driver, address)
    search = "document.querySelector('form.bd-search').elements.q.value = 'Slerp';"
    driver.execute_script(f"{search} document.querySelector('form.bd-search').submit()")
    until(lambda: driver.current_url.endswith("search.html?q=Slerp"), "the search")


def test_the_quiz_counts_and_tells(driver, address):
    show(driver, address)
    for asked in (1, 2):
        right = driver.find_element("css selector", "#lab-quiz [data-kind=true]")
        assert re.fullmatch("picture [123]", right.accessible_name)
        right.send_keys(ENTER)
        assert driver.find_element("id", "lab-verdict").text.startswith("Right: picture 1 is the ")
        assert f"Score: {asked} of {asked}." in driver.find_element("id", "lab-score").text
        driver.find_element("css selector", "#lab-quiz [data-kind=swap]").click()
        assert f"Score: {asked} of {asked}." in driver.find_element("id", "lab-score").text, "answered once"
        driver.find_element("id", "lab-next").click()
        until(lambda: driver.find_element("id", "lab-verdict").text == "", "the next question")
    driver.find_element("css selector", "#lab-quiz [data-kind=bucket]").click()
    assert re.match("Wrong: .*paint bucket", driver.find_element("id", "lab-verdict").text)
    assert "Score: 2 of 3." in driver.find_element("id", "lab-score").text
    assert errors(driver) == []


def test_it_runs_from_a_disk_too(driver, place):
    show(driver, (place / PAGE).as_uri())
    assert errors(driver) == []


@pytest.mark.parametrize("without", ("WebAssembly", "JavaScript"))
def test_without_webassembly_or_javascript_a_picture_stays(driver, address, without):
    if without == "WebAssembly":
        script = {"source": "delete window.WebAssembly"}
        added = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
        driver.get(address)
        until(lambda: driver.execute_script(STATE) == "failed", "the lab to give up")
        assert "this browser has no WebAssembly" in driver.find_element("id", "lab-status").text
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    else:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        driver.get(address)
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
        assert not driver.find_element("id", "swap-lab").is_displayed()
    still = driver.find_element("css selector", "#swap-lab-still")
    kind = ".sprite-still img" if without == "JavaScript" else ".sprite-live input"
    shown = until(lambda: still.find_elements("css selector", kind), "what was drawn before")
    assert all(element.is_displayed() for element in shown) and len(shown) >= 3
    assert still.find_element("tag name", "img").is_displayed()
    assert "Where it does not run" in " ".join(still.text.split())
