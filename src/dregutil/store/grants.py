"""What the roles of a PostgreSQL store may do, table by table, and the SQL that makes them.

`dregutil_reader` looks at everything. `dregutil_planner` moreover records plans, and `dregutil_approver` approves them.
`dregutil_worker` carries runs out: it claims leases and records lines, which nobody may change. None of them makes or
changes tables: that is for their owner.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = ["DATABASE_GRANTS", "RIGHTS", "ROLES", "Right", "Role", "grants_sql", "needs"]


@dataclass(frozen=True, slots=True)
class Right:
    """Of one table: "INSERT", "UPDATE" or "DELETE", and of which columns; of all if none is named."""

    verb: str
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.verb} ({', '.join(self.columns)})" if self.columns else self.verb


@dataclass(frozen=True, slots=True)
class Role:
    """A role: its name, what a sentence says that it may do, and the roles whose rights it has as well."""

    name: str
    may: str
    includes: tuple[str, ...] = ()


ROLES = (
    Role("dregutil_reader", "read"),
    Role("dregutil_planner", "plan", ("dregutil_reader",)),
    Role("dregutil_approver", "approve", ("dregutil_planner",)),
    Role("dregutil_worker", "work", ("dregutil_reader",)),
)
_PLANNER, _APPROVER, _WORKER = "dregutil_planner", "dregutil_approver", "dregutil_worker"

_INSERT, _UPDATE, _DELETE = Right("INSERT"), Right("UPDATE"), Right("DELETE")
_ALL = (_INSERT, _UPDATE, _DELETE)
_LEASE = Right("UPDATE", ("fence", "holder", "until", "longest", "safe_from"))
_SHARED_LEASE = Right("UPDATE", (*_LEASE.columns, "sharers"))
_PAUSE = Right("UPDATE", ("paused", "paused_by", "pace"))
# A plan that is recorded waits: whoever records it cannot say that it is approved, or carried out.
_NEW_PLAN = Right(
    "INSERT",
    ("sum", "registry", "made", "made_by", "expires", "approvals", "tags", "steps", "policy", "body", "stays"),
)
_CARRY_OUT = Right("UPDATE", ("state", "run", "why", "holder", "until", "tries"))
# What is read of a registry, and what is held: plans rest on it. An earlier state of it can be read again.
_FACTS = {_PLANNER: _ALL, _WORKER: _ALL}

# Every table of the migrations has a row here: whoever adds a table says who may write to it. All may be read.
RIGHTS: Mapping[str, Mapping[str, tuple[Right, ...]]] = {
    "migration": {},
    "queue_step": {},
    "registry": {_APPROVER: (_INSERT, _PAUSE), _WORKER: (_INSERT, _SHARED_LEASE, _PAUSE)},
    "repository": {_WORKER: (_INSERT, _LEASE)},
    "run": {_WORKER: (_INSERT, Right("UPDATE", ("lines", "finished")), _DELETE)},
    "line": {_WORKER: (_INSERT,)},  # lines go with their run, and are never changed
    "target": {_WORKER: (_INSERT, Right("UPDATE", ("looked", "tried")))},
    "plan": {
        _PLANNER: (_NEW_PLAN,),
        _APPROVER: (Right("UPDATE", ("state", "why")),),
        _WORKER: (_NEW_PLAN, _CARRY_OUT, _DELETE),
    },
    "approval": {_APPROVER: (_INSERT, Right("UPDATE", ("at",)), _DELETE)},  # an approval can be withdrawn
    "policy_version": {_PLANNER: (_INSERT,), _WORKER: (_INSERT,)},
    "schedule": {_WORKER: (_INSERT, _UPDATE)},
    "tick": {_WORKER: _ALL},
    "worker": {_WORKER: _ALL},
    **dict.fromkeys(("document", "shared_file", "shared_row", "inventory", "tag", "content"), _FACTS),
}

_QUEUE = """\
DO $$ DECLARE name TEXT; BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'dregutil' AND left(tablename, 14) = 'procrastinate_'
    LOOP EXECUTE 'GRANT SELECT, INSERT, UPDATE, DELETE ON dregutil.' || quote_ident(name) || ' TO dregutil_worker';
    END LOOP;
END $$;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA dregutil TO dregutil_worker;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA dregutil TO dregutil_worker;"""

DATABASE_GRANTS = """\
DO $$ DECLARE
    grants TEXT := format('GRANT CONNECT ON DATABASE %1$I TO dregutil_reader; '
        'GRANT TEMPORARY ON DATABASE %1$I TO dregutil_planner, dregutil_worker', current_database());
    role TEXT;
BEGIN
    IF (SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database()) THEN
        EXECUTE grants;
        RETURN;
    END IF;
    FOREACH role IN ARRAY ARRAY['dregutil_planner', 'dregutil_worker'] LOOP
        IF NOT has_database_privilege(role, current_database(), 'CONNECT')
        OR NOT has_database_privilege(role, current_database(), 'TEMPORARY') THEN
            RAISE WARNING '% may not yet do what it must; the owner of the database has to run: %', role, grants;
        END IF;
    END LOOP;
END $$;"""
"""What the roles may do in the database itself: PostgreSQL gives it to everybody, unless somebody took it from them."""


def needs(role: str) -> Iterator[tuple[str, Right]]:
    """Each table that a role needs a right to, by its name, with those of the roles that it includes."""
    found = next(one for one in ROLES if one.name == role)
    for included in found.includes:
        yield from needs(included)
    if not found.includes:
        yield from ((table, Right("SELECT")) for table in RIGHTS)
    yield from ((table, right) for table, rights in RIGHTS.items() for right in rights.get(role, ()))


def grants_sql() -> Iterator[str]:
    """The lines of a script for psql. It may be run again: what a role may do no longer is taken from it."""
    names = ", ".join(role.name for role in ROLES)
    yield "-- The roles of dregutil's store. Run it as the owner of its tables, after each `dregutil store migrate`."
    yield "-- Then give a role to each user: CREATE ROLE nightly LOGIN IN ROLE dregutil_worker;"
    yield "BEGIN;"
    for role in ROLES:
        yield (
            f"DO $$ BEGIN CREATE ROLE {role.name} NOLOGIN; "
            "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;"
        )
    yield "REVOKE ALL ON SCHEMA dregutil FROM PUBLIC;"
    for what in ("TABLES", "SEQUENCES", "FUNCTIONS"):
        yield f"REVOKE ALL ON ALL {what} IN SCHEMA dregutil FROM PUBLIC, {names};"
    yield "GRANT USAGE ON SCHEMA dregutil TO dregutil_reader;"
    for role in ROLES:
        yield f"-- {role.name} may {role.may}."
        yield from (f"GRANT {included} TO {role.name};" for included in role.includes)
    tables = ", ".join(f"dregutil.{table}" for table in RIGHTS)
    yield f"GRANT SELECT ON {tables} TO dregutil_reader;"
    for table, rights in RIGHTS.items():
        for name, granted in rights.items():
            yield f"GRANT {', '.join(map(str, granted))} ON dregutil.{table} TO {name};"
    yield "-- The queue of the workers belongs to them; it decides nothing."
    yield _QUEUE
    yield "-- To write many rows at once takes a temporary table."
    yield DATABASE_GRANTS
    yield "COMMIT;"
