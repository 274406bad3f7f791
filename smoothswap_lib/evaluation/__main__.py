"""`python -m smoothswap_lib.evaluation ffpp`: see ffpp."""

from smoothswap_lib.evaluation.ffpp import main

if __name__ == "__main__":
    raise SystemExit(main())
