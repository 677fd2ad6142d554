"""Where credentials and endpoints come from, and that they are shown nowhere."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable

import pytest

from arrowopaque.errors import ConfigurationError, StoreAccessError
from arrowopaque.objects.base import ObjectStore
from tests.objects.calls import each_call
from tests.support.s3server import ACCESS_KEY, SECRET_KEY, Fault, S3Server
from tests.support.stores import S3Backend


def secrets_in(text: str) -> list[str]:
    return [secret for secret in (ACCESS_KEY, SECRET_KEY) if secret in text]


@each_call
def test_credentials_are_in_no_message(
    store: ObjectStore,
    backend: S3Backend,
    call: Callable[[ObjectStore], object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for method in ("GET", "PUT", "HEAD", "POST"):
        backend.server.break_next(Fault(method, status=403, code="SignatureDoesNotMatch", times=1000))
    with caplog.at_level(logging.INFO), pytest.raises(StoreAccessError) as caught:
        call(store)
    text = "".join(traceback.format_exception(caught.value))
    assert secrets_in(text + caplog.text + repr(store) + repr(caught.value) + store.uri) == []


def test_missing_credentials_are_said(backend: S3Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreAccessError, match="NoCredentialsError; check that this process has credentials"):
        backend.open().get("a")


def test_the_butlers_own_setting_of_the_endpoint_is_read(
    backend: S3Backend, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("S3_ENDPOINT_URL", s3_server.url)
    backend.plant("a", b"x")
    assert backend.open().get("a") == b"x"


def test_keys_in_the_butlers_setting_are_used_and_hidden(
    backend: S3Backend, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    host = s3_server.url.removeprefix("http://")
    monkeypatch.setenv("S3_ENDPOINT_URL", f"http://embedded-key:embedded%2Fsecret@{host}")
    store = backend.open()
    backend.plant("a", b"x")
    assert store.get("a") == b"x"
    s3_server.break_next(Fault("GET", status=403, code="AccessDenied"))
    with pytest.raises(StoreAccessError) as caught:
        store.get("a")
    assert "embedded" not in "".join(traceback.format_exception(caught.value)) + repr(store)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ENDPOINT_URL", "http://key:hidden@host"),
        ("AWS_ENDPOINT_URL_S3", "http://key:hidden@host"),
        ("AWS_ENDPOINT_URL", "hidden:9000"),
        ("S3_ENDPOINT_URL", "hidden:9000"),
        ("S3_ENDPOINT_URL", "http://[hidden"),
        ("S3_ENDPOINT_URL", "http://hidden@host"),
    ],
)
def test_a_bad_endpoint_is_named_and_not_repeated(
    backend: S3Backend, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name) as caught:
        backend.open()
    assert "hidden" not in "".join(traceback.format_exception(caught.value))
