"""A pytest plugin: runs lsst.daf.butler's own tests on chosen managers and counts what they are asked.

`scripts/upstream_tests.py` loads it with `-p` and hands it a `Setup` as JSON in the environment. It changes
no file of the host's: the managers come from a configuration folder that the script writes, and where the
host names its defaults in code the names are replaced for the length of the run.
"""

from __future__ import annotations

__all__ = ["SETUP_VARIABLE", "Setup"]

import contextlib
import functools
import importlib
import inspect
import json
import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

SETUP_VARIABLE = "ARROWOPAQUE_UPSTREAM_SETUP"
ROOT_VARIABLE = "ARROWOPAQUE_ROOT"
DEFAULTS_MODULE = "lsst.daf.butler._standalone_datastore"
DEFAULT_OPAQUE = "ByNameOpaqueTableStorageManager"
DEFAULT_BRIDGES = "MonolithicDatastoreRegistryBridgeManager"
POSTGRESQL = "lsst.daf.butler.registry.databases.postgresql.PostgresqlDatabase"
DUMMY_MODULE = "lsst.daf.butler.tests"
TEMPLATES_MODULE = "lsst.daf.butler.tests._repo_template_cache"

STORAGE_CALLS = ("insert", "ensure", "replace", "delete", "fetch", "fetch_batches")
BRIDGE_CALLS = ("insert", "forget", "moveToTrash", "check", "emptyTrash")


@dataclass(frozen=True)
class Setup:
    """What one run is made of."""

    opaque: str
    """Full name of the opaque table manager's class."""

    bridge: str
    """Full name of the datastore bridge manager's class."""

    reports: str
    """Folder for what this plugin writes."""

    root: str
    """Value of ARROWOPAQUE_ROOT while a PostgreSQL registry is made."""

    options: dict[str, int | float] = field(default_factory=dict)
    """Options that override the stored ones; empty means none."""

    flush: bool = False
    """Flush a table before every call to it outside a transaction."""

    no_dummies: bool = False
    """Give the host's DummyRegistry these managers over an in-memory database."""

    no_templates: bool = False
    """Make every test repository anew, where the host would copy the SQLite file of one made before."""

    @classmethod
    def from_environment(cls) -> Setup:
        return cls(**json.loads(os.environ[SETUP_VARIABLE]))

    def to_environment(self) -> dict[str, str]:
        return {SETUP_VARIABLE: json.dumps(asdict(self))}


class Calls:
    """Counts calls by test file; what runs between tests goes to the last one."""

    def __init__(self) -> None:
        self.file = ""
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def add(self, name: str) -> None:
        with self._lock:
            self._counts[self.file, name] += 1

    def by_file(self) -> dict[str, dict[str, int]]:
        result: dict[str, dict[str, int]] = {}
        for (file, name), number in sorted(self._counts.items()):
            result.setdefault(file, {})[name] = number
        return result


CALLS = Calls()


def load_class(name: str) -> type[Any]:
    module, _, attribute = name.rpartition(".")
    found = getattr(importlib.import_module(module), attribute)
    if not isinstance(found, type):
        raise TypeError(f"{name} is not a class")
    return found


