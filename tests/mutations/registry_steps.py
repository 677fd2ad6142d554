"""The registry binding: reads, small and bulk writes."""

from __future__ import annotations

__all__ = ["MUTATIONS"]

from tests.mutations.mutation import Mutation

_COUNTEREXAMPLES = "protocol/test_registry_counterexamples.py"
_FILES = "protocol/test_registry_counterexamples_files.py"
_BULK = "protocol/test_registry_bulk.py"
_LOCKS = "protocol/test_registry_locks.py"
_HELD = "protocol/test_registry_held.py"

READS = (
    Mutation(
        "D, T and C are read in one statement",
        "butler/delta.py",
        "return self.split(cursor.execute(*self.sql.read(self.name, where)).rows())",
        """first = cursor.execute(*self.sql.read(self.name, where)).rows()
        second = cursor.execute(*self.sql.read(self.name, where)).rows()
        return self.split([r for r in first if r[0] == 0] + [r for r in second if r[0] != 0])""",
        (f"{_COUNTEREXAMPLES}::test_4_reader_beside_a_commit",),
        models=("one statement",),
    ),
    Mutation(
        "a flush reads D, T and C in one statement",
        "butler/sql.py",
        'return f"{some} UNION ALL {self._tombstone_select} UNION ALL {self._catalog_select}", [table]',
        'return f"{some} UNION ALL {self._catalog_select}", [table]',
        ("protocol/test_registry_flush.py::test_rows_that_change_between_the_phases",),
        "changed",
    ),
)

