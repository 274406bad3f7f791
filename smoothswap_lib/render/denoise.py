"""Takes out most of a tracer's noise: Intel's Open Image Denoise, a network that sees linear colors alone.

Pixels must share no light path, so the camera's filter is a box. Depends on nothing.
"""

from functools import lru_cache

import numpy as np


def denoise(linear: np.ndarray) -> np.ndarray:
    """(H, W, 3) linear RGB -> the same, float32, without most of its noise.

    Raises
    ------
    ModuleNotFoundError
        pyoidn is not installed.
    """
    rt = _filter()
    import pyoidn

    color = np.ascontiguousarray(linear, np.float32)
    clean = np.empty_like(color)
    rt.set_image(pyoidn.OIDN_IMAGE_COLOR, color, pyoidn.OIDN_FORMAT_FLOAT3)
    rt.set_image(pyoidn.OIDN_IMAGE_OUTPUT, clean, pyoidn.OIDN_FORMAT_FLOAT3)
    rt.commit()
    rt.execute()
    return clean


@lru_cache(maxsize=1)
def _filter():
    """One filter a process, on one thread that is tied to no core: processes are the parallelism."""
    try:
        import pyoidn
    except ImportError:
        raise ModuleNotFoundError(
            "rendering needs pyoidn (Open Image Denoise): `pip install pyoidn`, or denoised=False"
        ) from None
    device = pyoidn.Device()
    device.set_int("numThreads", 1)
    device.set_bool("setAffinity", False)
    device.commit()
    rt = pyoidn.Filter(device, pyoidn.OIDN_FILTER_TYPE_RT)
    rt.set_bool("hdr", True)
    if error := device.get_error():
        raise RuntimeError(f"Open Image Denoise does not start here: {error}")
    return rt
