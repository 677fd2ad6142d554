"""What a query may read: the data files of the tables, checked, and nothing else."""

from __future__ import annotations

import io
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from arrowopaque import CorruptStoreError, StoreAccessError
from arrowopaque.errors import ArrowOpaqueError, ObjectMissingError, ReadOnlyError
from arrowopaque.objects.duckfs import FixedFile, FixedFiles, Reader, url
from arrowopaque.objects.opening import open_store
from tests.support import specs
from tests.support.s3server import S3Server
from tests.support.subjects import KINDS, Site, open_repository

EVERYWHERE = pytest.mark.parametrize(
    "client",
    [name for name, kind in KINDS.items() if kind.is_arrow and kind.dialect != "postgresql"],
    indirect=True,
)
LOCAL = pytest.mark.parametrize("client", ["arrow-sqlite-local", "arrow-root-local"], indirect=True)


def volume(client: Any) -> Any:
    return client.root.volume if client.dialect is None else client.manager._binding.volume


def stored(client: Any, ending: str = ".parquet") -> list[str]:
    """Return the data files, or other objects of tables, that there are."""
    paths = [info.path for info in volume(client).store.list("tables")]
    return sorted(path for path in paths if path.endswith(ending) and ".index" not in path)


def fill(client: Any, name: str = "here") -> Any:
    table = client.table(specs.standard(), name=name)
    table.insert(*specs.rows(range(100)))
    client.flush()
    return table


def shorten(data: bytes) -> bytes:
    return data[:-1]


def lengthen(data: bytes) -> bytes:
    return data + b"\0"


def flip(data: bytes) -> bytes:
    middle = len(data) // 3
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


CHANGES = [shorten, lengthen, flip]


@EVERYWHERE
@pytest.mark.parametrize("change", CHANGES)
def test_an_altered_file(client: Any, change: Callable[[bytes], bytes]) -> None:
    fill(client)
    (path,) = stored(client)
    store = open_store(volume(client).store.uri)
    store.put(path, change(store.get(path)))
    with pytest.raises(CorruptStoreError, match=re.escape(path)):
        client.manager.sql("SELECT count(*) FROM here")


@LOCAL
def test_any_altered_file_is_found_at_once(client: Any) -> None:
    """DuckDB opens the first when it makes a relation, and the others when rows are fetched."""
    table = fill(client)
    table.insert(*specs.rows(range(100, 200)))
    client.flush()
    assert len(stored(client)) == 2
    for path in stored(client):
        file = Path(volume(client).store.local_path(path))
        good = file.read_bytes()
        file.write_bytes(flip(good))
        with pytest.raises(CorruptStoreError, match=re.escape(path)):
            client.manager.sql("SELECT * FROM here")
        file.write_bytes(good)


@EVERYWHERE
def test_a_missing_file(client: Any) -> None:
    fill(client)
    (path,) = stored(client)
    open_store(volume(client).store.uri).delete([path])
    with pytest.raises(ObjectMissingError, match=re.escape(path)):
        client.manager.sql("SELECT count(*) FROM here")


@EVERYWHERE
def test_damage_of_another_table(client: Any) -> None:
    fill(client)
    (path,) = stored(client)
    fill(client, name="other")
    open_store(volume(client).store.uri).delete([path])
    assert client.manager.sql("SELECT count(*) FROM other").fetchall() == [(100,)]
    with pytest.raises(ObjectMissingError, match=re.escape(path)):
        client.manager.sql("SHOW TABLES")


@EVERYWHERE
def test_a_damaged_deletion_vector(client: Any) -> None:
    table = fill(client)
    table.delete(["id"], {"id": 3})
    client.flush()
    store = open_store(volume(client).store.uri)
    for path in stored(client, ".dv"):
        store.put(path, flip(store.get(path)))
    with pytest.raises(CorruptStoreError, match=r"\.dv is altered"):
        client.manager.sql("SELECT count(*) FROM here")


@LOCAL
@pytest.mark.parametrize("change", CHANGES)
def test_a_local_file_altered_after_a_query(client: Any, change: Callable[[bytes], bytes]) -> None:
    fill(client)
    (path,) = stored(client)
    query = "SELECT sum(id) FROM here"
    relation = client.manager.sql(query)
    assert relation.fetchall() == [(4950,)]
    file = Path(volume(client).store.local_path(path))
    times = file.stat()
    # In place, and with the old time: not what an honest program would do.
    file.write_bytes(change(file.read_bytes()))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(CorruptStoreError, match=re.escape(path)):
        client.manager.sql(query)
    # DuckDB passes on nothing but the text of what happens while rows are fetched.
    with pytest.raises(duckdb.Error, match=re.escape(path)):
        relation.fetchall()


