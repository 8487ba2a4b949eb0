"""Builds the container image of dregutil without Docker: Debian's packages and pinned wheels become an OCI layout.

`build` is the command line. Nothing here runs as root, mounts anything, or executes a program of the image but Python,
which compiles the modules.
"""
