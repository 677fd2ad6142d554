"""What a reader takes at most from a store, whoever wrote it.

A store may come from elsewhere. What is above a limit is refused before it is
read, and no writer makes it, so that nothing is committed that readers refuse.
Every limit leaves a billion rows, in files of a million, far behind.
"""

from __future__ import annotations

__all__ = [
    "CHUNK_BYTES",
    "COLUMNS",
    "DATA_FILE_BYTES",
    "DOCUMENT_BYTES",
    "DOCUMENT_DEPTH",
    "FILE_ROWS",
    "FILTER_BYTES",
    "FOOTER_BYTES",
    "FOOTER_UNCOUNTED",
    "FOOTER_VALUES",
    "GROUP_ROWS",
    "INTEGER",
    "MARKER_BYTES",
    "ROW_GROUPS",
    "deletes_bytes",
]

MARKER_BYTES = 2**20
"""A marker holds some options: under 1 kB."""

DOCUMENT_BYTES = 2**26
"""A billion rows in files of a million, with an index and a deletion vector
each, make a manifest of 1.5 MB. Parsed, a hostile one takes some 25 times
its bytes."""

DOCUMENT_DEPTH = 32
"""Ours nest 7 deep. A parser that recurses must not run out of stack."""

INTEGER = 2**63 - 1
"""What every format and every library here can hold."""

COLUMNS = 4_096
"""SQLite takes 2 000 columns, PostgreSQL 1 600."""

FILE_ROWS = 2**27
"""A file has a million rows by default. Few bytes can delete, or stand for,
any number of rows, so that their count bounds memory."""

DATA_FILE_BYTES = 2**34
"""A query of a remote store holds a data file in memory; a million rows of
the file datastore take 40 MB."""

FOOTER_BYTES = 2**22
"""A million rows of the file datastore have a footer of 120 kB, of a table with
200 columns one of 3.5 MB."""

FOOTER_UNCOUNTED = 2**21
"""Bytes of a footer from which it is counted before it is parsed. Parsed, a
hostile one takes some 200 times its bytes."""

FOOTER_VALUES = 2**19
"""Structs and strings of a footer, each of which may take a kilobyte when it
is parsed. A million rows of the file datastore have some 9 000."""

ROW_GROUPS = 2**15
"""A data file has 123 row groups by default; Parquet numbers them with 16
bits."""

GROUP_ROWS = 2**20
"""A row group has 8 192 rows by default. Few bytes can stand for any number of
equal rows, so that their count bounds the memory that decoding takes."""

CHUNK_BYTES = 2**29
"""Bytes of one column of one row group, decompressed, and of its strings when
they are decoded. 8 192 regions take 16 MB."""

FILTER_BYTES = 2**22
"""The filter of a row group's keys has 16 kB by default, two bytes a row."""

_CONTAINER_ROWS = 2**16
_CONTAINER_BYTES = 2**13 + 16
_HEADER_BYTES = 64


def deletes_bytes(rows: int) -> int:
    """Return the most bytes that positions in a file of ``rows`` rows take: a
    container of 8 kB, with its header, for each 65 536 rows.
    """
    return _HEADER_BYTES + -(-rows // _CONTAINER_ROWS) * _CONTAINER_BYTES
