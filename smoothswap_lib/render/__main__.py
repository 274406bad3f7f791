"""`python -m smoothswap_lib.render build`: see build."""

from smoothswap_lib.render.build import main

if __name__ == "__main__":
    raise SystemExit(main())
