"""No credential is in an exception, a log line, a stored object or row, a repr or a pickle.

Every credential here holds one word, which is then looked for everywhere.
"""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import sqlalchemy

from arrowopaque import StoreRoot
from arrowopaque.errors import ArrowOpaqueError, ConfigurationError, ObjectMissingError
from arrowopaque.objects.opening import open_store
from tests.faults.sweep import ours, volume_of
from tests.opaque.suite_base import contents
from tests.support import specs
from tests.support.postgres import PostgresServer
from tests.support.s3server import Fault, S3Server
from tests.support.specs import row, rows
from tests.support.subjects import (
    KINDS,
    RegistrySubject,
    Repository,
    RootSubject,
    Site,
    Subject,
    open_repository,
)

WORD = "plover"
_KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIAPLOVER0000000001",
    "AWS_SECRET_ACCESS_KEY": "one/plover+two",
    "AWS_SESSION_TOKEN": "three-plover==",
}
_OPTIONS = {"bulk_rows": 3, "flush_at_open": 0, "cache_bytes": 0}
# What AWS answers holds the key and what was signed, the token included.
_REFUSAL = """<Error><Code>SignatureDoesNotMatch</Code><Message>The signature does not match.</Message>
<AWSAccessKeyId>AKIAPLOVER0000000001</AWSAccessKeyId>
<CanonicalRequest>GET x-amz-security-token:three-plover==</CanonicalRequest></Error>"""


def _holds_word(text: object) -> bool:
    data = text if isinstance(text, bytes) else str(text).encode(errors="replace")
    return WORD.encode() in data.lower()


def _texts(error: BaseException) -> Iterator[str]:
    """Yield all that an exception and those behind it say, shown in a traceback or not."""
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop()
        if found is not None and found not in seen:
            seen.append(found)
            yield from (str(found), repr(found), repr(found.args), *getattr(found, "__notes__", ()))
            waiting += [found.__cause__, found.__context__]
    yield "".join(traceback.format_exception(error))


def _reachable(thing: Any, seen: dict[int, Any]) -> Iterator[Any]:
    """Yield the objects of ours that an object holds."""
    if id(thing) in seen:
        return
    seen[id(thing)] = thing
    below: list[Any] = []
    if type(thing).__module__.startswith("arrowopaque"):
        yield thing
        slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
        below = [*getattr(thing, "__dict__", {}).values(), *(getattr(thing, name, None) for name in slots)]
    elif isinstance(thing, Mapping):
        below = [*thing, *thing.values()]
    elif isinstance(thing, list | tuple | set | frozenset):
        below = [*thing]
    for item in below:
        yield from _reachable(item, seen)


def _rows(client: RegistrySubject) -> Iterator[str]:
    """Yield every table of the registry, as text."""
    engine = client.database._engine
    metadata = sqlalchemy.MetaData(schema=client.database.namespace)
    metadata.reflect(engine)
    assert "arrowopaque_store" in {table.name for table in metadata.sorted_tables}
    with engine.connect() as connection:
        for table in metadata.sorted_tables:
            yield f"{table!r} {connection.execute(sqlalchemy.select(table)).all()}"


