"""Maintenance: flush, compact, vacuum and verify."""
