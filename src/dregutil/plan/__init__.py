"""A removal as a value: its steps in a safe order, the space that it frees and the time that it takes.

Pure, except `live` and `evidence`, which read a registry, `cleanup`, which reads the content database, and `file`,
which reads and writes plan files. Nothing here writes to a registry.
"""
