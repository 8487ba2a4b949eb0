"""What is in a registry, as it was read: tags, manifests, when a tag was first seen, what lost its last tag.

Reads a registry or its storage by the floors below; writes nothing but its own caches on this machine.
"""