def wrap(cls: type[Any], name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace a method of this class alone: an inherited one is left to the class it came from."""
    static = inspect.getattr_static(cls, name)
    if isinstance(static, classmethod):
        function = static.__func__
        setattr(cls, name, classmethod(functools.wraps(function)(make(function))))
    else:
        setattr(cls, name, functools.wraps(static)(make(static)))


def counted(label: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def make(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            CALLS.add(label)
            return method(*args, **kwargs)

        return call

    return make


@contextlib.contextmanager
def root_set_to(root: str) -> Iterator[None]:
    before = os.environ.get(ROOT_VARIABLE)
    os.environ[ROOT_VARIABLE] = root
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(ROOT_VARIABLE, None)
        else:
            os.environ[ROOT_VARIABLE] = before


class Watch:
    """Counts calls of the managers and of the storages and bridges that they hand out; flushes if told to."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._seen: set[type[Any]] = set()
        self._databases: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
        self._managers: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
        self._flushing = threading.local()

    def watch(self, opaque: type[Any], bridge: type[Any]) -> None:
        wrap(opaque, "initialize", self._initialize)
        wrap(opaque, "clone", self._clone)
        wrap(opaque, "register", functools.partial(self._hand_out, opaque, self._watch_storage))
        wrap(bridge, "initialize", counted(f"{bridge.__name__}.initialize"))
        wrap(bridge, "clone", counted(f"{bridge.__name__}.clone"))
        wrap(bridge, "register", functools.partial(self._hand_out, bridge, self._watch_bridge))

    def _initialize(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def initialize(cls: type[Any], db: Any, *args: Any, **kwargs: Any) -> Any:
            CALLS.add(f"{cls.__name__}.initialize")
            manager = method(cls, db, *args, **kwargs)
            self._databases[manager] = weakref.ref(db)
            return manager

        return initialize

    def _clone(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def clone(manager: Any, db: Any, *args: Any, **kwargs: Any) -> Any:
            CALLS.add(f"{type(manager).__name__}.clone")
            cloned = method(manager, db, *args, **kwargs)
            self._databases[cloned] = weakref.ref(db)
            return cloned

        return clone

    def _hand_out(
        self, cls: type[Any], watch: Callable[[Any, Any], None], method: Callable[..., Any]
    ) -> Callable[..., Any]:
        def register(manager: Any, *args: Any, **kwargs: Any) -> Any:
            CALLS.add(f"{cls.__name__}.register")
            product = method(manager, *args, **kwargs)
            watch(manager, product)
            return product

        return register

    def _watch_storage(self, manager: Any, storage: Any) -> None:
        self._managers[storage] = weakref.ref(manager)
        cls = type(storage)
        if cls in self._seen:
            return
        self._seen.add(cls)
        for name in STORAGE_CALLS:
            wrap(cls, name, functools.partial(self._storage_call, cls, name))

    def _watch_bridge(self, manager: Any, bridge: Any) -> None:
        cls = type(bridge)
        if cls in self._seen:
            return
        self._seen.add(cls)
        for name in BRIDGE_CALLS:
            if hasattr(cls, name):
                wrap(cls, name, counted(f"{cls.__name__}.{name}"))

    def _storage_call(self, cls: type[Any], name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(storage: Any, *args: Any, **kwargs: Any) -> Any:
            CALLS.add(f"{cls.__name__}.{name}")
            if self._setup.flush:
                self._flush(storage)
            return method(storage, *args, **kwargs)

        return call

    def _flush(self, storage: Any) -> None:
        manager = _alive(self._managers.get(storage))
        db = _alive(self._databases.get(manager)) if manager is not None else None
        if db is None or getattr(self._flushing, "on", False) or db.isInTransaction() or not db.isWriteable():
            return
        self._flushing.on = True  # a flush may read through the storage that is being flushed
        try:
            manager.flush(storage.name)
        finally:
            self._flushing.on = False
        CALLS.add(f"{type(manager).__name__}.flush")


def _alive(reference: Any) -> Any:
    return reference() if reference is not None else None


def replace_defaults(opaque: type[Any], bridge: type[Any]) -> None:
    """Stand-alone datastores name the default managers in code, where no configuration reaches."""
    module = importlib.import_module(DEFAULTS_MODULE)
    for name, cls in ((DEFAULT_OPAQUE, opaque), (DEFAULT_BRIDGES, bridge)):
        if not hasattr(module, name):
            raise AttributeError(f"{DEFAULTS_MODULE} does not name {name} any more: find what does")
        setattr(module, name, cls)


def replace_dummies(opaque: type[Any], bridge: type[Any]) -> None:
    """Datastore tests run on in-memory doubles of both managers; give them the real ones instead."""
    datasets = importlib.import_module(DEFAULTS_MODULE)._DatasetRecordStorageManagerDatastoreConstructionMimic
    sqlite = load_class("lsst.daf.butler.registry.databases.sqlite.SqliteDatabase")
    dummy = load_class(f"{DUMMY_MODULE}.DummyRegistry")
    original = dummy.__init__

    def init(self: Any) -> None:
        original(self)
        self._db = sqlite.fromUri("sqlite:///:memory:", origin=0)
        with self._db.declareStaticTables(create=True) as context:
            self._opaque = opaque.initialize(self._db, context)
            self._datastoreBridges = bridge.initialize(
                self._db, context, opaque=self._opaque, datasets=datasets, universe=self.dimensions
            )

    dummy.__init__ = init


def give_postgresql_a_root(root: str) -> None:
    """Set ARROWOPAQUE_ROOT while a PostgreSQL registry is made: SQLite's keep their root beside the file."""

    def make(method: Callable[..., Any]) -> Callable[..., Any]:
        @contextlib.contextmanager
        def declare(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with root_set_to(root), method(*args, **kwargs) as context:
                yield context

        return declare

    wrap(load_class(POSTGRESQL), "declareStaticTables", make)


def switch_templates_off() -> None:
    module: Any = importlib.import_module(TEMPLATES_MODULE)
    module._is_cacheable_registry = lambda config: False


class Outcomes:
    """Collects the outcome of every test, in the process that sees them all."""

    def __init__(self) -> None:
        self.tests: list[dict[str, str]] = []

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._add(report.nodeid, "error", str(report.longrepr))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if isinstance(report, pytest.SubtestReport):
            return  # a failed subtest fails its test as well
        if report.failed:
            self._add(report.nodeid, "failed" if report.when == "call" else "error", report.longreprtext)
        elif report.skipped:
            self._add(report.nodeid, "skipped", _skip_reason(report))
        elif report.when == "call":
            self._add(report.nodeid, "passed", "")

    def _add(self, test: str, outcome: str, detail: str) -> None:
        self.tests.append({"test": test, "outcome": outcome, "detail": detail})


def _skip_reason(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return f"expected failure: {report.wasxfail}"
    return str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else report.longreprtext


def pytest_configure(config: pytest.Config) -> None:
    setup = Setup.from_environment()
    opaque, bridge = load_class(setup.opaque), load_class(setup.bridge)
    if setup.options:
        opaque.options = load_class("arrowopaque.Options")(**setup.options)
    replace_defaults(opaque, bridge)
    if setup.no_dummies:
        replace_dummies(opaque, bridge)
    give_postgresql_a_root(setup.root)
    if setup.no_templates:
        switch_templates_off()
    Watch(setup).watch(opaque, bridge)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Outcomes(), "upstream-outcomes")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logstart(nodeid: str) -> None:
    CALLS.file = nodeid.partition("::")[0]


def pytest_sessionfinish(session: pytest.Session) -> None:
    reports = Path(Setup.from_environment().reports)
    (reports / f"calls-{os.getpid()}.json").write_text(json.dumps(CALLS.by_file()))
    outcomes = session.config.pluginmanager.get_plugin("upstream-outcomes")
    if outcomes is not None:
        (reports / "outcomes.json").write_text(json.dumps(outcomes.tests))
