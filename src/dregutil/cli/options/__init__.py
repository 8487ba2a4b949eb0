"""The commands and their options: a module for each group of commands in `dregutil --help`.

Each module has a tuple of `Command`, in the order in which help lists them; `cli/parser` makes the grammar of them. A
new command is a row here and a module in `cli/commands`. `common` holds the global options, and those that several
groups share. This package only describes: it imports argparse, and no command.
"""
