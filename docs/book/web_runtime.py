"""Fetch the runtime that the swap lab's page runs the networks with: onnxruntime-web, one pinned version.

    python docs/book/web_runtime.py

npm's package is fetched when the book is built, kept in build/web/, and must have the hash below; a reader's
browser gets it from the book. To move to another version: `npm view onnxruntime-web dist.integrity`.
"""

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "web"
PACKAGE, VERSION = "onnxruntime-web", "1.30.0"  # MIT; its license lies in static/lab/
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
# A build of the runtime: its script, the script that starts its WebAssembly, and the WebAssembly.
BUILDS = {
    "wasm": ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    "webgpu": (
        "ort.webgpu.min.js", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm",
    ),
}  # fmt: skip
SECONDS = 300  # for 33 MB


class NoRuntime(RuntimeError):
    """The runtime cannot be had here; the text is the end of a sentence that begins with "because"."""


def tarball(cache: Path = CACHE) -> Path:
    """The package's file in `cache`, fetched if it is not there; NoRuntime if it cannot be had."""
    path = cache / f"{PACKAGE}-{VERSION}.tgz"
    if not path.is_file():
        npm = shutil.which("npm")
        if npm is None:
            raise NoRuntime(f"npm, which fetches {PACKAGE} {VERSION}, is not installed")
        cache.mkdir(parents=True, exist_ok=True)
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--fetch-retries=0", f"--pack-destination={cache}"]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=SECONDS, cwd=cache)
        except (subprocess.SubprocessError, OSError):
            raise NoRuntime(f"npm could not fetch {PACKAGE} {VERSION}") from None
    if base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode() != SHA512:
        path.unlink()
        raise NoRuntime(f"the fetched {PACKAGE} {VERSION} does not have the hash that is pinned")
    return path


def files(build: str, cache: Path = CACHE) -> list[bytes]:
    """The contents of one of BUILDS: script, starting script, WebAssembly."""
    with tarfile.open(tarball(cache)) as package:
        return [package.extractfile(f"package/dist/{name}").read() for name in BUILDS[build]]


def main() -> int:
    """Fetch it if it can be had. That it cannot is no error: the book is then built without the lab."""
    try:
        print(f"{tarball()} is there")
    except NoRuntime as reason:
        print(f"the book will have no swap lab, because {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
