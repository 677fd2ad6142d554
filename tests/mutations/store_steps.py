"""What both protocols ask of the object store and of caches."""

from __future__ import annotations

__all__ = ["MUTATIONS"]

from tests.mutations.mutation import Mutation

_LOCAL = "objects/test_local_store.py"
_STORES = "objects/test_object_stores.py"
_SYNCED = f"{_LOCAL}::test_data_and_names_are_synced_before_the_write_returns"
_S3 = "objects/test_s3_store.py"
_HAZARDS = "protocol/test_hazards.py"

MUTATIONS = (
    Mutation(
        "data is synced before it gets its name",
        "objects/local.py",
        "        os.fsync(file.fileno())",
        "        pass",
        (_SYNCED,),
    ),
    Mutation(
        "a name is synced before the write returns",
        "objects/local.py",
        "            os.replace(temporary, target)\n            _sync_folder(os.path.dirname(target))",
        "            os.replace(temporary, target)",
        (_SYNCED,),
    ),
    Mutation(
        "a link's name is synced before the write returns",
        "objects/local.py",
        """            created = self._link(temporary, target)
            _sync_folder(os.path.dirname(target))""",
        "            created = self._link(temporary, target)",
        (_SYNCED,),
    ),
    Mutation(
        "of racing local writers one gets the name",
        "objects/local.py",
        "            created = self._link(temporary, target)\n",
        "            created = not os.path.exists(target)\n            os.replace(temporary, target)\n",
        (_STORES,),
        "local and (racing or absent)",
    ),
    Mutation(
        "a local object is never seen in part",
        "objects/local.py",
        "            os.replace(temporary, target)\n",
        "            _write_durably(target + '', data) if not os.path.exists(target) "
        "else open(target, 'wb').write(data)\n",
        (_STORES,),
        "local and (partial or put_replaces)",
    ),
    Mutation(
        "a lost reply of NFS is our own link",
        "objects/local.py",
        "return os.stat(temporary).st_nlink == 2",
        "return False",
        (f"{_LOCAL}::test_a_lost_reply_of_nfs_is_our_own_link",),
    ),
    Mutation(
        "what a cache holds is keyed by an immutable name",
        "store/volume.py",
        'return self.cache.load((name, "manifest"), lambda: self._load_manifest(name))',
        'return self.cache.load((name.rpartition("/")[0], "manifest"), lambda: self._load_manifest(name))',
        (f"{_HAZARDS}::test_stale_caches_of_other_clients",),
        models=("names are new",),
    ),
    Mutation(
        "a store knows its own manifests from copies",
        "store/volume.py",
        "        if manifest.name != name:",
        "        if False:",
        (f"{_HAZARDS}::test_manifest_copied_over_another_is_refused",),
    ),
)
