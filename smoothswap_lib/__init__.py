"""Smooth-Swap, step by step: a thin library that rebuilds the paper and trains it.

The three names below are imported when they are first used, so that `import smoothswap_lib` stays light.
"""

_PUBLIC = ("load_embedder", "load_generator", "swap")


def __getattr__(name: str):
    if name in _PUBLIC:
        from smoothswap_lib import checkpoints

        return getattr(checkpoints, name)
    raise AttributeError(f"module 'smoothswap_lib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
