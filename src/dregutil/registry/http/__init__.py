"""One pool of connections to a registry: retries, throttling, deadlines, certificates."""
