"""python -m gentrain ... is the same as gentrain ..."""

from .cli import main

if __name__ == "__main__":
    main()
