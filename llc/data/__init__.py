"""Examples that stay where they lie, in files or behind sources of records."""
