"""The index of images: every tag of a registry with what is known of it, and how it is searched.

`build` writes the file, in a process of its own; `index` opens it and `search` answers from it. Nothing here asks the
registry.
"""
