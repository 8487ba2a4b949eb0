"""The durable record of runs: written before a request is sent, read by resume, undo and the history.

`lines` is the format of a run's journal, `writer` and `reader` write and read it, `record` is what was read. `store`
has all runs, `history` answers questions about them. Touches the state folder and the content database of this machine,
and no registry.
"""
