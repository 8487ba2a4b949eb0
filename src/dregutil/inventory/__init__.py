"""What is in a registry, as it was read: tags, manifests, the history of tags, what has no tag.

`crawl` reads all tags, `survey` reads one repository before a decision, `contents` has what is behind digests, `health`
finds what is broken. Reads a registry or its storage; writes only its own files on this machine.
"""
