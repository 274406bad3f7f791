"""The book in a real browser: headless Chromium without any network but this machine's own.

Needs Chromium, chromedriver and the book's packages; skipped without them.
"""

import base64
import io
import re

import chromium
import numpy as np
import pytest
import sprites
from chromium import NARROW, WIDE, check_width, errors, resize, until
from PIL import Image

from smoothswap_lib import figures

pytestmark = chromium.MARKS
FOUND = "return [...document.querySelectorAll('#search-results li a')].map(e => e.getAttribute('href'))"
LAB = "notebooks/11_swap_lab.html"
RIGHT, END = "\ue014", "\ue010"  # keys, as WebDriver names them
SETTLED = """
const done = arguments[0];
const mathjax = window.MathJax?.startup?.promise ?? Promise.resolve();
const images = [...document.images].map(i => { i.loading = 'eager'; return i.decode().catch(() => 0); });
Promise.all([mathjax, document.fonts.ready, ...images]).then(() => done(true));
"""


@pytest.fixture(scope="module")
def address(site):
    with chromium.served(site) as address:
        yield address


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with chromium.offline(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


def show(driver, address, size=WIDE):
    """Open a page and wait until its formulas and pictures are there."""
    resize(driver, size)
    driver.get(address)
    driver.execute_async_script(SETTLED)


def visible(driver, by, what):
    """The first element that is shown, or None."""
    return next((element for element in driver.find_elements(by, what) if element.is_displayed()), None)


def check_pictures(driver):
    script = "return [...document.images].map(i => [i.src, i.alt, i.naturalWidth])"
    for source, alt, width in driver.execute_script(script):
        assert width > 0, f"{source} is missing"
        assert alt, f"{source} has no alt text"


def check_formulas(driver):
    bare = "[...document.querySelectorAll('.math')].filter(e => !e.querySelector('mjx-container'))"
    assert driver.execute_script(f"return {bare}.map(e => e.textContent)") == []
    wrong = "return [...document.querySelectorAll('mjx-merror, [data-mjx-error]')].map(e => e.outerHTML)"
    assert driver.execute_script(wrong) == []


def test_every_page_reads_well_on_a_laptop_and_on_a_phone(driver, address, site):
    errors(driver)
    pages = [path.relative_to(site) for path in site.rglob("*.html") if "_static" not in path.parts]
    for name in pages:
        show(driver, f"{address}/{name}")
        loaded = "return performance.getEntriesByType('resource').map(e => e.name)"
        assert [place for place in driver.execute_script(loaded) if not place.startswith(address)] == []
        check_pictures(driver)
        check_formulas(driver)
        check_width(driver, WIDE)
        resize(driver, NARROW)
        check_width(driver, NARROW)
        assert errors(driver) == [], name


def test_the_sidebars_field_searches(driver, address):
    show(driver, f"{address}/index.html")
    errors(driver)
    driver.find_element("css selector", ".bd-sidebar-primary .search-button-field").click()
    field = until(lambda: visible(driver, "name", "q"), "a field")
    field.send_keys("Slerp")
    field.submit()
    until(lambda: any("03_smoothness" in href for href in driver.execute_script(FOUND)), "a result")
    assert errors(driver) == []
    show(driver, f"{address}/search.html?q=wordthatisnowhere")
    until(lambda: "did not match" in driver.find_element("id", "search-results").text, "no result")


def test_the_dark_mode_is_switched_and_kept(driver, address):
    show(driver, f"{address}/notebooks/00_overview.html")
    color = "return getComputedStyle(document.body).backgroundColor"
    theme = "return document.documentElement.dataset.theme"
    light = driver.execute_script(color)
    visible(driver, "css selector", ".theme-switch-button").click()
    dark = ".theme-change-button[data-mode=dark]"
    until(lambda: visible(driver, "css selector", dark), "the choice of modes").click()
    assert driver.execute_script(theme) == "dark"
    show(driver, f"{address}/docs/glossary.html")
    assert driver.execute_script(theme) == "dark"
    assert driver.execute_script(color) != light
    filtered = "return [...document.images].filter(i => getComputedStyle(i).filter !== 'none').length"
    assert driver.execute_script(filtered) == 0, "colors are what the course compares"
    driver.execute_script("localStorage.clear()")


def sliders(driver):
    """Whether pair, walk and age have theirs; the boxes in the page's order."""
    return until(lambda: len(driver.find_elements("css selector", ".sprite-live")) == 3, "sliders") and (
        driver.find_elements("css selector", ".sprite")
    )


def tiles(driver, box):
    """{name of a picture that is shown: its pixels, (64, 64, 3) uint8}"""
    script = "return [...arguments[0].querySelectorAll('canvas')].map(c => [c.ariaLabel, c.toDataURL()])"
    files = {
        name: io.BytesIO(base64.b64decode(url.split(",")[1]))
        for name, url in driver.execute_script(script, box)
    }
    return {name: np.asarray(Image.open(file).convert("RGB")).astype(int) for name, file in files.items()}


def changed(before, after):
    return {name for name in after if (after[name] != before[name]).any()}


@pytest.mark.parametrize("size", (WIDE, NARROW))
def test_sliders_without_a_kernel_choose_pictures_by_mouse_and_by_keys(driver, site, room, size):
    with chromium.served(site.parent) as root:  # under a path of its own, as on GitHub Pages
        show(driver, f"{root}/{site.name}/{LAB}", size)
        errors(driver)
        pair, walk, age = sliders(driver)
        check_width(driver, size)
        outside = "e => e.getBoundingClientRect().right > innerWidth"
        assert (
            driver.execute_script(f"return [...document.querySelectorAll('.sprite *')].filter({outside})")
            == []
        )
        moves = {pair: [{"source", "swap", "true swap"}, {"target", "swap", "true swap"}]}
        moves |= {walk: [{"swap 1", "swap 2", "swap 3"}], age: [{"source", "swap", "true swap"}]}
        for box, expected in moves.items():
            said = box.find_element("css selector", "[aria-live=polite]")
            for slider, names in zip(box.find_elements("tag name", "input"), expected, strict=True):
                driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", slider)
                before, words, value = tiles(driver, box), said.text, slider.get_attribute("aria-valuetext")
                assert slider.accessible_name and value
                slider.send_keys(RIGHT)
                by_key = tiles(driver, box)
                assert changed(before, by_key) == names
                assert said.text != words and slider.get_attribute("aria-valuetext") != value
                chromium.drag(driver, slider, (0, 0), (-slider.size["width"] // 2, 0)).perform()
                assert changed(by_key, tiles(driver, box)) == names
                slider.send_keys(END)
        done, shown = room.pair(sprites.SOURCES[-1], sprites.TARGETS[-1]), tiles(driver, pair)
        for name, x in {"swap": done.x_swap, "true swap": done.x_true, "target": done.x_target}.items():
            assert np.abs(shown[name] - figures.to_pixels(x)).mean() < 6, (
                "but for the mark and the compression"
            )
        assert errors(driver) == []


@pytest.mark.parametrize("size", (WIDE, NARROW))
def test_without_javascript_the_sliders_pictures_are_shown_at_once(driver, address, size):
    resize(driver, size)
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    driver.get(f"{address}/{LAB}")
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert len(driver.find_elements("css selector", ".sprite")) == 3
    for still in driver.find_elements("css selector", ".sprite-still"):
        picture = still.find_element("tag name", "img")
        assert picture.is_displayed() and len(picture.get_attribute("alt")) > 50
        assert int(picture.get_attribute("naturalWidth")) > 0
        assert still.find_element("tag name", "p").text.startswith("With JavaScript a slider stands here")
    code = driver.find_element("css selector", "div.cell_input div.highlight")
    shades = [code.value_of_css_property(f"{part}color") for part in ("background-", "")]  # rgba(r, g, b, a)
    paper, ink = (min(map(float, re.findall(r"[\d.]+", shade)[:3])) for shade in shades)
    assert paper > 200 > 100 > ink
    check_width(driver, size)


def test_the_book_opens_as_files(driver, site):
    show(driver, (site / "notebooks" / "03_smoothness.html").as_uri())
    check_pictures(driver)
    check_formulas(driver)
    show(driver, (site / "search.html").as_uri() + "?q=Slerp")
    until(lambda: driver.execute_script(FOUND), "results")
