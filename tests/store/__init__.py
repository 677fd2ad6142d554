"""Tests of the storage engine below its tables."""
