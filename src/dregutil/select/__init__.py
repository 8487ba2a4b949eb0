"""Selectors: which images are meant, by tag, version, glob, age, size or label.

Parses what users write and matches it. Pure: no I/O, no clock.
"""
