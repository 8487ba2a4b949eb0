"""The only room that writes to a registry: an intent on the disk, one request, a look, an outcome.

What goes and what comes back is sent from here alone, over `registry.writer`. `doctor` only asks it whether deletion is
allowed: a DELETE of a digest that nobody has.
"""
