"""The storage engine: data files, tables, and the root binding."""
