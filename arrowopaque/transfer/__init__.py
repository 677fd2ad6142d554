"""Exports: a store that holds what a repository's registry knows."""
