"""Authentication: challenges, tokens, and the logins that Docker and podman keep."""