SMALL = (
    Mutation(
        "a small write holds D's ROW EXCLUSIVE lock",
        "butler/postgres.py",
        'return f"LOCK TABLE {self.names.delta} IN ROW EXCLUSIVE MODE; "',
        'return ""',
        (f"{_FILES}::test_13_writer_that_waited_sees_the_new_manifest",),
        models=("small lock",),
    ),
    Mutation(
        "C and T are read in a statement after the lock",
        "butler/delta.py",
        "_, tombstones, manifest = self.split("
        "cursor.execute_several(*self.sql.state(self.name, where)).rows())",
        """statement, parameters = self.sql.state(self.name, where)
        early = cursor.execute(statement.removeprefix(self.sql.small_lock()), parameters).rows()
        cursor.execute_several(statement, parameters)
        _, tombstones, manifest = self.split(early)""",
        (f"{_FILES}::test_13_writer_that_waited_sees_the_new_manifest",),
        models=("read after the lock",),
    ),
    Mutation(
        "an insert reads C after it has waited",
        "butler/writes.py",
        """    found = cursor.execute_several(f"{insertion}; {statement}", [*values, *parameters]).rows()""",
        """    found = cursor.execute(statement, parameters).rows()
    cursor.execute(insertion, values)""",
        (f"{_FILES}::test_13_writer_that_waited_sees_the_new_manifest",),
        "insert",
    ),
    Mutation(
        "a bulk write forgets what its transaction held",
        "butler/delta.py",
        "            _held.pop(transaction, None)",
        "            pass",
        (f"{_HELD}::test_clash_with_a_bulk_write_of_the_same_transaction",),
    ),
    Mutation(
        "nothing is held that a savepoint may let go",
        "butler/delta.py",
        "if transaction is not None and not transaction.connection.in_nested_transaction():",
        "if transaction is not None:",
        (f"{_HELD}::test_clash_after_a_savepoint_let_the_lock_go",),
    ),
    Mutation(
        "tombstones are looked up where an insert finds its key in data files",
        "butler/writes.py",
        "        existing -= gone.keys()\n",
        "        pass\n",
        (f"{_HELD}::test_key_that_was_deleted_from_a_file",),
    ),
    Mutation(
        "keys are looked up in data files",
        "butler/writes.py",
        "    return base.existing(keys) - gone.keys()",
        "    return set()",
        (f"{_FILES}::test_9_two_flushes_of_the_same_rows",),
        models=("look in files",),
    ),
    Mutation(
        "unique values are looked up in data files",
        "butler/writes.py",
        "if base.files and call.has(columns):",
        "if False:",
        (f"{_COUNTEREXAMPLES}::test_2_caught_clash_on_sqlite",),
    ),
    Mutation(
        "the server itself raises a clash",
        "butler/writes.py",
        """    if isinstance(table.sql, Postgres):
        table.sql.insert(cursor, names, [row, row])""",
        "    pass",
        (f"{_COUNTEREXAMPLES}::test_2_caught_clash_on_postgres",),
        models=("server's error",),
    ),
    Mutation(
        "a failed call commits nothing on PostgreSQL",
        "butler/host.py",
        "if cursor.nested and cursor.succeeded > before:",
        "if False:",
        (f"{_BULK}::test_storage_fails_while_a_key_is_looked_up",),
    ),
    Mutation(
        "a failed call commits nothing on SQLite",
        "butler/writes.py",
        "return host.atomic(cursor) if writes > 1 else nullcontext()",
        "return host.aborting(cursor)",
        (f"{_COUNTEREXAMPLES}::test_3_replace_that_fails_in_its_second_row",),
        models=("whole calls",),
    ),
    Mutation(
        "a delete puts its tombstones first",
        "butler/writes.py",
        """        if buried:
            table.sql.bury(cursor, sorted(buried), clock.new_stamp())
        delete_delta(table, cursor, selection)""",
        """        delete_delta(table, cursor, selection)
        if buried:
            table.sql.bury(cursor, sorted(buried), clock.new_stamp())""",
        (f"{_COUNTEREXAMPLES}::test_1_row_in_a_file_deleted_beside_a_replace_of_it",),
        models=("tombstone first",),
    ),
    Mutation(
        "a replace puts tombstones",
        "butler/writes.py",
        "        if existing:\n            table.sql.bury(",
        "        if False:\n            table.sql.bury(",
        (f"{_COUNTEREXAMPLES}::test_1_row_in_a_file_deleted_beside_a_replace_of_it",),
        models=("tombstone with a replace",),
    ),
    Mutation(
        "a replace puts its tombstones first",
        "butler/writes.py",
        """        if existing:
            table.sql.bury(cursor, sorted(existing), clock.new_stamp())
        # With other unique constraints, what one row frees the next may take.
        groups = [[row] for row in call.rows] if table.spec.unique else [call.rows]
        for rows in groups:
            table.sql.insert(cursor, call.names, rows, upsert)""",
        """        groups = [[row] for row in call.rows] if table.spec.unique else [call.rows]
        for rows in groups:
            table.sql.insert(cursor, call.names, rows, upsert)
        if existing:
            table.sql.bury(cursor, sorted(existing), clock.new_stamp())""",
        (f"{_COUNTEREXAMPLES}::test_5_writers_of_tombstones_and_delta_do_not_deadlock",),
    ),
    Mutation(
        "a tombstone that another has put meanwhile is no error",
        "butler/postgres.py",
        'f"SELECT {self._column_list(names)}, %s FROM {arrays} ON CONFLICT DO NOTHING",',
        'f"SELECT {self._column_list(names)}, %s FROM {arrays}",',
        (f"{_COUNTEREXAMPLES}::test_1_row_in_a_file_deleted_beside_a_replace_of_it",),
    ),
    Mutation(
        "a delete puts tombstones in the order of keys",
        "butler/writes.py",
        "table.sql.bury(cursor, sorted(buried), clock.new_stamp())",
        "table.sql.bury(cursor, sorted(buried, reverse=True), clock.new_stamp())",
        (f"{_LOCKS}::test_tombstones_are_put_in_the_order_of_their_keys",),
    ),
    Mutation(
        "a replace puts tombstones in the order of keys",
        "butler/writes.py",
        "table.sql.bury(cursor, sorted(existing), clock.new_stamp())",
        "table.sql.bury(cursor, sorted(existing, reverse=True), clock.new_stamp())",
        (f"{_LOCKS}::test_tombstones_are_put_in_the_order_of_their_keys",),
    ),
)

