"""`python -m popgrad` is `popgrad`."""

from popgrad.cli import main

if __name__ == "__main__":
    main()
