"""``python -m hypergene``, the same as the ``hypergene`` script."""

from hypergene.cli import main

if __name__ == "__main__":
    main()
