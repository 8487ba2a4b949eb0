"""The only room that writes to a registry: an intent on the disk, one request, a look, an outcome.

DELETEs and PUTs are sent from here alone, over `registry.writer`.
"""
