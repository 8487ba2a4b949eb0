"""The pool of connections to a registry: retries, rate limits, deadlines, certificates."""
