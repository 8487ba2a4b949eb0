"""A module for each command: it parses what is its own, calls what does the work, and hands the result to `report`."""
