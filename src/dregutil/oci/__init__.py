"""Names, manifests, what is behind a digest and what refers to what: OCI's words, as values and pure functions.

Touches nothing: no I/O, no clock.
"""
