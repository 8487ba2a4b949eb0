"""What a cleanup leaves behind for people and monitoring: a report, metrics, messages. Values → text; pure.

`model` has the values, `make` fills them from a proposal and the result of its run, and the others render them.
"""
