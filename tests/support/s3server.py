"""A server that speaks S3 over HTTP, with a log and with faults on demand.

moto answers the requests. It does not keep conditional writes apart under
threads, so one lock serialises them; delays and faults are outside of it.
"""

from __future__ import annotations

__all__ = ["Fault", "Request", "S3Server"]

import io
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qs

from moto.backends import get_backend
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.test import run_wsgi_app
from werkzeug.wrappers import Response

REGION = "us-east-1"
ACCESS_KEY = "AKIATESTONLY"
SECRET_KEY = "a/secret+for tests:only"

_serial = itertools.count()


@dataclass(frozen=True, slots=True)
class Request:
    """One request; ``sent`` is the length of the reply's body, ``range`` the header."""

    method: str
    bucket: str
    key: str
    query: dict[str, list[str]]
    range: str | None
    sent: int

    @property
    def is_list(self) -> bool:
        return self.method == "GET" and not self.key


@dataclass(slots=True)
class Fault:
    """What is to go wrong with the next ``times`` requests that it fits.

    With a ``status`` the server answers that, and ``body`` or an error with
    the ``code``; without one the connection is cut. Either happens after the
    request took effect if it ``lands``.
    """

    method: str
    key: str = ""
    lands: bool = False
    status: int | None = None
    code: str = "InternalError"
    body: str | None = None
    times: int = 1

    def fits(self, method: str, key: str) -> bool:
        return self.times > 0 and method == self.method and key.endswith(self.key)


class _ConnectionCutError(Exception):
    """Close the connection without a word."""


class S3Server:
    """The server, running while it is entered as a context."""

    def __init__(self) -> None:
        self.latency = 0.0
        self.honours_conditions = True
        self._app = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self._log: list[Request] = []
        self._faults: list[Fault] = []

    def __enter__(self) -> Self:
        self._server: BaseWSGIServer = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=_Handler
        )
        self._connections: set[socket.socket] = set()
        self._server.connections = self._connections  # type: ignore[attr-defined]  # for _Handler
        self._thread = threading.Thread(target=self._server.serve_forever, name="s3server", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for connection in list(self._connections):
            _cut(connection)
        with self._lock:
            self._backend.reset()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What makes any S3 client of this process or of a child use the server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def _backend(self) -> Any:
        return get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"]

    def make_bucket(self) -> str:
        """Make an empty bucket and return its name."""
        name = f"bucket-{next(_serial)}"
        with self._lock:
            self._backend.create_bucket(name, REGION)
        return name

    def peek(self, bucket: str, key: str) -> bytes | None:
        """Return an object without a request."""
        with self._lock:
            found = self._backend.get_object(bucket, key)
            return None if found is None else bytes(found.value)

    def contents(self, bucket: str) -> dict[str, bytes]:
        """Return all objects without a request."""
        with self._lock:
            return {found.name: bytes(found.value) for found in self._backend.buckets[bucket].keys.values()}

    def plant(self, bucket: str, key: str, data: bytes) -> None:
        """Store an object without a request."""
        with self._lock:
            self._backend.put_object(bucket, key, data)

    def break_next(self, fault: Fault) -> Fault:
        """Arm a fault; its ``times`` shows how often it is still to strike."""
        self._faults.append(fault)
        return fault

    def mend(self) -> None:
        """Disarm all faults, and be fast and correct again."""
        self._faults.clear()
        self.latency = 0.0
        self.honours_conditions = True

    @contextmanager
    def recording(self) -> Iterator[list[Request]]:
        """Give the list of requests that are answered within the context."""
        start = len(self._log)
        requests: list[Request] = []
        yield requests
        requests.extend(self._log[start:])

    def record(self, request: Request) -> None:
        """Note a request before its reply is sent."""
        self._log.append(request)

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        method = environ["REQUEST_METHOD"]
        bucket, _, key = environ["PATH_INFO"].encode("latin-1").decode().lstrip("/").partition("/")
        if self.latency:
            time.sleep(self.latency)
        fault = self._take_fault(method, key)
        if fault is not None and not fault.lands:
            response = _failure(fault)
        else:
            if not self.honours_conditions:
                environ.pop("HTTP_IF_NONE_MATCH", None)
            with self._lock:
                response = Response.from_app(self._app, environ, buffered=True)
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        sent = 0 if method == "HEAD" else len(response.data)
        self.record(Request(method, bucket, key, query, environ.get("HTTP_RANGE"), sent))
        if fault is not None and fault.lands:
            response = _failure(fault)
        return response(environ, start_response)

    def _take_fault(self, method: str, key: str) -> Fault | None:
        with self._lock:
            fault = next((fault for fault in self._faults if fault.fits(method, key)), None)
            if fault is not None:
                fault.times -= 1
        return fault


def _failure(fault: Fault) -> Response:
    if fault.status is None:
        raise _ConnectionCutError
    body = fault.body or f"<Error><Code>{fault.code}</Code><Message>injected</Message></Error>"
    return Response(body, fault.status, mimetype="application/xml")


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the client was faster


class _Handler(MotoRequestHandler):
    """Keeps connections alive, which werkzeug's own handler does not."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)  # type: ignore[attr-defined]  # set by S3Server

    def finish(self) -> None:
        self.server.connections.discard(self.connection)  # type: ignore[attr-defined]  # set by S3Server
        super().finish()

    def handle_expect_100(self) -> bool:
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.wfile.flush()
        return True

    def run_wsgi(self) -> None:
        environ = self.make_environ()
        environ["wsgi.input"] = io.BytesIO(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        try:
            chunks, status, headers = run_wsgi_app(self.server.app, environ, buffered=True)
        except _ConnectionCutError:
            self.close_connection = True
            _cut(self.connection)
            return
        body = b"" if self.command == "HEAD" else b"".join(chunks)
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        for name, value in headers:
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: S3Server has a log of its own."""
