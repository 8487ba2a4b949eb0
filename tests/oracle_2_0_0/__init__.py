"""How version 2.0.0 read tags: its modules as they were, an oracle for what must not go that it kept."""
