"""``python -m atop``: the same as the command ``atopdb``."""

from atop.cli import main

if __name__ == "__main__":
    main()
