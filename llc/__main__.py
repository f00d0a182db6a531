"""`python -m llc` is `llcoef`."""

from llc.cli.main import main

if __name__ == "__main__":
    main()
