"""So that `python -m flows.cli` is the command line, too."""

from flows.cli import main

if __name__ == "__main__":
    main()
