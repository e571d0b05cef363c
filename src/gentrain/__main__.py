"""`python -m gentrain ...` is the same as `gentrain ...`."""

from gentrain.cli.main import main

if __name__ == "__main__":
    main()
