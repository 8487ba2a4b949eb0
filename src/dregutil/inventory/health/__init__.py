"""What is broken in a registry, or lies in its storage and nobody needs. Reads only."""
