"""The commit protocol, one forced interleaving a test."""