BULK = (
    Mutation(
        "a bulk insert holds D's EXCLUSIVE lock",
        "butler/bulk.py",
        """            if not table.sql.try_big_lock(cursor):
                return False
            if table.spec.unique""",
        "            if table.spec.unique",
        (f"{_BULK}::test_bulk_beside_a_small_writer_goes_the_small_way",),
        "insert",
        models=("exclusive lock",),
    ),
    Mutation(
        "a bulk delete holds D's EXCLUSIVE lock",
        "butler/bulk.py",
        """    with host.atomic(cursor):
        if not table.sql.try_big_lock(cursor):
            return False
        keyed =""",
        """    with host.atomic(cursor):
        keyed =""",
        (f"{_BULK}::test_bulk_beside_a_small_writer_goes_the_small_way",),
        "delete",
    ),
    Mutation(
        "nobody waits for the EXCLUSIVE lock",
        "butler/postgres.py",
        "IN EXCLUSIVE MODE NOWAIT",
        "IN EXCLUSIVE MODE",
        (f"{_COUNTEREXAMPLES}::test_6_small_then_bulk_in_two_transactions",),
        models=("no waiting",),
    ),
    Mutation(
        "a bulk write that is refused the lock goes the small way",
        "butler/bulk.py",
        """            if not table.sql.try_big_lock(cursor):
                return False
            if""",
        """            if not table.sql.try_big_lock(cursor):
                raise ConflictError("in use")
            if""",
        (f"{_BULK}::test_bulk_beside_a_small_writer_goes_the_small_way",),
    ),
    Mutation(
        "a refused lock leaves the transaction as it was",
        "butler/postgres.py",
        'cursor.execute(f"ROLLBACK TO SAVEPOINT {self._SAVEPOINT}; RELEASE SAVEPOINT {self._SAVEPOINT}")',
        "pass",
        (f"{_COUNTEREXAMPLES}::test_6_small_then_bulk_in_two_transactions",),
    ),
    Mutation(
        "a bulk call that fails is undone by itself",
        "butler/bulk.py",
        """        with host.atomic(cursor):
            if not table.sql""",
        """        with host.aborting(cursor):
            if not table.sql""",
        (f"{_BULK}::test_storage_fails_in_a_bulk_call",),
    ),
    Mutation(
        "a bulk delete takes the rows of D",
        "butler/bulk.py",
        "            delete_delta(table, cursor, selection)\n        # A key",
        "            pass\n        # A key",
        (f"{_FILES}::test_10_bulk_delete_of_rows_in_delta_and_files",),
        models=("bulk clears the delta",),
    ),
    Mutation(
        "a bulk replace takes the rows of D",
        "butler/bulk.py",
        "    if plan.delta:",
        "    if False:",
        ("protocol/test_registry_flush.py::test_writers_do_not_wait_for_the_first_phase",),
        "replace",
    ),
    Mutation(
        "a bulk delete takes the tombstones of what it deletes",
        "butler/bulk.py",
        "tombstones=[k for k in gone if k in found]",
        "tombstones=[]",
        (f"{_FILES}::test_10_bulk_delete_of_rows_in_delta_and_files",),
    ),
    Mutation(
        "a bulk write takes the tombstones of what it writes",
        "butler/bulk.py",
        "    if plan.tombstones:",
        "    if False:",
        (f"{_FILES}::test_10_bulk_delete_of_rows_in_delta_and_files",),
        models=("bulk clears tombstones",),
    ),
    Mutation(
        "the catalog row is compared before it is swapped",
        "butler/sql.py",
        """            f"WHERE table_name = {mark} AND manifest = {mark}",
            (new, table, old or ""),""",
        """            f"WHERE table_name = {mark}",
            (new, table),""",
        (f"{_LOCKS}::test_swap_beside_one_without_the_lock",),
        models=("swap compares",),
    ),
    Mutation(
        "each table has a catalog row of its own",
        "butler/sql.py",
        """        mark = self.mark
        cursor.execute(
            f"UPDATE {self.names.catalog} SET parent""",
        """        mark = self.mark
        cursor.execute(f"UPDATE {self.names.catalog} SET fence = fence")
        cursor.execute(
            f"UPDATE {self.names.catalog} SET parent""",
        (f"{_COUNTEREXAMPLES}::test_7_bulk_into_one_table_and_flush_of_another",),
    ),
)

MUTATIONS = (*READS, *SMALL, *BULK)
