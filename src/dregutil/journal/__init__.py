"""The durable record of runs: written before anything is sent, read by resume, undo and the history.

Touches the state folder on this machine, and nothing else.
"""
