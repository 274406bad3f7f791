"""The swap lab of the book in headless Chromium: seconds to the first swap, milliseconds for six swaps.

    make book
    python tests/benchmarks/bench_swap_lab.py [--repeats 5] [--book build/book/html] [--out FILE]

A fresh browser opens the page from a plain file server, as often as --repeats says; on the last page a key
moves the source toward another, which asks for six swaps. Networks, pictures and runtime come from the page's
own files.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from measuring import parser_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))
import chromium

RIGHT = "\ue014"
FIRST = "return performance.getEntriesByName('swap-lab-first')[0].startTime"
TOLD = "return document.getElementById('swap-lab').dataset.{}"


def waited(driver, name, wanted):
    """Seconds until the lab's attribute `name` fulfils `wanted`."""
    start = time.perf_counter()
    while not wanted(driver.execute_script(TOLD.format(name))):
        if time.perf_counter() - start > chromium.SECONDS:
            raise TimeoutError(f"the lab's {name} did not change")
        time.sleep(0.005)
    return time.perf_counter() - start


def first_swaps(address):
    """A fresh browser, the page, and the seconds to the first swap; the caller quits the browser."""
    driver = chromium.start(tempfile.mkdtemp(), chromium.NO_NETWORK)
    driver.get(address)
    waited(driver, "drawn", lambda told: told and int(told) > 0)
    return driver, driver.execute_script(FIRST) / 1000


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--book", type=Path, default=Path("build/book/html"))
    options = parser.parse_args()
    with chromium.served(options.book) as root:
        opened = []
        for repeat in range(options.repeats):
            driver, seconds = first_swaps(f"{root}/docs/swap_lab.html")
            opened.append(seconds)
            if repeat < options.repeats - 1:
                driver.quit()
        slider = driver.find_element("css selector", "#lab-ratio")
        six = []
        for _ in range(options.repeats):
            before = driver.execute_script(TOLD.format("drawn"))
            slider.send_keys(RIGHT)
            six.append(1000 * waited(driver, "drawn", lambda told, before=before: told != before))
        driver.quit()
    found = {"first swap, s": statistics.median(opened), "six swaps, ms": statistics.median(six)}
    print("  ".join(f"{name} {value:.2f}" for name, value in found.items()))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
