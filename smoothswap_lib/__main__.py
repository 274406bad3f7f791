"""`python -m smoothswap_lib swap` and `verify`: see swap_cli."""

if __name__ == "__main__":
    from smoothswap_lib.swap_cli import main

    raise SystemExit(main())
