"""When images were last pulled: from a registry's notifications, from access logs, and from servers that know it.

    pull         a pull as a value, and where it was recorded
    event        notifications as a registry sends them
    access_log   lines of access logs, with structured_log for JSON and logfmt, and request for what they have in common
    agents       whose pulls do not count
    tables       the file in the state folder; writer adds to it, store opens and reads it
    listener     receives notifications over HTTP
    log_files    reads files of logs, and remembers how far
    find_logs    finds the logs that a policy names
    forgotten    the gap where a shared store was restored without what was recorded
    coverage     since when everything was recorded
    evidence     the last pull of a tag, with what it refers to

`pull`, `event`, `access_log`, `structured_log`, `request`, `agents`, `coverage` and `evidence` are pure. The rest
touches the state folder, the log files that the user names, and one listening socket. Nothing here calls a registry.
"""
