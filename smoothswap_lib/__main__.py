"""The command line of the library itself: `python -m smoothswap_lib swap|verify`, see `lab.command`."""

from smoothswap_lib.lab.command import main

if __name__ == "__main__":
    raise SystemExit(main())
