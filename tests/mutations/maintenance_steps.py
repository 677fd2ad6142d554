"""The registry binding: flush, compact and vacuum."""

from __future__ import annotations

__all__ = ["MUTATIONS"]

from tests.mutations.mutation import Mutation

_FLUSH = "protocol/test_registry_flush.py"
_FILES = "protocol/test_registry_counterexamples_files.py"
_LOCKS = "protocol/test_registry_locks.py"
_BETWEEN = f"{_FLUSH}::test_rows_that_change_between_the_phases"

_FREE = 'unittest.mock").mock.patch.object(table.sql, "try_big_lock", lambda _: True)'

FLUSH = (
    Mutation(
        "a flush holds D's EXCLUSIVE lock in its second phase",
        "maintain/flush.py",
        "            with table.exclusive() as held:",
        f'            with __import__("{_FREE}, table.exclusive() as held:',
        (f"{_FILES}::test_13_writer_that_waited_sees_the_new_manifest",),
        "flush",
        models=("flush locks its second phase",),
    ),
    Mutation(
        "writers do not wait for a flush's first phase",
        "maintain/flush.py",
        """                staged = _stage(table, state)
                with table.exclusive() as held:
                    return""",
        """                with table.exclusive() as held:
                    staged = _stage(table, state)
                    return""",
        (f"{_FLUSH}::test_writers_do_not_wait_for_the_first_phase",),
        "postgresql and insert",
    ),
    Mutation(
        "a flush moves only rows that are unchanged",
        "maintain/flush.py",
        "if _same(now.rows.get(key), row) and",
        "if key in now.rows and",
        (_BETWEEN,),
        models=("flush compares rows",),
    ),
    Mutation(
        "a flush leaves rows with a new tombstone",
        "maintain/flush.py",
        "and (key not in now.tombstones or key in stay)",
        "",
        (_BETWEEN,),
        models=("flush heeds new tombstones",),
    ),
    Mutation(
        "a flush hides the rows that have changed",
        "maintain/flush.py",
        "    hits.update(_hidden(base, table, staged, [key for key in before.rows if key not in kept]))",
        "    pass",
        (_BETWEEN,),
        models=("flush hides what has changed",),
    ),
    Mutation(
        "a flush folds only tombstones that are the same",
        "maintain/flush.py",
        "if now.tombstones.get(key) == stamp]",
        "if key in now.tombstones]",
        (f"{_FLUSH}::test_tombstone_with_a_new_stamp",),
    ),
    Mutation(
        "a flush folds its tombstones",
        "maintain/flush.py",
        "    folded = [key for key, stamp in before.tombstones.items() if now.tombstones.get(key) == stamp]",
        "    folded = []",
        (f"{_FLUSH}::test_writers_do_not_wait_for_the_first_phase",),
    ),
    Mutation(
        "a flush builds on the manifest of its second phase",
        "maintain/flush.py",
        "base = load_base(table.volume, table.spec, now.manifest)",
        "base = load_base(table.volume, table.spec, before.manifest)",
        (f"{_FLUSH}::test_writers_do_not_wait_for_the_first_phase",),
        "bulk",
        models=("flush builds on the current manifest",),
    ),
    Mutation(
        "a flush clears exactly what it moved",
        "maintain/flush.py",
        "    held.clear(moved, folded)",
        "    held.clear(list(before.rows), folded)",
        (_BETWEEN,),
        models=("flush clears what it moved",),
    ),
    Mutation(
        "a flush finds the rows of its tombstones anew",
        "maintain/flush.py",
        "base.matching(table.spec.primary_key, key_table(table.spec, folded), table.spec.primary_key)",
        "load_base(table.volume, table.spec, before.manifest).matching("
        "table.spec.primary_key, key_table(table.spec, folded), table.spec.primary_key)",
        (f"{_LOCKS}::test_fold_beside_a_compaction",),
        models=("flush finds positions anew",),
    ),
    Mutation(
        "files that do not fit the partitions are staged again",
        "maintain/flush.py",
        "        except StaleStageError:",
        "        except NotImplementedError:",
        (f"{_LOCKS}::test_flush_beside_a_split",),
    ),
)

COMPACT = (
    Mutation(
        "a compaction holds D's EXCLUSIVE lock for its swap",
        "butler/delta.py",
        "        with self.exclusive() as held:\n            now = held.current()",
        f'        with __import__("{_FREE.replace("table.", "self.")}, self.exclusive() as held:\n'
        "            now = held.current()",
        (f"{_LOCKS}::test_compaction_does_not_make_a_bulk_write_fail",),
        models=("compact locks its swap",),
    ),
    Mutation(
        "maintenance starts over if a vacuum took what others have superseded",
        "store/table.py",
        "        if table.current().manifest == manifest:\n            raise",
        "        raise",
        (f"{_LOCKS}::test_maintenance_whose_files_vacuum_took_starts_over",),
        "sqlite",
    ),
    Mutation(
        "a compaction starts over if its files have changed",
        "maintain/compact.py",
        "if any(files.pop(file.path, None) != file for file in merge.files)",
        "if any(files.pop(file.path, None) is None for file in merge.files)",
        (f"{_LOCKS}::test_delete_beside_a_compaction",),
        models=("compact compares the files",),
    ),
    Mutation(
        "a compaction compares exactly the files that it merges",
        "maintain/compact.py",
        "!= file for file in merge.files)",
        "!= file for file in merge.partition.files)",
        (f"{_LOCKS}::test_delete_beside_a_merge_of_other_files",),
    ),
    Mutation(
        "a compaction leaves the other files of its partition",
        "maintain/compact.py",
        "(*new[0].files, *files.values())",
        "new[0].files",
        (
            f"{_LOCKS}::test_delete_beside_a_merge_of_other_files",
            f"{_LOCKS}::test_compaction_beside_new_files",
        ),
    ),
    Mutation(
        "a compaction looks whether its files are there",
        "butler/delta.py",
        "if not is_intact(self.volume, staged, now.fence != fence):",
        "if False:",
        (f"{_LOCKS}::test_compaction_stalled_while_vacuum_runs",),
        models=("compact looks for its files",),
    ),
)

