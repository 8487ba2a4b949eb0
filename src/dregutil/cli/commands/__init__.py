"""A module for each command: it parses its own arguments, calls the session, and hands the result to `report`.

A command reaches a registry only through a `Session` (`cli.opened`). It may import values from all rooms, and no
function that reads or writes a registry: `lint-imports` forbids the modules of those (pyproject.toml).
"""
