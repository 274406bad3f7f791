"""The swap lab in a real browser: JupyterLab under headless Chromium, a slider moved by the keyboard.

Needs Chromium and chromedriver on the path; skipped without them.
"""

import os
import re
import socket
import subprocess
import sys
import urllib.request

import chromium
import nbformat
import pytest
import run
from chromium import errors, until
from nbformat.v4 import new_code_cell, new_notebook
from pictures import png

from smoothswap_lib import figures

pytestmark = chromium.MARKS
TOKEN = "only-for-this-test"
RIGHT_ARROW = "\ue014"  # as WebDriver names the key
LAB = "from smoothswap_lib.lab import widgets\nwidgets.swap_lab()"
BROKEN = "import ipywidgets\nslider = ipywidgets.IntSlider(description='broken')\n"
BROKEN += "slider.observe(lambda change: [][0], names='value')\nslider"
# The error of a handler reaches neither the page nor the server's log: the kernel sends it as a message.
LISTEN = """
window.complaints = [];
window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.iopubMessage.connect((_, message) => {
    const stderr = message.content.name === 'stderr' && message.content.text;
    const error = message.header.msg_type === 'error' && message.content.ename;
    if (stderr || error) window.complaints.push(stderr || error);
});
"""
COMPLAINTS = "return window.complaints"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    cells = [new_code_cell(source) for source in (LAB, BROKEN)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "lab.ipynb")
    return folder


