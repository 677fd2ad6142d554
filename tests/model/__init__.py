"""The commit protocol, checked in every interleaving of small scenarios."""
