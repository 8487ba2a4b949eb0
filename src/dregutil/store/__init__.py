"""The shared store: what several machines know and do together, in PostgreSQL, or in a SQLite file on one machine.

Leases with fences say who may write to which repository; runs, plans and approvals are recorded here. This room writes
to its database, and to a mirror of the runs' records in the state folder. It reaches no registry.
"""
