"""`dregutil`, and `python -m dregutil`."""

import sys


def main() -> None:
    """Run the command line. Completion in a shell needs an answer before the rest could be imported."""
    if sys.argv[1:2] == ["__complete"] and len(sys.argv) > 3:
        from dregutil.complete import main as complete

        complete(sys.argv[2:])
    else:
        from dregutil.cli import main as run

        run()


if __name__ == "__main__":
    main()
