"""The swap lab in the book: what its page loads, and the page with or without it.

The networks run in the reader's browser, so they, their runtime and the faces lie beside the page, each as a
script that hands over compressed bytes: from a disk, too, a page may load scripts, but may not read files.
Where nothing can run, pictures that were drawn before (`sprites.py`) stand in its place.
"""

import base64
import gzip
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import web_runtime

ROOT = Path(__file__).resolve().parents[2]
EXPORT = ROOT / "experiments" / "export_onnx.py"
TEMPLATE = Path(__file__).parent / "templates" / "swap_lab.html"
PAGE = "docs/swap_lab.md"
BEGIN, END = "<!-- lab -->", "<!-- end of lab -->"
NEEDED = ("onnx", "onnxscript", "onnxruntime")
# The page may open no connection, and no picture comes from elsewhere and no form goes there (the book has a
# form: its search). What it loads are scripts beside it, and the browser holds it to that.
POLICY = """---
myst:
  html_meta:
    "http-equiv=Content-Security-Policy": "connect-src 'none'; img-src 'self' data: blob:; form-action 'self'"
---
"""


class NotBuilt(RuntimeError):
    """The lab cannot be built here; the text is the end of a sentence that begins with "because"."""


def built(cache: Path = web_runtime.CACHE) -> tuple[Path | None, str]:
    """The folder with what the page loads, made if need be, and "" or why there is none."""
    try:
        return make(cache), ""
    except (NotBuilt, web_runtime.NoRuntime) as reason:
        return None, str(reason)


def make(cache: Path) -> Path:
    """`cache`/lab, made anew when its runtime, its weights or the code here changed."""
    lacking = [name for name in NEEDED if find_spec(name) is None]
    if lacking:
        raise NotBuilt(f"it needs {', '.join(lacking)} (pip install -r requirements-book.txt)")
    web_runtime.tarball(cache)

    def write(folder: Path) -> None:
        write_networks(folder, cache / "onnx")
        write_faces(folder)
        for build in web_runtime.BUILDS:
            write_runtime(folder, build, cache)

    here = Path(__file__).parent
    code = [here / "swap_lab.py", here / "lab_faces.py", here / "web_runtime.py", EXPORT]
    return kept(cache / "lab", code, write)


def sprites(cache: Path = web_runtime.CACHE) -> Path:
    """`cache`/sprites with the pictures for pages without a kernel, made anew when need be: some seconds."""

    def write(folder: Path) -> None:
        import sprites

        sprites.write(folder)

    return kept(cache / "sprites", [Path(__file__).with_name("sprites.py")], write)


def kept(folder: Path, code: list[Path], write: Callable[[Path], None]) -> Path:
    """The folder that `write(folder)` fills, filled anew when runtime, weights, faces or code changed."""
    stamp = stamp_of(code)
    if folder.is_dir() and (folder / "stamp.txt").read_text(encoding="utf-8") == stamp:
        return folder
    fresh = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    write(fresh)
    (fresh / "stamp.txt").write_text(stamp, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    return fresh.rename(folder)


def stamp_of(code: list[Path]) -> str:
    """A hash of all that is written: the code, the weights and the faces, the runtime."""
    data = [ROOT / "data" / "SHA256SUMS", *sorted((ROOT / "data" / "checkpoints").glob("*.safetensors"))]
    parts = [hashlib.sha256(path.read_bytes()).hexdigest() for path in [*code, *data]]
    return hashlib.sha256("".join([web_runtime.SHA512, *parts]).encode()).hexdigest()


def asset(folder: Path, name: str, content: bytes) -> None:
    """Write bytes as the script `name`.js."""
    text = base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()
    (folder / f"{name}.js").write_text(f'swapLabAsset("{name}", "{text}");\n', encoding="ascii")


def write_networks(folder: Path, onnx: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXPORT), "--out", str(onnx)], capture_output=True, text=True, cwd=ROOT
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise NotBuilt(f"the networks could not be exported ({last})")
    for name in ("embedder", "generator"):
        asset(folder, name, (onnx / f"{name}.onnx").read_bytes())


def write_faces(folder: Path) -> None:
    import lab_faces

    from smoothswap_lib import load_generator
    from smoothswap_lib.datasets import TrueSwap

    test = TrueSwap("test", size=load_generator().size)
    cast = lab_faces.draw_cast(test)
    picture, _ = lab_faces.sprite(cast)
    asset(folder, "sprite", picture)
    asset(folder, "faces", json.dumps(lab_faces.facts(cast, test)).encode())


def write_runtime(folder: Path, build: str, cache: Path) -> None:
    script, start, binary = web_runtime.files(build, cache)
    (folder / f"ort-{build}.js").write_bytes(script)
    asset(folder, f"start-{build}", start)
    asset(folder, f"binary-{build}", binary)


def page(text: str, reason: str, pictures: str = "") -> str:
    """The page's Markdown: the lab before a still picture and the rest, or one sentence in its place.

    `pictures` is HTML that stands below the still picture, and like it only where no lab runs.
    """
    before, rest = text.split(BEGIN)
    still, after = rest.split(END)
    still += f"\n```{{raw}} html\n{pictures}```\n" if pictures else ""
    if reason:
        return f"{before}*The lab was not built with this book, because {reason}.*\n{still}{after}"
    lab = f"```{{raw}} html\n{TEMPLATE.read_text(encoding='utf-8')}```"
    still = f'<div id="swap-lab-still">\n{still}\n</div>'
    return f"{POLICY}{before}{lab}\n\n{still}\n{after}"


def install(html: Path, folder: Path | None, pictures: Path) -> None:
    """Put sprites and lab beside the built pages, or take away what the lab's page would have used."""
    beside = shutil.ignore_patterns("stamp.txt", "*.html")
    shutil.copytree(pictures, html / "_static" / "sprites", ignore=beside)
    out = html / "_static" / "lab"
    if folder is None:
        shutil.rmtree(out, ignore_errors=True)
    else:
        shutil.copytree(folder, out, dirs_exist_ok=True, ignore=beside)
