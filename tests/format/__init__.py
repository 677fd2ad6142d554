"""Tests of the on-disk format."""