@LOCAL
def test_a_local_file_is_checked_once(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(client)
    query = "SELECT count(*) FROM here"
    client.manager.sql(query)
    store = volume(client).store
    whole: list[object] = []
    monkeypatch.setattr(type(store), "get", lambda self, name: whole.append(name))
    monkeypatch.setattr("arrowopaque.store.parquet.digest", lambda data: whole.append(data))
    assert client.manager.sql(query).fetchall() == [(100,)]
    assert whole == []


@LOCAL
def test_an_unreadable_file_is_named(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(client)
    (path,) = stored(client)

    def fail(*_: Any) -> bytes:
        raise OSError(5, "Input/output error")

    relation = client.manager.sql("SELECT count(DISTINCT name) FROM here")
    monkeypatch.setattr("arrowopaque.store.proved.os.pread", fail)
    with pytest.raises(StoreAccessError, match=re.escape(path)):
        # Of a database of its own, which has no footer yet.
        client.manager.sql("SET threads = 1; SELECT count(*) FROM here")
    with pytest.raises(duckdb.Error, match=f"{re.escape(path)}: Input/output error"):
        relation.fetchall()


@pytest.mark.parametrize("client", ["arrow-sqlite-s3", "arrow-root-s3"], indirect=True)
def test_requests(client: Any, s3_server: S3Server) -> None:
    """One GET for each file of the table, ever; nothing is asked or listed."""
    table = fill(client)
    fill(client, name="other")
    table.delete(["id"], {"id": 3})
    client.flush()
    table.insert(specs.row(200))
    wanted = [file.path for file in _base(client).files]
    with s3_server.recording() as requests:
        for _ in range(2):
            relation = client.manager.sql("SELECT count(*), sum(val) FROM here")
            assert relation.fetchall() == relation.fetchall() == [(100, 49_500 - 30)]
    assert {request.method for request in requests} == {"GET"}
    assert [request for request in requests if request.is_list] == []
    prefix = volume(client).store.uri.removeprefix(f"s3://{requests[0].bucket}/")
    data = [
        request.key.removeprefix(f"{prefix}/") for request in requests if request.key.endswith(".parquet")
    ]
    assert sorted(data) == sorted(wanted)


def _base(client: Any) -> Any:
    if client.dialect is None:
        return client.root.seen("here").snapshot().base
    return client.manager._binding.readable(client.database, "here").snapshot([]).base


def test_without_a_cache(tmp_path: Path) -> None:
    options = {"cache_bytes": 0, "bulk_rows": 2, "partition_rows": 30, "row_group_rows": 7}
    with open_repository("arrow-root-memory", Site(tmp_path), option_values=options) as found:
        client: Any = found
        fill(client)
        relation = client.manager.sql("SELECT count(*), sum(val) FROM here")
        assert relation.fetchall() == [(100, 49_500)]
        # Every opening fetches and checks again.
        client.root.volume.store.delete(stored(client))
        with pytest.raises(duckdb.Error, match=r"tables/here/.* does not exist"):
            relation.fetchall()


FORBIDDEN = [
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_text('{secret}')",
    "SELECT * FROM read_text('file://{secret}')",
    "SELECT * FROM read_csv('{secret}')",
    "SELECT * FROM read_blob('{secret}')",
    "SELECT * FROM read_json('{secret}')",
    "SELECT * FROM sniff_csv('{secret}')",
    "SELECT * FROM '{secret}'",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM read_parquet('{file}')",
    "SELECT * FROM parquet_metadata('{file}')",
    "SELECT * FROM query('SELECT * FROM read_text(''{secret}'')')",
    "SELECT * FROM read_parquet('arrowopaque://{file}')",
    "SELECT * FROM read_csv('http://127.0.0.1:9/x')",
    "SELECT * FROM read_parquet('s3://bucket/key')",
    "SELECT * FROM variable_of_caller",
    "COPY here TO '{out}'",
    "COPY here TO '{file}' (use_tmp_file false)",
    "WITH c AS (COPY here TO '{out}') SELECT 1",
    "WITH c AS (COPY here TO '{file}' (use_tmp_file false)) SELECT 1",
    "WITH c AS (COPY here TO '{url}' (use_tmp_file false)) SELECT 1",
    "SELECT * FROM query('WITH c AS (COPY here TO ''{file}'' (use_tmp_file false)) SELECT 1')",
    "EXPORT DATABASE '{out}'; SELECT 1",
    "ATTACH '{out}'; SELECT 1",
    "LOAD httpfs; SELECT 1",
    "INSTALL httpfs; SELECT 1",
    "SET enable_external_access = true; SELECT 1",
    "SET lock_configuration = false; SELECT 1",
    "SET allowed_directories = ['/']; SELECT 1",
    "SET allowed_paths = ['{secret}']; SELECT 1",
    "SET allowed_configs = ['enable_external_access']; SELECT 1",
    "SET python_enable_replacements = true; SELECT 1",
    "RESET enable_external_access; SELECT 1",
    # DuckDB adds the folder that it spills to to those that a query may use.
    "SELECT size FROM read_text('.tmp/secret.csv')",
    "SELECT * FROM glob('.tmp/*')",
    "WITH c AS (COPY here TO '.tmp/out') SELECT 1",
    "ATTACH '.tmp/out'; SELECT 1",
    "SET temp_directory = '{folder}'; SELECT 1",
    "SET secret_directory = '{folder}'; SELECT 1",
    "SET log_query_path = '{out}'; SELECT 1",
    "CALL enable_logging(storage_path = '{out}'); SELECT 1",
    "PRAGMA enable_profiling = 'json'; SELECT 1",
    "CALL enable_profiling(save_location = '{out}'); SELECT 1",
    "CREATE PERSISTENT SECRET s (TYPE http); SELECT 1",
    "IMPORT DATABASE '{folder}'; SELECT 1",
    "ATTACH '{out}' (TYPE sqlite); SELECT 1",
    "LOAD '{out}'; SELECT 1",
    "UPDATE EXTENSIONS; SELECT 1",
    "CREATE MACRO f() AS TABLE FROM read_text('{secret}'); SELECT * FROM f()",
    "SELECT * FROM read_ndjson_objects('{secret}')",
    "SELECT * FROM read_csv(['{secret}'])",
    "SELECT * FROM read_duckdb('{database}')",
    "SELECT * FROM read_blob('{database}')",
    "SELECT * FROM sqlite_scan('{database}', 'here')",
    "ATTACH '{database}' AS other (READ_ONLY); SELECT 1",
    "ATTACH '{database}' AS other (TYPE sqlite, READ_ONLY); SELECT * FROM other.here",
    "ATTACH 'postgres:host=127.0.0.1' AS other; SELECT 1",
    "SELECT * FROM read_json('{folder}/*/*/arrowopaque.json')",
    "SELECT * FROM read_text('{marker}')",
    "SELECT * FROM parquet_kv_metadata('{file}')",
    "SELECT * FROM parquet_schema('{secret}')",
    "SELECT * FROM parquet_file_metadata('{secret}')",
    "SELECT * FROM query_table('{secret}')",
    "SELECT * FROM read_text('https://127.0.0.1:9/x')",
    "SELECT * FROM read_text('gcs://bucket/x')",
    "SELECT * FROM read_text('hf://datasets/x')",
    "PREPARE p AS FROM read_text('{secret}'); EXECUTE p",
    "EXPLAIN ANALYZE SELECT * FROM read_text('{secret}')",
    "DESCRIBE FROM read_csv('{secret}')",
    "SUMMARIZE FROM read_csv('{secret}')",
    "CREATE TABLE t AS FROM read_csv('{secret}'); SELECT * FROM t",
    "COPY (SELECT 1) TO 's3://bucket/x'; SELECT 1",
    "PRAGMA enable_external_access = true; SELECT 1",
    "PRAGMA lock_configuration = false; SELECT 1",
    "SET GLOBAL enable_external_access = true; SELECT 1",
    "SET SESSION autoload_known_extensions = true; SELECT 1",
    "SET allow_community_extensions = true; SELECT 1",
    "SET allow_unsigned_extensions = true; SELECT 1",
    "SET allow_persistent_secrets = true; SELECT 1",
    "SET enable_external_file_cache = true; SELECT 1",
    "SET file_search_path = '{folder}'; SELECT 1",
    "SET home_directory = '{folder}'; SELECT 1",
    "SET extension_directory = '{folder}'; SELECT 1",
    "SET custom_extension_repository = 'http://127.0.0.1:9'; SELECT 1",
    "SET autoinstall_extension_repository = 'http://127.0.0.1:9'; SELECT 1",
    "SET profiling_output = '{out}'; SELECT 1",
    "SET http_proxy = '127.0.0.1:9'; SELECT 1",
    "SET s3_endpoint = '127.0.0.1:9'; SELECT 1",
    "SELECT getenv('HOME')",
    "SELECT current_setting('s3_secret_access_key')",
    "CREATE SECRET s (TYPE s3, PROVIDER credential_chain); SELECT 1",
    "INSTALL spatial FROM community; SELECT 1",
    "FORCE INSTALL '{out}'; SELECT 1",
]

RELATION: dict[str, Callable[[duckdb.DuckDBPyRelation, str, str], object]] = {
    "to_parquet": lambda relation, _, out: relation.to_parquet(out),
    "to_csv": lambda relation, _, out: relation.to_csv(out),
    "query": lambda relation, secret, _: relation.query("v", f"FROM read_text('{secret}')"),
    "COPY": lambda relation, _, out: relation.query("v", f"COPY v TO '{out}'"),
    "SET": lambda relation, *_: relation.query("v", "SET enable_external_access = true"),
    "project": lambda relation, secret, _: relation.project(
        f"(SELECT content FROM read_text('{secret}'))"
    ).fetchall(),
    "filter": lambda relation, secret, _: relation.filter(f"EXISTS (FROM read_csv('{secret}'))").fetchall(),
}

variable_of_caller = pa.table({"a": [1]})


@LOCAL
@pytest.mark.parametrize("form", FORBIDDEN)
def test_queries_reach_nothing_else(
    client: Any, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(client)
    monkeypatch.chdir(tmp_path)
    secret, out = tmp_path / "secret.csv", tmp_path / "out"
    secret.write_text("secret\n1\n")
    spilt = tmp_path / ".tmp"
    spilt.mkdir()
    (spilt / "secret.csv").write_text("secret\n1\n")
    (path,) = stored(client)
    file = Path(volume(client).store.local_path(path))
    before = file.read_bytes()
    database = next(tmp_path.rglob("gen3.sqlite3"), secret)
    marker = volume(client).store.local_path("arrowopaque.json")
    assert os.path.isfile(marker)
    query = form.format(
        secret=secret, out=out, file=file, url=url(path), folder=tmp_path, database=database, marker=marker
    )
    with pytest.raises(duckdb.Error):
        client.manager.sql(query).fetchall()
    assert file.read_bytes() == before
    assert not out.exists()
    assert os.listdir(spilt) == ["secret.csv"]
    assert client.manager.sql("SELECT count(*) FROM here").fetchall() == [(100,)]


@pytest.mark.parametrize("client", ["arrow-root-local"], indirect=True)
def test_no_secrets_are_stored_or_listed(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB keeps them below the home of whoever asks."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with duckdb.connect() as connection:
        connection.execute("CREATE PERSISTENT SECRET hidden (TYPE http, BEARER_TOKEN 'x')")
    assert list(tmp_path.rglob("hidden.duckdb_secret"))
    fill(client)
    assert client.manager.sql("SELECT name FROM duckdb_secrets()").fetchall() == []
    assert client.manager.sql(
        "CREATE SECRET mine (TYPE http); SELECT name FROM duckdb_secrets()"
    ).fetchall() == [("mine",)]


@pytest.mark.parametrize("client", ["arrow-root-local"], indirect=True)
@pytest.mark.parametrize("method", RELATION)
@pytest.mark.parametrize("folder", ["", ".tmp"])
def test_relations_reach_nothing_else(
    client: Any, method: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(client)
    monkeypatch.chdir(tmp_path)
    place = tmp_path / folder
    place.mkdir(exist_ok=True)
    secret, out = place / "secret.csv", place / "out"
    secret.write_text("secret\n1\n")
    relation = client.manager.sql("SELECT * FROM here")
    with pytest.raises(duckdb.Error):
        RELATION[method](relation, str(secret), str(out))
    assert not out.exists()


@LOCAL
@pytest.mark.parametrize("path", ["arrowopaque.json", "../secret.csv", "{secret}", "*", "tables/*", ""])
def test_the_scheme_reaches_nothing_else(client: Any, path: str, tmp_path: Path) -> None:
    fill(client)
    secret = tmp_path / "secret.csv"
    secret.write_text("secret")
    query = f"SELECT * FROM read_text('{url(path.format(secret=secret))}')"
    assert client.manager.sql(query).fetchall() == []


def test_variables_of_the_caller_exist() -> None:
    """Without our settings DuckDB would find what a query above names."""
    with duckdb.connect() as connection:
        relation = connection.sql("SELECT * FROM variable_of_caller")
        assert relation is not None
        assert relation.fetchall() == [(1,)]


# The file system itself.


class _Bytes(Reader):
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.is_closed = False

    def read(self, start: int, length: int) -> bytes:
        return self._data[start : start + length]

    def close(self) -> None:
        self.is_closed = True


class _File(FixedFile):
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.readers: list[_Bytes] = []

    @property
    def size(self) -> int:
        return len(self.data)

    def open(self) -> Reader:
        self.readers.append(_Bytes(self.data))
        return self.readers[-1]


@pytest.fixture
def file() -> _File:
    return _File(bytes(range(100)))


@pytest.fixture
def files(file: _File) -> FixedFiles:
    return FixedFiles({"a/b": file})


def test_a_file_is_known_by_its_name_alone(files: FixedFiles) -> None:
    assert files.size(url("a/b")) == files.size("a/b") == 100
    assert files.modified(url("a/b")) == files.modified(url("a/b"))
    assert (files.exists(url("a/b")), files.exists(url("a/c"))) == (True, False)
    assert (files.glob(url("a/b")), files.glob(url("a/*")), files.glob(url("a/c"))) == (["a/b"], [], [])
    for action in (files.open, files.info, files.ls):
        with pytest.raises(FileNotFoundError):
            action(url("a"))


def test_nothing_is_written(files: FixedFiles, file: _File) -> None:
    for mode in ("wb", "ab", "r+b", "xb"):
        with pytest.raises(ReadOnlyError, match="a/b"):
            files.open(url("a/b"), mode)
    with pytest.raises(ReadOnlyError):
        files.pipe_file(url("a/b"), b"x")
    with pytest.raises(NotImplementedError):
        files.rm_file(url("a/b"))
    with pytest.raises(NotImplementedError):
        files.cp_file(url("a/b"), url("a/c"))
    assert file.data == bytes(range(100))


def test_reading(files: FixedFiles, file: _File) -> None:
    with files.open(url("a/b")) as handle:
        assert handle.read(3) == b"\0\1\2"
        assert (handle.seek(-2, io.SEEK_END), handle.read()) == (98, bytes([98, 99]))
        assert (handle.seek(10), handle.seek(5, io.SEEK_CUR), handle.read(1)) == (10, 15, b"\x0f")
        assert (handle.seek(200), handle.read(1), handle.tell()) == (200, b"", 200)
    assert [reader.is_closed for reader in file.readers] == [True]


def test_threads_share_a_handle(files: FixedFiles) -> None:
    """DuckDB reads one handle from many threads: seek and read, each in its own place."""
    handle = files.open(url("a/b"))
    everybody, wrong = threading.Barrier(8), []

    def read(mine: int) -> None:
        for _ in range(20):
            handle.seek(mine)
            everybody.wait()
            if handle.read(2) != bytes([mine, mine + 1]):
                wrong.append(mine)

    threads = [threading.Thread(target=read, args=(10 * number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_thread_has_to_seek_first(files: FixedFiles) -> None:
    handle, raised = files.open(url("a/b")), []

    def read() -> None:
        try:
            handle.read(1)
        except OSError as err:
            raised.append(err)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert len(raised) == 1


def test_the_first_error_is_kept() -> None:
    class Bad(_File):
        def open(self) -> Reader:
            raise CorruptStoreError(f"{len(self.data)}")

    files = FixedFiles({"a": Bad(b"1"), "b": Bad(b"22")})
    for path in ("a", "b"):
        with pytest.raises(ArrowOpaqueError):
            files.open(path)
    assert str(files.failure) == "1"
