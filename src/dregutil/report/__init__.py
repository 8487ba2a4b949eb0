"""What was found and done, as text, tables and data."""
