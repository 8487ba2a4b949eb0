"""A removal as a value: its steps in a safe order, what it frees and what it costs.

Pure but for `live`, `besides` and `file`: these read a registry, a storage,
a plan's file. Nothing here writes to a registry.
"""