class Watch:
    """Looks for the word in whatever comes out."""

    def __init__(self, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
        self._caplog = caplog
        self._capfd = capfd
        caplog.set_level(logging.INFO)
        caplog.set_level(logging.DEBUG, "arrowopaque")

    def fails(
        self, action: Callable[[], object], *kinds: type[BaseException]
    ) -> pytest.ExceptionInfo[BaseException]:
        """Do something that raises, and look at what it says."""
        with pytest.raises(kinds or (ArrowOpaqueError, sqlalchemy.exc.SQLAlchemyError)) as caught:
            action()
        for text in _texts(caught.value):
            assert not _holds_word(text)
        return caught

    def holds(self, thing: Any) -> None:
        """Look at what an object shows of itself and of what it holds."""
        pickles = []
        for found in _reachable(thing, {}):
            assert not _holds_word(repr(found) + str(found)), type(found)
            # What holds a lock or a connection cannot be pickled.
            with suppress(Exception):
                pickles.append(pickle.dumps(found))
        assert pickles
        assert not any(map(_holds_word, pickles))

    def said(self) -> list[str]:
        """Look at what was logged and printed; return the loggers."""
        for record in self._caplog.records:
            assert not _holds_word(f"{record.getMessage()} {record.args} {record.exc_text}"), record.name
        printed = self._capfd.readouterr()
        assert not _holds_word(printed.out + printed.err)
        return [record.name for record in self._caplog.records]


@pytest.fixture
def watch(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Watch:
    return Watch(caplog, capfd)


@pytest.fixture
def bucket(
    request: pytest.FixtureRequest, s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A bucket for which the credentials come in one way or the other."""
    if request.param == "environment":
        for name, value in _KEYS.items():
            # Differently each time, so that no client made before is used.
            monkeypatch.setenv(name, f"{value}{s3_bucket}")
        return s3_bucket
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("S3_ENDPOINT_URL", s3_server.url.replace("://", "://plover-key:one%2Fplover%2Btwo@"))
    return s3_bucket


def _with_password(server: PostgresServer) -> str:
    """Return the URL of a new database, with a password that the server does not ask for."""
    return server.new_database().url("postgresql+psycopg2").replace("postgres@", f"postgres:{WORD}-password@")


def _work(client: Subject, watch: Watch) -> None:
    """Do what clients do, and make the mistakes that they make."""
    table = client.manager.register("t", specs.standard())
    table.insert(*rows([1, 2, 3]))
    table.insert(row(4))
    watch.fails(lambda: table.insert(row(1)))
    watch.fails(lambda: table.insert(row(5, None)))
    watch.fails(lambda: table.insert(*rows([2, 6, 7])))
    table.delete(["id"], {"id": 2})
    manager = ours(client)
    manager.flush()
    reports = [manager.compact(), manager.vacuum(0), manager.vacuum(dry_run=True), manager.verify("full")]
    relation = manager.sql("SELECT count(*) FROM t")
    assert relation.fetchall() == [(3,)]
    watch.holds([client.manager, table, volume_of(client), *reports])
    assert not _holds_word(f"{reports} {relation}")
    reader = client.read_only().manager.register("t", specs.standard())
    watch.fails(lambda: reader.insert(row(9)), Exception)


_WAYS = ("environment", "endpoint")
_REGISTRIES = [("environment", "arrow-sqlite-s3"), ("endpoint", "arrow-postgres-s3")]


@pytest.mark.parametrize(("bucket", "kind"), _REGISTRIES, indirect=["bucket"])
def test_work_in_a_registry(
    watch: Watch, bucket: str, s3_server: S3Server, postgres_server: PostgresServer, tmp_path: Path, kind: str
) -> None:
    site = Site(tmp_path, _with_password(postgres_server), f"s3://{bucket}")
    with open_repository(kind, site, option_values=dict(_OPTIONS)) as client:
        assert isinstance(client, RegistrySubject)
        _work(client, watch)
        stored = s3_server.contents(bucket)
        assert stored
        for text in (*stored, *stored.values(), *_rows(client)):
            assert not _holds_word(text)
    watch.said()


@pytest.mark.parametrize("bucket", _WAYS[:1], indirect=True)
def test_work_at_a_root(watch: Watch, bucket: str, s3_server: S3Server, tmp_path: Path) -> None:
    site = Site(tmp_path, s3=f"s3://{bucket}")
    with open_repository("arrow-root-s3", site, option_values=dict(_OPTIONS)) as client:
        assert isinstance(client, RootSubject)
        _work(client, watch)
        receipt = client.root.stage("t", pa.table({"id": [20], "name": ["a"], "val": [1]}))
        taken = client.root.commit_staged([receipt])
        watch.holds([client.root, receipt, taken, StoreRoot.recover(client.root.uri)])
        stored = s3_server.contents(bucket)
        assert stored
        for text in (receipt.to_json(), *stored, *stored.values()):
            assert not _holds_word(text)
    # The log was listened to.
    assert "aiobotocore.credentials" in watch.said()


def _calls(client: Subject) -> list[Callable[[], object]]:
    table, manager = client.manager["t"], ours(client)
    return [
        lambda: contents(table),
        lambda: table.insert(*rows([11, 12, 13])),
        lambda: table.delete(["id"], {"id": 1}),
        manager.compact,
        manager.vacuum,
        manager.verify,
        lambda: manager.sql("FROM t"),
        lambda: client.second().manager.register("t", specs.standard()).fetch(),
        lambda: (
            Repository(client.kind, client.repository.site).create().manager.register("t", specs.standard())
        ),
    ]


_FAILURES = [
    ("environment", "arrow-sqlite-s3", {"status": 403, "body": _REFUSAL}),
    ("endpoint", "arrow-root-s3", {"status": None}),
]


@pytest.fixture
def _hurried(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # After the bucket, which comes with settings of its own.
    for module in ("clock", "objects.s3"):
        monkeypatch.setattr(f"arrowopaque.{module}.pause", lambda _: None)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


@pytest.mark.usefixtures("_hurried")
@pytest.mark.parametrize(("bucket", "kind", "answer"), _FAILURES, ids=["refused", "cut"], indirect=["bucket"])
def test_storage_fails(
    watch: Watch, bucket: str, s3_server: S3Server, tmp_path: Path, kind: str, answer: dict[str, Any]
) -> None:
    site = Site(tmp_path, s3=f"s3://{bucket}")
    with open_repository(kind, site, option_values=dict(_OPTIONS)) as client:
        client.manager.register("t", specs.standard()).insert(*rows([1, 2, 3]))
        for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
            s3_server.break_next(Fault(method, times=1_000_000, **answer))
        for call in _calls(client):
            watch.fails(call, ArrowOpaqueError)
        s3_server.mend()
        for key in s3_server.contents(bucket):
            if key.endswith(".parquet"):
                s3_server.plant(bucket, key, b"PAR1")
        findings = ours(client).verify(raising=False).findings
        assert findings
        assert not _holds_word(findings)
    watch.said()


def test_database_is_gone(watch: Watch, postgres_server: PostgresServer, tmp_path: Path) -> None:
    url = sqlalchemy.make_url(_with_password(postgres_server))
    site = Site(tmp_path, url.render_as_string(hide_password=False))
    with open_repository("arrow-postgres-local", site, option_values=dict(_OPTIONS)) as client:
        client.manager.register("t", specs.standard()).insert(*rows([1, 2, 3]))
        server = sqlalchemy.create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            connection.execute(sqlalchemy.text(f"DROP DATABASE {url.database} WITH (FORCE)"))
        server.dispose()
        for call in _calls(client):
            watch.fails(call)
            watch.fails(call)
    watch.said()


_INSIDES = [
    "FROM duckdb_settings()",
    "FROM duckdb_secrets()",
    "FROM duckdb_secrets(redact := true)",
    "FROM duckdb_databases()",
    "FROM duckdb_variables()",
    "FROM duckdb_views()",
    "FROM duckdb_logs()",
]


@pytest.mark.parametrize("bucket", _WAYS, indirect=True)
def test_queries_see_no_setting_of_the_process(watch: Watch, bucket: str, tmp_path: Path) -> None:
    root = StoreRoot(f"s3://{bucket}/queried")
    for name in (*_KEYS, "S3_ENDPOINT_URL"):
        watch.fails(lambda: root.sql(f"SELECT getenv('{name}')").fetchall(), duckdb.Error)  # noqa: B023
    for name in ("s3_access_key_id", "s3_secret_access_key", "s3_session_token", "s3_endpoint"):
        watch.fails(lambda: root.sql(f"SELECT current_setting('{name}')").fetchall(), duckdb.Error)  # noqa: B023
    for query in _INSIDES:
        assert not _holds_word(root.sql(query).fetchall())
    for kind in ("s3", "http", "aws"):
        assert root.sql(f"FROM which_secret('{root.uri}/x', '{kind}')").fetchall() == []
    watch.fails(lambda: root.sql(f"FROM read_parquet('{root.uri}/x')").fetchall(), duckdb.Error)


# What is configured wrongly.

_ENDPOINTS = [
    "http://key:plover@127.0.0.1:1",
    "plover:9000",
    "http://[plover",
    "http://127.0.0.1:1/?secret=plover",
    f"http://{'x' * 300}plover",
]
_CONFIGS = [
    *(f"[default]\nendpoint_url = {url}\n" for url in _ENDPOINTS),
    *(f"[default]\nservices = s\n[services s]\ns3 =\n  endpoint_url = {url}\n" for url in _ENDPOINTS),
    "[default]\naws_secret_access_key plover\n",
    "[default]\naws_access_key_id = plover\n",
    """[default]\ncredential_process = echo '{"Version": 1, "SecretAccessKey": "plover"'\n""",
    "[default]\ncredential_process = false plover\n",
    """[default]\ncredential_process = sh -c "echo plover >&2; exit 1"\n""",
    """[default]\ncredential_process = sh -c "echo plover; exit 3"\n""",
    """[default]\ncredential_process = echo '{"Version": 7, "SecretAccessKey": "plover"}'\n""",
    """[default]\ncredential_process = echo '{"Version": 1, "AccessKeyId": "plover"}'\n""",
    """[default]\ncredential_process = /nowhere/program --secret plover\n""",
    """[default]\ncredential_process = sh -c 'plover\n""",
    "[default]\nrole_arn = plover\nsource_profile = plover\n",
    "[default]\nrole_arn = arn:plover\ncredential_source = plover\n",
]


@pytest.mark.parametrize("config", _CONFIGS)
def test_bad_configuration_file(
    watch: Watch, s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    file = tmp_path / "config"
    file.write_text(config)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    error = watch.fails(lambda: open_store(f"s3://{s3_bucket}").get("a"), ArrowOpaqueError)
    assert not isinstance(error.value, ObjectMissingError)
    watch.said()


@pytest.mark.parametrize("name", ["S3_ENDPOINT_URL", "AWS_ENDPOINT_URL"])
@pytest.mark.parametrize(
    "url",
    [
        *_ENDPOINTS[1:],
        "http://key:one/plover@127.0.0.1:1",
        "http://key:1/plover@127.0.0.1:1",
        "http://127.0.0.1:plover",
        "http://127.0.0.1:1#plover",
        "http://:1/plover",
        "http://key:one\nplover@127.0.0.1:1",
    ],
)
def test_bad_endpoint(
    watch: Watch, s3_bucket: str, monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    monkeypatch.setenv(name, url)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    watch.fails(lambda: open_store(f"s3://{s3_bucket}").get("a"), ArrowOpaqueError)
    watch.said()


@pytest.mark.parametrize("proxy", ["http://plover:plover@127.0.0.1:1", "plover:plover@@127.0.0.1:x"])
def test_bad_proxy(watch: Watch, s3_bucket: str, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, proxy)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    # Settings of its own, so that no client made before is used.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", f"of {proxy}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    error = watch.fails(lambda: open_store(f"s3://{s3_bucket}").get("a"), ArrowOpaqueError)
    assert "NoSuch" not in str(error.value)


_ROOTS = [
    "s3://AKIA:plover@bucket/x",
    "s3://AKIA:one/plover@bucket/x",
    "s3://AKIA%3Aplover%40bucket/x",
    " s3://AKIA:plover@bucket/x",
    "'s3://AKIA:plover@bucket/x'",
    "plover:x@bucket",
    "s3://bucket/x?secret=plover",
    "postgresql://user:plover@host/db",
]


@pytest.mark.parametrize("uri", _ROOTS)
def test_credentials_in_a_root(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for action in (
        lambda: StoreRoot(uri),
        lambda: StoreRoot(uri + "\0"),
        lambda: StoreRoot.recover(uri),
        lambda: StoreRoot(uri, writeable=False),
    ):
        watch.fails(action, ConfigurationError)
    # A registry stores the root that it gets.
    repository = Repository(KINDS["arrow-sqlite-s3"], Site(tmp_path, s3=uri))
    watch.fails(repository.create, ConfigurationError)
    for path in tmp_path.rglob("*"):
        assert not _holds_word(path.name)
        assert path.is_dir() or not _holds_word(path.read_bytes())