VACUUM = (
    Mutation(
        "a vacuum raises the fence",
        "maintain/vacuum.py",
        "        table.raise_fence()",
        "        pass",
        (f"{_FILES}::test_8_flush_stalled_while_vacuum_runs",),
        models=("vacuum raises the fence",),
    ),
    Mutation(
        "the fence is raised before anything is deleted",
        "butler/sql.py",
        "SET fence = fence + 1 WHERE",
        "SET fence = fence WHERE",
        (f"{_FILES}::test_8_flush_stalled_while_vacuum_runs",),
    ),
    Mutation(
        "a flush heeds the fence",
        "maintain/flush.py",
        "is_intact(table.volume, staged, now.fence != before.fence)",
        "is_intact(table.volume, staged, False)",
        (f"{_FILES}::test_8_flush_stalled_while_vacuum_runs",),
        models=("flush heeds the fence",),
    ),
    Mutation(
        "files older than half the retention are looked for",
        "store/table.py",
        "if not passed and clock.monotonic() - staged.at < volume.options.retention / 2:",
        "if not passed:",
        (f"{_FLUSH}::test_staged_files_that_are_gone_are_written_again",),
        models=("flush heeds half the retention",),
    ),
    Mutation(
        "a flush looks whether its files are there",
        "store/table.py",
        "return all(size is not None for size in sizes)",
        "return True",
        (f"{_FILES}::test_8_flush_stalled_while_vacuum_runs",),
        models=("flush looks for its files",),
    ),
    Mutation(
        "a vacuum lists before it raises the fence",
        "maintain/vacuum.py",
        """            with table.exclusive() as held:
                current""",
        """            with table.exclusive() as held:
                listing = _ours(volume.store.list(names.table_folder(table.name)))
                old = {path: info for path, info in listing.items() if info.modified < cutoff}
                current""",
        (f"{_LOCKS}::test_flush_begins_between_the_fence_and_the_deletion",),
        models=("vacuum lists before the fence",),
    ),
    Mutation(
        "a vacuum deletes under D's EXCLUSIVE lock",
        "maintain/vacuum.py",
        "            with table.exclusive() as held:",
        f'            with __import__("{_FREE}, table.exclusive() as held:',
        (f"{_LOCKS}::test_vacuum_beside_the_swap_of_a_flush",),
        models=("vacuum locks",),
    ),
    Mutation(
        "a vacuum keeps what the current manifest names",
        "maintain/vacuum.py",
        "    while name is not None:\n        kept.add(name)",
        "    while name is not None:",
        (f"{_FILES}::test_14_vacuum_beside_another_registry",),
        models=("vacuum keeps what is named",),
    ),
    Mutation(
        "a vacuum keeps what was current less than the retention ago",
        "maintain/vacuum.py",
        "        if info is not None and info.modified < cutoff:\n            break\n        name",
        "        break\n        name",
        ("protocol/test_hazards.py::test_reader_whose_files_were_superseded_a_moment_ago",),
    ),
    Mutation(
        "a vacuum keeps what is younger than the retention",
        "maintain/vacuum.py",
        "    old = {path: info for path, info in listing.items() if info.modified < cutoff}\n    if old and",
        "    old = dict(listing)\n    if old and",
        ("protocol/test_hazards.py::test_vacuum_beside_an_append_that_is_not_committed",),
        "registry",
    ),
    Mutation(
        "a vacuum goes by the store's clock",
        "maintain/vacuum.py",
        "    cutoff = volume.store.now() - timedelta(seconds=retention)\n    freed",
        '    now = __import__("arrowopaque.clock").clock.now()\n'
        "    cutoff = now - timedelta(seconds=retention)\n    freed",
        ("protocol/test_hazards.py::test_vacuum_uses_the_clock_of_the_store",),
        "registry",
    ),
    Mutation(
        "each registry has a root of its own",
        "butler/catalog.py",
        """return f"{base.rstrip('/')}/{id}\"""",
        """return f"{base.rstrip('/')}/shared\"""",
        (f"{_FILES}::test_14_vacuum_beside_another_registry",),
    ),
)

MUTATIONS = (*FLUSH, *COMPACT, *VACUUM)
