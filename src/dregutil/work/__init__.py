"""`work`: a worker on a shared store. It runs commands on schedules, and carries out approved plans.

It reaches no registry: each job is a process of this program, which answers for itself. What a worker may do is decided
by rows of the store, never by the queue that hands it out.
"""
