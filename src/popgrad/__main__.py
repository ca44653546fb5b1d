"""Entry point of `python -m popgrad`: the command line."""

from popgrad.cli import main

if __name__ == "__main__":
    main()
