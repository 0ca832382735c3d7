"""Entry point of ``python -m aqakit``."""

from .cli import main

if __name__ == "__main__":
    main()
