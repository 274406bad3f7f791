"""What the tests in a real browser share: headless Chromium, waiting, what its console complains of."""

import functools
import http.server
import shutil
import threading
import time
from contextlib import contextmanager

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs Chromium and chromedriver on the path"),
]
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-proxy-server",
)  # fmt: skip
NO_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
WIDE, NARROW = (1440, 1000), (390, 844)  # a laptop's window and a phone's
SECONDS = 180  # that a machine with much other work may take for one step
# Elements that stick out of the window, unless a box around them scrolls.
STICKING_OUT = """
const scrolls = e => ['auto', 'scroll'].includes(getComputedStyle(e).overflowX);
const boxed = e => e.parentElement && (scrolls(e.parentElement) || boxed(e.parentElement));
const wide = e => e.getBoundingClientRect().right > innerWidth + 1 && e.getClientRects().length;
return [...document.querySelectorAll('.bd-article *')]
    .filter(e => wide(e) && !boxed(e) && !e.closest('mjx-assistive-mml'))
    .slice(0, 5).map(e => e.outerHTML.slice(0, 200));
"""


def start(profile, *flags):
    """A driver of a new Chromium, whose profile lies in the folder `profile`; the caller quits it."""
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, *flags, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(DRIVER))


@contextmanager
def offline(profile):
    """A driver whose browser reaches this machine only."""
    driver = start(profile, NO_NETWORK)
    driver.set_script_timeout(SECONDS)
    yield driver
    driver.quit()


@contextmanager
def served(folder):
    """The address under which this machine serves a folder's files."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def until(condition, what):
    """The condition's first true value."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.1)
    pytest.fail(f"waited {SECONDS} s for {what}")


def errors(driver):
    """What the console has complained of since it was asked last."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def resize(driver, size):
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == NARROW}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def check_width(driver, size):
    assert driver.execute_script("return document.documentElement.scrollWidth") <= size[0]
    assert driver.execute_script(STICKING_OUT) == []
    tiny = "return [...document.querySelectorAll('.bd-article :is(p, li, td, pre, summary)')]"
    tiny += ".filter(e => e.getClientRects().length && parseFloat(getComputedStyle(e).fontSize) < 11)"
    assert driver.execute_script(f"{tiny}.map(e => e.outerHTML.slice(0, 100))") == []


def drag(driver, element, begin, by):
    """A mouse that is pressed `begin` pixels off the element's middle, moved `by` pixels and released."""
    chains = pytest.importorskip("selenium.webdriver").ActionChains(driver)
    chains.move_to_element_with_offset(element, *begin).click_and_hold().move_by_offset(*by)
    return chains.release()
