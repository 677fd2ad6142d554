"""The root binding: the chain, rebase, vacuum."""

from __future__ import annotations

__all__ = ["MUTATIONS"]

from tests.mutations.mutation import Mutation

_COMMITS = "protocol/test_root_commits.py"
_ROOT = "protocol/test_root_counterexamples.py"
_HAZARDS = "protocol/test_hazards.py"

MUTATIONS = (
    Mutation(
        "a link is put only if its name is free",
        "store/catalog.py",
        "if self._volume.store.put_if_absent(name, data) is Put.CREATED:",
        "if self._volume.store.put(name, data) is None:",
        (f"{_COMMITS}::test_rebase",),
        "compacted or insert",
        models=("put if absent",),
    ),
    Mutation(
        "a refused put is read back",
        "store/catalog.py",
        "return Outcome.COMMITTED if stored.commit == meta.commit else Outcome.CONFLICT",
        "return Outcome.CONFLICT",
        (f"{_ROOT}::test_append_whose_reply_was_lost_is_ours",),
        models=("commit ids are compared",),
    ),
    Mutation(
        "a refused put of another's link is a conflict",
        "store/catalog.py",
        "return Outcome.COMMITTED if stored.commit == meta.commit else Outcome.CONFLICT",
        "return Outcome.COMMITTED",
        (f"{_COMMITS}::test_rebase",),
        "insert",
    ),
    Mutation(
        "a lost reply is settled by asking again",
        "store/catalog.py",
        "                last = err\n                clock.pause(clock.backoff(attempt))",
        "                raise",
        (f"{_ROOT}::test_lost_reply",),
        models=("lost replies are settled",),
    ),
    Mutation(
        "a reply that stays lost is reported as unknown",
        "store/catalog.py",
        "        raise CommitUnknownError(",
        "        raise StoreAccessError(",
        (f"{_ROOT}::test_reply_that_stays_lost_is_reported_as_unknown",),
    ),
    Mutation(
        "a rebase keeps its commit id",
        "store/catalog.py",
        "        commit=commit,\n        created",
        "        commit=clock.new_id(),\n        created",
        (f"{_COMMITS}::test_rebase_keeps_its_commit_id_and_its_files",),
    ),
    Mutation(
        "a rebase keeps its data files",
        "store/draft.py",
        "                raise StaleStageError\n            result",
        "                raise StaleStageError\n            raise StaleStageError\n            result",
        (f"{_HAZARDS}::test_lost_races_do_not_write_data_files_again",),
    ),
    Mutation(
        "every attempt names its manifest anew",
        "store/root.py",
        "manifest = draft.commit_onto(tables[name].manifest, clock.new_id())",
        "manifest = draft.commit_onto(tables[name].manifest, commit)",
        (f"{_ROOT}::test_11_vacuum_stalls_while_a_writer_commits",),
        models=("manifests are named anew",),
    ),
    Mutation(
        "a table that others wrote to is worked out anew",
        "store/draft.py",
        "if current == self._started and not self._restaged:",
        "if not self._restaged:",
        (f"{_COMMITS}::test_rebase",),
    ),
    Mutation(
        "a table whose files were staged again is worked out anew",
        "store/draft.py",
        "if current == self._started and not self._restaged:",
        "if current == self._started:",
        (f"{_ROOT}::test_11_writer_stalls_while_vacuum_runs",),
    ),
    Mutation(
        "a rebase builds on what the others committed",
        "store/root.py",
        'recover")\n        return newest\n',
        "recover\")\n        return newest.model_copy(update={'tables': head.tables})\n",
        (f"{_COMMITS}::test_rebase",),
        models=("a rebase builds on the head",),
    ),
    Mutation(
        "a rebase checks the keys that the others brought",
        "store/draft.py",
        "rivals = Base(self._volume, self.spec, without(base.manifest, known))\n        try:",
        "rivals = Base(self._volume, self.spec, None)\n        try:",
        (f"{_COMMITS}::test_rebase",),
        models=("a rebase checks keys again",),
    ),
    Mutation(
        "a rebase finds the positions of deleted rows anew",
        "store/draft.py",
        "hits = hits_of(base.matching(key, step.drop, key))\n        if step.asked",
        "hits = hits_of(self._before.matching(key, step.drop, key))\n        if step.asked",
        (f"{_COMMITS}::test_rebase",),
        models=("positions are found anew",),
    ),
    Mutation(
        "a rebased delete by value takes only what still has it",
        "store/draft.py",
        "if step.asked is None or hits.keys() <= known:",
        "if True:",
        (f"{_COMMITS}::test_rebase",),
        "value",
    ),
    Mutation(
        "a commit that cannot be published has landed",
        "store/root.py",
        "        with suppress(StoreAccessError):\n            publish(self._volume, meta)",
        "        publish(self._volume, meta)",
        (f"{_ROOT}::test_commit_that_cannot_be_published_has_landed",),
    ),
    Mutation(
        "a compaction starts over if its files were taken",
        "store/rooted.py",
        "            raise StaleStageError\n",
        "            pass\n",
        (f"{_ROOT}::test_11_compaction_stalls_while_vacuum_runs",),
        models=("a compaction starts over",),
    ),
    Mutation(
        "a vacuum puts a fence first",
        "maintain/vacuum.py",
        "fence = root.commit(lambda head, commit: dict(head.tables), fence=cutoff)",
        "fence = root.head",
        (f"{_ROOT}::test_11_writer_stalls_while_vacuum_runs",),
        models=("vacuum puts a fence",),
    ),
    Mutation(
        "a vacuum lists before its fence",
        "maintain/vacuum.py",
        "    doomed = _garbage(volume, _retained_metas(volume, fence,",
        "    everything = list(volume.store.list())\n"
        "    listing = _ours(everything)\n"
        "    modified = {info.path: info.modified for info in everything}\n"
        "    old = {path: info for path, info in listing.items() if info.modified < cutoff}\n"
        "    doomed = _garbage(volume, _retained_metas(volume, fence,",
        (f"{_ROOT}::test_11_writer_stages_after_the_fence",),
        models=("listed before the fence",),
    ),
    Mutation(
        "every later link carries the floor",
        "store/catalog.py",
        "floor=head.floor if fence is None else version,",
        "floor=0 if fence is None else version,",
        (f"{_ROOT}::test_11_writer_stalls_while_vacuum_runs",),
        models=("the floor is carried",),
    ),
    Mutation(
        "a writer below the floor stages again",
        "store/root.py",
        "if head.floor > staged_at:",
        "if False:",
        (f"{_ROOT}::test_11_writer_stalls_while_vacuum_runs",),
        models=("writers heed the floor",),
    ),
    Mutation(
        "stubs keep the commit id",
        "maintain/vacuum.py",
        'meta.model_copy(update={"stub": True, "tables": {}})',
        'meta.model_copy(update={"stub": True, "tables": {}, "commit": "0" * 32})',
        (f"{_ROOT}::test_12_lost_reply_and_others_go_on",),
        models=("stubs keep the commit id",),
    ),
    Mutation(
        "names of the chain are never freed",
        "maintain/vacuum.py",
        """        volume.store.put(
            names.chain_manifest(version), dump(meta.model_copy(update={"stub": True, "tables": {}}))
        )""",
        "        volume.store.delete([names.chain_manifest(version)])\n        dump(meta)",
        (f"{_ROOT}::test_12_lost_reply_and_others_go_on",),
        models=("names are never freed",),
    ),
    Mutation(
        "a root's vacuum keeps what is younger than the retention",
        "maintain/vacuum.py",
        "    old = {path: info for path, info in listing.items() if info.modified < cutoff}\n    if not old:",
        "    old = dict(listing)\n    if not old:",
        (f"{_HAZARDS}::test_vacuum_beside_an_append_that_is_not_committed",),
        "root",
    ),
    Mutation(
        "a root's vacuum goes by the store's clock",
        "maintain/vacuum.py",
        "    cutoff = volume.store.now() - timedelta(seconds=retention)\n    modified",
        '    now = __import__("arrowopaque.clock").clock.now()\n'
        "    cutoff = now - timedelta(seconds=retention)\n    modified",
        (f"{_HAZARDS}::test_vacuum_uses_the_clock_of_the_store",),
        "root",
    ),
)
