"""Flush, compact and vacuum, as ``arrowopaque/maintain`` has them."""

from __future__ import annotations

__all__ = ["Maintained"]

from collections.abc import Hashable
from typing import Any

from tests.model.clients import Missing, Steps, ask, erase_all
from tests.model.database import Row
from tests.model.registry import Arrow, Found, Manifest, State, with_hidden

_RETENTION = 2
"""In halves."""


class Maintained(Arrow):
    """A table with its maintenance; each operation ends in an open
    transaction, which its caller commits.
    """

    def flush(self) -> Steps:
        """Move the delta, in two phases."""
        before = yield from self.state()
        yield ("rollback",)
        if not before.delta and not before.tombstones:
            return
        try:
            _, rows_before = yield from self.manifest(before.manifest)
        except Missing:
            # Told to whoever flushes; nothing has been done.
            return
        at = yield ("clock",)
        staged = yield from self._stage(before)
        yield from self._second_phase(before, staged, at, rows_before)

    def _second_phase(self, before: State, staged: Hashable, at: int, rows_before: list[Found]) -> Steps:
        """Commit what did not change since the first."""
        if "flush locks its second phase" in self.has:
            yield from ask("lock", self.delta, "exclusive")
        now = yield from self.state()
        folded, moved = self._unchanged(before, now)
        if not moved and not folded:
            return
        if not (yield from self._is_intact(staged, before.fence != now.fence, at)):
            staged = yield from self._stage(before)
        old = now.manifest if "flush builds on the current manifest" in self.has else before.manifest
        files, rows = yield from self.manifest(old)
        if "flush finds positions anew" not in self.has:
            rows = rows_before
        changed = with_hidden(files, [row for row in rows if row.key in folded])
        if moved:
            changed |= {(staged, self._hidden(before, moved))}
        if (yield from self.swap(now.manifest, changed)):
            cleared = moved if "flush clears what it moved" in self.has else before.delta
            yield from erase_all(self.delta, tuple(sorted(cleared)))
            yield from erase_all(self.tombstones, tuple(sorted(folded)))

    def _stage(self, before: State) -> Steps:
        return (yield from self.put_file((k, row.value, row.unique) for k, row in before.delta.items()))

    def _unchanged(self, before: State, now: State) -> tuple[set[int], dict[int, Row]]:
        """Return the tombstones and rows that may move."""
        # Spare as long as positions are found anew: what T has is deleted, whoever put it there.
        folded = {
            key
            for key, row in before.tombstones.items()
            if key in now.tombstones and now.tombstones[key].value == row.value
        }
        moved = {
            key: row
            for key, row in before.delta.items()
            if key in now.delta
            and (now.delta[key][:2] == row[:2] or "flush compares rows" not in self.has)
            and (key not in now.tombstones or key in folded or "flush heeds new tombstones" not in self.has)
        }
        return folded, moved

    def _hidden(self, before: State, moved: dict[int, Row]) -> frozenset[int]:
        """Return the positions of the staged file that must not show."""
        if "flush hides what has changed" not in self.has:
            return frozenset()
        return frozenset(at for at, key in enumerate(sorted(before.delta)) if key not in moved)

    def _is_intact(self, staged: Hashable, passed: bool, at: int) -> Steps:
        """Return whether a staged file is there, or need not be looked for."""
        looking = passed and "flush heeds the fence" in self.has
        if "flush heeds half the retention" in self.has:
            looking = looking or (yield ("clock",)) - at >= _RETENTION / 2
        if not looking or "flush looks for its files" not in self.has:
            return True
        (found,) = yield ("get", staged)
        return found is not None

    def compact(self, keys: frozenset[int] | None = None) -> Steps:
        """Rewrite files as one, and swap if they are still the same; others
        stay beside it.

        Those that hold one of ``keys`` are rewritten, or all.
        """
        fence = (yield from self._current())[1]
        manifest, _ = yield from self._current()
        yield ("rollback",)
        try:
            files, rows = yield from self.manifest(manifest)
        except Missing:
            return
        if keys is not None:
            merged = {row.file for row in rows if row.key in keys}
            files = frozenset(entry for entry in files if entry[0] in merged)
            rows = [row for row in rows if row.file in merged]
        new = yield from self.put_file(row[:3] for row in rows)
        if "compact locks its swap" in self.has:
            yield from ask("lock", self.delta, "exclusive")
        now, fence_now = yield from self._current()
        if fence_now != fence and "compact looks for its files" in self.has:
            if (yield ("get", new)) == (None,):
                return
        files_now, _ = yield from self.manifest(now)
        merged_now = self._merged(files, files_now, new, rows)
        if merged_now is not None:
            yield from self.swap(now, merged_now)

    def _current(self) -> Steps:
        ((_, row),) = (yield from ask("select", (self.catalog,)))[0]
        return row.value

    def _merged(self, before: Manifest, now: Manifest, new: Hashable, rows: list[Found]) -> Manifest | None:
        """Return the manifest with the new file; `None`: start over."""
        if "compact compares the files" in self.has and not before <= now:
            return None
        replaced = {file for file, _ in before}
        added = frozenset(entry for entry in now if entry[0] not in replaced)
        return added | frozenset([(new, frozenset[int]())] if rows else [])

    def vacuum(self, retention: int = 0) -> Steps:
        """Free what nothing names; ``retention`` is in halves of the store's."""
        listed: frozenset[Any] = yield ("list", retention)
        if "vacuum raises the fence" in self.has:
            yield from ask("lock", self.delta, "exclusive")
            yield from ask("catalog", self.catalog, "raise")
            yield ("settle",)
        if "vacuum locks" in self.has:
            yield from ask("lock", self.delta, "exclusive")
        if "vacuum lists before the fence" not in self.has:
            listed = yield ("list", retention)
        manifest, _ = yield from self._current()
        ((_, files),) = yield from self.load(manifest)
        kept = {manifest, *(file for file, _ in files)}
        if "vacuum keeps what is named" not in self.has:
            kept = {manifest}
        yield ("free", frozenset(name for name in listed if name[0] == self.catalog) - kept)

    def pass_time(self, halves: int) -> Steps:
        """Let some of the retention go by."""
        for _ in range(halves):
            yield ("tick",)
