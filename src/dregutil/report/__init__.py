"""Results as text, tables and data. Pure, except `terminal` and `progress`, which write to standard error."""
