"""The steps of a commit of receipts, and which test misses each."""

from __future__ import annotations

__all__ = ["MUTATIONS"]

from tests.mutations.mutation import Mutation

_STAGED = "protocol/test_staged_commits.py"

MUTATIONS = (
    Mutation(
        "receipts that were taken are left alone",
        "store/staging.py",
        "return [receipt for receipt in self._receipts.values() if receipt.id not in known]",
        "return list(self._receipts.values())",
        (f"{_STAGED}::test_receipts_are_taken_once", f"{_STAGED}::test_deleted_rows_stay_deleted"),
    ),
    Mutation(
        "a link lists the receipts that it has taken",
        "store/catalog.py",
        "        receipts=tuple(receipts),\n",
        "",
        (f"{_STAGED}::test_receipts_are_taken_once",),
    ),
    Mutation(
        "later links name the last that took receipts",
        "store/catalog.py",
        "taken=head.version if head.receipts else head.taken",
        "taken=head.version if head.receipts else 0",
        (f"{_STAGED}::test_receipts_are_taken_once",),
    ),
    Mutation(
        "a stub keeps its receipts",
        "maintain/vacuum.py",
        '"tables": {}}',
        '"tables": {}, "receipts": ()}',
        (f"{_STAGED}::test_receipts_are_taken_once",),
    ),
    Mutation(
        "receipts behind a fence are stored again",
        "store/staging.py",
        "        if head.floor <= receipt.at:\n            return receipt\n",
        "        return receipt\n",
        (f"{_STAGED}::test_vacuum_stalls_while_receipts_are_committed",),
    ),
    Mutation(
        "what a vacuum may be deleting is told by its age",
        "store/catalog.py",
        "else max(fence, head.swept or fence)",
        "else fence",
        (f"{_STAGED}::test_vacuum_that_takes_more_than_one_after_it",),
    ),
    Mutation(
        "later links remember how far vacuums went",
        "store/catalog.py",
        "swept=head.swept if fence is None else",
        "swept=None if fence is None else",
        (f"{_STAGED}::test_vacuum_spares_what_is_within_the_retention",),
    ),
    Mutation(
        "files are looked for behind every fence",
        "store/staging.py",
        "if table.floor != head.floor:",
        "if not table.listing:",
        (f"{_STAGED}::test_receipts_stall_at_the_commit_while_vacuum_runs",),
    ),
    Mutation(
        "receipts are compared with each other",
        "store/staging.py",
        "among=table.among)",
        "among=False)",
        (f"{_STAGED}::test_key_in_two_receipts",),
    ),
    Mutation(
        "receipts are compared with what others commit meanwhile",
        "store/staging.py",
        "without(base.manifest, table.proven)",
        "without(base.manifest, table.proven | {f.path for f in base.files if not table.among})",
        (f"{_STAGED}::test_key_that_another_commits_meanwhile",),
    ),
    Mutation(
        "ranges that touch are not disjoint",
        "store/disjoint.py",
        "least > end",
        "least >= end",
        (f"{_STAGED}::test_key_in_ranges_that_touch_or_hold_each_other",),
    ),
    Mutation(
        "a range reaches as far as the longest in it",
        "store/disjoint.py",
        "end = most if end is None else max(end, most)",
        "end = most",
        (f"{_STAGED}::test_key_in_ranges_that_touch_or_hold_each_other",),
    ),
)
