"""The tables of what a team knows together.

`document`: small files, each as a whole, with a version. `shared_file` and `shared_row`: databases of which every
machine has a working copy, row by row; a row without a body was deleted. `tag`: what a registry's tags named when they
were last read, with `gone` where a reading no longer found them. `content`: manifests and configs by their digest.
Times are seconds since 1970, UTC. No row refers to another by a constraint: to check a million takes too long.
"""

from __future__ import annotations

from dregutil.store.database import Database

__all__ = ["facts"]

PARTITIONS = 16

_FACTS = """
CREATE TABLE document (
    registry TEXT NOT NULL,
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    body {bytes},
    who TEXT NOT NULL DEFAULT '',
    at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (registry, name)
);
CREATE TABLE shared_file (
    id BIGINT PRIMARY KEY,
    registry TEXT NOT NULL,
    name TEXT NOT NULL,
    version BIGINT NOT NULL DEFAULT 0,
    forgotten BIGINT NOT NULL DEFAULT 0,
    layout TEXT NOT NULL DEFAULT '',
    UNIQUE (registry, name)
);
CREATE TABLE shared_row (
    file BIGINT NOT NULL,
    part TEXT NOT NULL,
    key {bytes} NOT NULL,
    version BIGINT NOT NULL,
    body {bytes},
    PRIMARY KEY (file, part, key)
);
CREATE INDEX shared_row_version ON shared_row (file, version);
CREATE TABLE inventory (
    registry TEXT PRIMARY KEY,
    version BIGINT NOT NULL DEFAULT 0,
    read_at DOUBLE PRECISION NOT NULL DEFAULT 0,
    forgotten BIGINT NOT NULL DEFAULT 0
);
CREATE TABLE tag (
    registry TEXT NOT NULL,
    repository TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    came DOUBLE PRECISION NOT NULL,
    gone DOUBLE PRECISION,
    version BIGINT NOT NULL,
    PRIMARY KEY (registry, repository, name)
)BY_REPOSITORY;
CREATE INDEX tag_version ON tag (registry, version);
CREATE TABLE content (
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    deflated {bytes} NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (digest)
);
"""


def facts(database: Database) -> str:
    """The statements that make these tables; PostgreSQL keeps the tags in 16 parts."""
    if not database.is_postgresql:
        return _FACTS.replace("BY_REPOSITORY", "")
    return _FACTS.replace("BY_REPOSITORY", " PARTITION BY HASH (registry, repository)") + "".join(
        f"CREATE TABLE tag_{part} PARTITION OF tag FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {part});\n"
        for part in range(PARTITIONS)
    )