@pytest.fixture(scope="module")
def server(folder):
    """The address of a JupyterLab of its own, whose log is folder/server.log."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = folder / ".CONFIG" / "labconfig" / "page_config.json"  # no question about news over the lab
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}')
    # JupyterLab asks a new kernel for its widgets; one without ipywidgets complains, sometimes after LISTEN.
    settings = folder / "build" / "ipython" / "profile_default" / "ipython_kernel_config.py"
    settings.parent.mkdir(parents=True)
    settings.write_text("get_config().InteractiveShellApp.exec_lines = ['import ipywidgets']")
    places = {f"JUPYTER_{kind}_DIR": str(folder / f".{kind}") for kind in ("CONFIG", "DATA", "RUNTIME")}
    options = {
        "ServerApp.ip": "127.0.0.1", "ServerApp.port": port, "ServerApp.port_retries": 0,
        "ServerApp.root_dir": folder, "ServerApp.allow_root": True, "ServerApp.terminals_enabled": False,
        "IdentityProvider.token": TOKEN, "LabApp.expose_app_in_browser": True,
        "LabApp.extension_manager": "readonly",
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }  # fmt: skip
    command = [sys.executable, "-m", "jupyterlab", "--no-browser"]
    command += [f"--{name}={value}" for name, value in options.items()]
    environment = os.environ | run.isolate(folder) | places
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: process.poll() is not None or answers(f"{address}/api?token={TOKEN}"), "the server")
        assert process.poll() is None, (folder / "server.log").read_text()
        yield address
    finally:
        process.terminate()
        process.wait(20)


def answers(address):
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return direct.open(address, timeout=2).status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    driver = chromium.start(tmp_path_factory.mktemp("chromium"), "--window-size=1440,1100")
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(driver, server):
    """The notebook in JupyterLab, run, with the lab on the page."""
    driver.get(f"{server}/lab/tree/lab.ipynb?token={TOKEN}")
    kernel = "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel"
    until(lambda: driver.execute_script(f"return {kernel}?.status === 'idle'"), "the kernel")
    driver.execute_script(LISTEN)
    driver.execute_script("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    until(lambda: pictures(driver), "the first picture")
    return driver


def pictures(driver):
    """{alt text: address} of the pictures that can be seen."""
    script = (
        "return [...document.querySelectorAll('.jp-OutputArea figure img')].filter(i => i.offsetParent)"
        ".map(i => [i.alt, i.src, i.naturalWidth, i.getBoundingClientRect().right])"
    )
    found = driver.execute_script(script)
    assert all(alt and width == 64 and right < 1440 for alt, _, width, right in found)
    return {alt: address for alt, address, _, _ in found}


def press(driver, label, times=1):
    """The right arrow key on the handle of the slider with that label."""
    slider = f"//*[contains(@class,'widget-slider')][.//label[text()='{label}']]"
    handle = f"{slider}//*[contains(@class,'noUi-handle')]"
    for element in driver.find_elements("xpath", handle):
        if element.is_displayed():
            element.send_keys(RIGHT_ARROW * times)
            return
    pytest.fail(f"no slider is labelled {label}")


def open_tab(driver, title):
    tabs = "[...document.querySelectorAll('.lm-TabBar-tabLabel, .p-TabBar-tabLabel')]"
    driver.execute_script(f"return {tabs}.find(e => e.textContent === arguments[0])", title).click()


def test_a_slider_shows_another_picture_the_right_one(page, room):
    before = pictures(page)
    press(page, "source person")
    alt = "swap: test person 14 in scene 6 swapped into test person 3 in scene 0"
    after = until(lambda: alt in pictures(page) and pictures(page), "another swap")
    assert after[alt] not in before.values()
    script = (
        "const image = [...document.querySelectorAll('img')].find(i => i.alt === arguments[0]);"
        "const canvas = Object.assign(document.createElement('canvas'), {width: 64, height: 64});"
        "const context = canvas.getContext('2d'); context.drawImage(image, 0, 0);"
        "return [...context.getImageData(0, 0, 64, 64).data]"
    )
    pixels = page.execute_script(script, alt)
    expected = figures.to_pixels(room.pair((14, 6), (3, 0)).x_swap)
    seen = [pixels[i] for i in range(len(pixels)) if i % 4 < 3]
    assert max(abs(a - b) for a, b in zip(seen, expected.ravel().tolist(), strict=True)) <= 1


def test_the_way_from_a_to_b_plays_as_a_film(page):
    open_tab(page, "From A to B")
    until(lambda: any(alt.startswith("swap at r = 0.50") for alt in pictures(page)), "the tab")
    page.find_element("css selector", ".widget-play button").click()
    seen = set()
    until(
        lambda: seen.update(alt for alt in pictures(page) if alt.startswith("swap at")) or len(seen) > 3,
        "a moving face",
    )
    page.find_element("css selector", ".widget-play button").click()


def test_files_are_uploaded_swapped_and_marked(page, folder, room):
    files = {"anna.png": room.face((13, 6)), "bela.png": room.face((3, 0))}
    open_tab(page, "Your pictures")
    # The page keeps its file inputs to itself until their button is pressed.
    page.execute_script("HTMLInputElement.prototype.click = function () { document.body.append(this) }")
    for button in page.find_elements("css selector", ".widget-upload, .jupyter-widget-upload"):
        button.click()
    inputs = until(lambda: page.find_elements("css selector", "body > input[type=file]"), "the inputs")
    (folder / "notes.png").write_text("no picture")
    for name, x in files.items():
        (folder / name).write_bytes(png(figures.to_pixels(x)))
    inputs[0].send_keys(str(folder / "notes.png"))
    inputs[1].send_keys(str(folder / "bela.png"))
    alert = "return [...document.querySelectorAll('[role=alert]')].map(e => e.textContent).join()"
    until(lambda: "(notes.png) cannot be read as an image" in page.execute_script(alert), "the message")
    inputs[0].send_keys(str(folder / "anna.png"))
    keep = "return document.querySelector('a[download=\"swap.png\"]')?.href.length || 0"
    until(lambda: page.execute_script(keep) > 1000, "the marked picture")
    assert page.execute_script(alert) == ""


def test_nothing_went_wrong_on_the_way(page, folder):
    assert errors(page) == []
    assert page.execute_script(COMPLAINTS) == []
    log = (folder / "server.log").read_text()
    assert re.findall(r"^.*(?:\[E |\[C |ERROR|Traceback).*$", log, flags=re.MULTILINE) == []


def test_an_error_in_a_handler_would_have_been_seen(page):
    press(page, "broken")
    assert until(lambda: page.execute_script(COMPLAINTS), "the broken slider's error") == ["IndexError"]
