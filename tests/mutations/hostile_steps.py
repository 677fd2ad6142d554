"""The guards against a store that was made to do harm, and the lock-down of queries."""

from __future__ import annotations

__all__ = ["MUTATIONS"]

from tests.mutations.mutation import Mutation

_PARQUET = "hostile/test_parquet.py"
_EXPANSION = "hostile/test_expansion.py"
_DOCUMENTS = "hostile/test_documents.py"
_PATHS = "hostile/test_paths.py"
_NAMES = "hostile/test_names.py"
_NAN = "store/test_nan.py"
_FILES = "query/test_files.py"

_GUARDS = (
    Mutation(
        "hostile: a document's size is bounded before it is read",
        "store/volume.py",
        "        data = self.store.get(name, TableManifest.max_bytes)",
        "        data = self.store.get(name)",
        (f"{_DOCUMENTS}::test_what_is_too_long_is_not_read",),
    ),
    Mutation(
        "hostile: a long footer is counted before it is parsed",
        "store/footer.py",
        "            _check_values(tail)",
        "            pass",
        (f"{_PARQUET}::test_a_dense_footer_is_not_parsed",),
    ),
    Mutation(
        "hostile: the depth of JSON is bounded",
        "format/document.py",
        "    if deep > limits.DOCUMENT_DEPTH:",
        "    if False:",
        (_DOCUMENTS,),
    ),
    Mutation(
        "hostile: no path climbs out of the root",
        "format/names.py",
        '        or any(part in ("", ".", "..") for part in parts)\n',
        "",
        (_PATHS,),
    ),
    Mutation(
        "hostile: no symbolic link leads out of the root",
        "objects/local.py",
        "        if not os.path.realpath(plain).startswith(self._inside):",
        "        if False:",
        (_PATHS,),
    ),
    Mutation(
        "hostile: a file has the columns of its table",
        "store/footer.py",
        "        if found != wanted:",
        "        if False:",
        (f"{_PARQUET}::test_other_columns",),
    ),
    Mutation(
        "hostile: the rows of a row group are bounded",
        "store/footer.py",
        " <= rows <= limits.GROUP_ROWS:",
        " <= rows:",
        (f"{_PARQUET}::test_bounds_on_groups_rows_and_bytes",),
    ),
    Mutation(
        "hostile: the bytes of a column chunk are bounded",
        "store/footer.py",
        "            if not 0 <= expanded <= limits.CHUNK_BYTES:",
        "            if False:",
        (f"{_PARQUET}::test_a_bomb",),
    ),
    Mutation(
        "hostile: what a column chunk decodes to is bounded",
        "store/decoding.py",
        "            if size > limits.CHUNK_BYTES:",
        "            if False:",
        (f"{_EXPANSION}::test_a_value_for_every_row",),
    ),
    Mutation(
        "hostile: a column that may swell is decoded in pieces",
        "store/decoding.py",
        "file.iter_batches(max(rows, 1), ",
        "file.iter_batches(2**20, ",
        (f"{_EXPANSION}::test_it_is_decoded_piece_by_piece",),
    ),
    Mutation(
        "hostile: pages keep to what their footer says",
        "store/decoding.py",
        "            return check_pages(data, self._footer.rows(group), chunk.expanded)\n",
        "            return True\n",
        (f"{_EXPANSION}::test_a_footer_that_says_less_than_its_pages",),
    ),
    Mutation(
        "hostile: what is proved of a chunk is what Arrow decodes",
        "store/footer.py",
        "if rows and chunk.has_dictionary_page and start >= chunk.data_page_offset:",
        "if False:",
        (f"{_EXPANSION}::test_a_dictionary_behind_its_rows",),
    ),
    Mutation(
        "hostile: only encodings without references need no bound",
        "store/pages.py",
        "_VERBATIM = {0, 6}",
        "_VERBATIM = {0, 2, 6, 7, 8}",
        (f"{_EXPANSION}::test_a_value_for_every_row",),
    ),
    Mutation(
        "hostile: a key filter is compared with its digest",
        "store/filters.py",
        "            if chunk_digest(memoryview(self._data)[start:stop]) != self._digests[number]:",
        "            if False:",
        ("store/test_key_filters.py::test_altered_filter_is_refused",),
    ),
    Mutation(
        "hostile: verify compares key filters with the keys",
        "maintain/contents.py",
        "            if not found.may_hold_each(hashes_of(listed(comparable(keys)), keys.type)).all():",
        "            if False:",
        ("store/test_key_filters.py::test_a_filter_that_lies_is_found",),
    ),
    Mutation(
        "hostile: no field of a struct stands twice",
        "format/thrift.py",
        "            if number in fields or not 0 < number < _FIELDS:",
        "            if False:",
        (f"{_EXPANSION}::test_fields_that_parsers_take_differently",),
    ),
    Mutation(
        "hostile: statistics are compared with the rows",
        "maintain/contents.py",
        "                if not self._holds(group, name, rows.schema.field(name).type, ends):",
        "                if False:",
        (_PARQUET, "maintain/test_verify.py"),
    ),
    Mutation(
        "hostile: an index names the rows of its values",
        "store/search.py",
        "            if not same_values(plain(file.take(at, [column]).column(0)), values[span]):",
        "            if False:",
        (f"{_PARQUET}::test_indexes_that_lie",),
    ),
    Mutation(
        "hostile: NaN in an index is no lie",
        "store/matches.py",
        "    if pa.types.is_floating(one.type):\n        one, other = one.view",
        "    if False:\n        one, other = one.view",
        (_NAN,),
    ),
    Mutation(
        "hostile: a table's manifest is its own",
        "format/manifest.py",
        "(found is None or found.table != table):",
        "False:",
        (f"{_NAMES}::test_names_of_tables_in_a_foreign_store",),
    ),
    Mutation(
        "hostile: PostgreSQL cuts no name",
        "butler/ddl.py",
        '        if dialect == "postgresql" and len(name.encode()) > _LONGEST:',
        '        if dialect == "postgresql" and len(name) > _LONGEST:',
        (f"{_NAMES}::test_refused_names_of_tables",),
        "postgres",
    ),
    Mutation(
        "hostile: no table has the name of one of ours",
        "butler/ddl.py",
        "    if table.lower().startswith(_OURS):",
        "    if False:",
        (f"{_NAMES}::test_refused_names_of_tables",),
        "sqlite",
    ),
    Mutation(
        "hostile: Arrow takes no name for a path",
        "store/order.py",
        "    places = [str(place) for place in range(keys.num_columns)]",
        "    places = keys.column_names",
        (f"{_NAMES}::test_names_of_columns",),
        "root",
    ),
)


def _lock(step: str, old: str) -> Mutation:
    return Mutation(f"query: {step}", "query.py", old, "", (_FILES,), "nothing_else")


_LOCK = (
    Mutation(
        "query: a file is proved before DuckDB reads it",
        "query.py",
        "    for _ in ahead(ProvedFile.prove, files.values(), min(_WORKERS, unread)):",
        "    for _ in ahead(ProvedFile.prove, [], min(_WORKERS, unread)):",
        (f"{_FILES}::test_any_altered_file_is_found_at_once",),
    ),
    Mutation(
        "query: no stored secrets",
        "query.py",
        '    "allow_persistent_secrets": "false",\n',
        "",
        (f"{_FILES}::test_no_secrets_are_stored_or_listed",),
    ),
    _lock("no other file", '    "SET enable_external_access = false",\n'),
    _lock("settings are locked", '    "SET lock_configuration = true",\n'),
    _lock("no folder to spill to", '    "temp_directory": "",\n'),
)

MUTATIONS = (*_GUARDS, *_LOCK)
