"""What is behind digests, kept in one database on this machine for all registries.

A digest never changes its meaning.
"""
