"""What all tables of one root share: objects, cache, options, identity."""

from __future__ import annotations

__all__ = ["Volume", "create_volume", "open_volume", "publish"]

import threading
import weakref
from dataclasses import dataclass, replace

from arrowopaque import clock
from arrowopaque.errors import ConfigurationError, CorruptStoreError, ObjectMissingError, RootInUseError
from arrowopaque.format import names
from arrowopaque.format.document import dump, load
from arrowopaque.format.manifest import Marker, MetaTable, TableManifest, check_manifest
from arrowopaque.format.spec import TableSpec
from arrowopaque.objects.base import ObjectStore, Put
from arrowopaque.options import Options
from arrowopaque.store.cache import BorrowedCache, Cache

_PARSED = 9
"""Bytes of memory for each byte of a stored manifest."""

_caches: weakref.WeakValueDictionary[tuple[str, str], Cache] = weakref.WeakValueDictionary()
_caches_lock = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """One root, opened; equal to itself alone."""

    store: ObjectStore
    cache: Cache
    options: Options
    id: str

    def lent(self) -> Volume:
        """Return the same store for what may itself be kept in its cache."""
        return replace(self, cache=BorrowedCache(self.cache))

    def manifest(self, name: str) -> TableManifest:
        """Return a stored table manifest."""
        return self.cache.load((name, "manifest"), lambda: self._load_manifest(name))

    def _load_manifest(self, name: str) -> tuple[TableManifest, int]:
        data = self.store.get(name, TableManifest.max_bytes)
        manifest = load(TableManifest, data, f"{self.store.uri}/{name}")
        if manifest.name != name:
            raise CorruptStoreError(
                f"{self.store.uri}/{name} is a copy of {manifest.name}: restore the real one"
            )
        return manifest, _PARSED * len(data)

    def forget_manifest(self, name: str) -> None:
        """Keep a manifest no longer: who still reads it has it."""
        self.cache.drop((name, "manifest"))

    def put_manifest(self, manifest: TableManifest, spec: TableSpec) -> str:
        """Store a table manifest and return its name.

        Raises
        ------
        CorruptStoreError
            It breaks an invariant, and was not stored.
        """
        check_manifest(manifest, spec)
        data = dump(manifest)
        self.store.put(manifest.name, data)
        self.cache.put((manifest.name, "manifest"), manifest, _PARSED * len(data))
        return manifest.name


def _cache_for(uri: str, store: str, options: Options) -> Cache:
    with _caches_lock:
        cache = _caches.get((uri, store))
        if cache is None:
            cache = _caches[uri, store] = Cache(options.cache_bytes)
        return cache


def create_volume(store: ObjectStore, *, id: str, binding: str, options: Options) -> Volume:
    """Make a root a store.

    Parameters
    ----------
    store
        The root.
    id
        The store's identity.
    binding
        ``registry`` or ``root``.
    options
        Saved with the store.

    Raises
    ------
    RootInUseError
        There is a store already.
    ConfigurationError
        The root has no working conditional writes.
    """
    store.probe()
    marker = Marker(store=id, binding=binding, created=clock.now(), options=options.to_json())
    if store.put_if_absent(names.MARKER, dump(marker)) is Put.EXISTS:
        raise RootInUseError(f"{store.uri} already holds a store: choose another root")
    return Volume(store, _cache_for(store.uri, id, options), options, id)


def read_marker(store: ObjectStore) -> Marker | None:
    """Return whose root this is; `None` if nobody's."""
    try:
        data = store.get(names.MARKER, Marker.max_bytes)
    except ObjectMissingError:
        return None
    return load(Marker, data, f"{store.uri}/{names.MARKER}")


def open_volume(
    store: ObjectStore, *, id: str | None = None, binding: str | None = None, options: Options | None = None
) -> Volume:
    """Open the store at a root.

    Parameters
    ----------
    store
        The root.
    id
        The identity that it must have.
    binding
        The binding that it must have.
    options
        Used instead of the stored ones.

    Raises
    ------
    ObjectMissingError
        There is no store.
    RootInUseError
        It is another one.
    """
    marker = read_marker(store)
    if marker is None:
        raise ObjectMissingError(f"there is no store at {store.uri}: {names.MARKER} is missing")
    if id is not None and marker.store != id:
        raise RootInUseError(f"{store.uri} belongs to store {marker.store}, not to {id}: choose another root")
    if binding is not None and marker.binding != binding:
        raise ConfigurationError(
            f"{store.uri} is written through its {marker.binding}, not through its {binding}: "
            "open it read-only"
        )
    chosen = options or Options.from_json(marker.options)
    return Volume(store, _cache_for(store.uri, marker.store, chosen), chosen, marker.store)


def unmarked_volume(store: ObjectStore, id: str, options: Options) -> Volume:
    """Return a store that holds nothing yet, for reading."""
    return Volume(store, _cache_for(store.uri, id, options), options, id)


def publish(volume: Volume, meta: MetaTable) -> None:
    """Write the copy of the meta-table that people and offline readers use."""
    volume.store.put(names.PUBLISHED, dump(meta))
