"""What is behind digests, in one database on this machine for all registries: the content of a digest never changes.

`database` stores manifests and configs (`migrations` are its tables, `sums` its checksums), `read` fills it from a
registry, `known_manifests` remembers reads that decide. `search` and `disk_usage` with `measured` answer from it;
`checked` says whether a large file was checked before.
"""
