"""Names, manifests, images and the graph of what refers to what, in the terms of the OCI specifications.

Values and pure functions: no I/O, no clock.
"""
