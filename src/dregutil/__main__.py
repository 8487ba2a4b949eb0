"""`python -m dregutil`."""

from dregutil.cli import main

if __name__ == "__main__":
    main()
