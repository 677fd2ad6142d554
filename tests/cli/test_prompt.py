"""The prompt of ``arrowopaque query``, at a terminal that is none, and at one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from arrowopaque import ConfigurationError
from arrowopaque.cli.output import Output
from arrowopaque.cli.prompt import Vocabulary, converse, is_complete

TABLES: dict[str, tuple[str, ...]] = {
    "here": ("id", "name", "Two Words"),
    "Odd": ("id", "select"),
    "datasets": (),
}
UP, CTRL_C, CTRL_D = "\x1b[A", "\x03", "\x04"

Typed = Callable[[str], list[str]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def answers() -> list[str]:
    """Grows with every statement that is answered."""
    return []


@pytest.fixture
def typed(answers: list[str]) -> Iterator[Typed]:
    """Type something, and return the statements that were answered."""

    def answer(text: str) -> None:
        if "fail" in text:
            raise ConfigurationError(f"{text!r} is no good")
        if "stop" in text:
            raise KeyboardInterrupt
        if "defect" in text:
            raise ZeroDivisionError
        answers.append(text)

    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):

        def run(text: str) -> list[str]:
            pipe.send_text(text)
            converse(Output(as_json=False), answer, Vocabulary(TABLES))
            return answers

        yield run


def test_statements_end_with_a_semicolon(typed: Typed) -> None:
    assert typed("SELECT 1;\rSELECT\r2\r;\r\\q\r") == ["SELECT 1;", "SELECT\n2\n;"]


def test_leaving(typed: Typed) -> None:
    assert typed(f"SELECT 1;\r{CTRL_D}SELECT 2;\r") == ["SELECT 1;"]


def test_a_semicolon_in_a_text_ends_nothing(typed: Typed) -> None:
    assert typed("SELECT 'a;\rb' -- no;\r;\r\\q\r") == ["SELECT 'a;\nb' -- no;\n;"]


def test_errors_do_not_end_it(typed: Typed, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("fail;\rstop;\r\\d nowhere\rSELECT 1;\r\\q\r") == ["SELECT 1;"]
    err = capsys.readouterr().err
    assert "error: 'fail;' is no good\n" in err
    assert "stopped\n" in err
    assert "error: there is no table 'nowhere'; there are here, Odd, datasets\n" in err


def test_defects_do(typed: Typed) -> None:
    with pytest.raises(ZeroDivisionError):
        typed("defect;\r")


def test_dropping_what_was_typed(typed: Typed) -> None:
    assert typed(f"SELECT bad{CTRL_C}SELECT 1;\r\\q\r") == ["SELECT 1;"]


def test_tables_and_columns(typed: Typed, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("\\d\r\\d here\r\\d datasets\r\r\\?\r\\q\r") == []
    captured = capsys.readouterr()
    assert captured.out.startswith("here\nOdd\ndatasets\nid\nname\nTwo Words\n")
    assert "DESCRIBE datasets;" in captured.out
    assert captured.err.count("\\q leaves") == 2


def test_statements_are_remembered(typed: Typed, home: Path, answers: list[str]) -> None:
    typed("SELECT 1;\r\\q\r")
    assert "+SELECT 1;" in (home / ".arrowopaque_history").read_text()
    answers.clear()
    assert typed(f"{UP}{UP}\r\\q\r") == ["SELECT 1;"]


def test_a_home_that_cannot_be_written(
    typed: Typed, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(home / "nowhere"))
    assert typed("SELECT 1;\r\\q\r") == ["SELECT 1;"]
    assert "not remembered" in capsys.readouterr().err


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(TABLES)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SELECT i", {"id", "IN", "INITIALLY", "INTERSECT", "INTO"}),
        ("SELECT na", {"name"}),
        ("SELECT here.na", {"name"}),
        ("SELECT tw", {'"Two Words"'}),
        ('SELECT "tw', {'"Two Words"'}),
        ("FROM he", {"here"}),
        ("FROM od", {'"Odd"'}),
        ("sel", {"SELECT", '"select"'}),
        ("SELECT ", set()),
        ("SELECT zzz", set()),
    ],
)
def test_completion(vocabulary: Vocabulary, text: str, words: set[str]) -> None:
    found = list(vocabulary.get_completions(Document(text), CompleteEvent()))
    assert {completion.text for completion in found} == words


def test_completion_takes_the_place_of_what_was_typed(vocabulary: Vocabulary) -> None:
    (found,) = vocabulary.get_completions(Document('SELECT "tw'), CompleteEvent())
    assert found.start_position == -3
    assert found.display_meta_text == "column of here"


@pytest.mark.parametrize(
    "text", ["", "SELECT 1;", "SELECT 1; -- done", "\\d", "SELECT ';';", 'SELECT "a;" ;\n']
)
def test_what_is_complete(text: str) -> None:
    assert is_complete(text)


@pytest.mark.parametrize("text", ["SELECT 1", "SELECT ';", "SELECT 1 -- ;", "SELECT 1 /* ;", 'SELECT ";'])
def test_what_goes_on(text: str) -> None:
    assert not is_complete(text)


def test_at_a_terminal(place: str, home: Path) -> None:
    from tests.cli.test_query import at_terminal

    typed = [
        (b"arrowopaque>", b"SELECT count(*) AS n FROM he"),
        (b"here", b"\t"),
        (b"re", b"\rWHERE id < 7;\r"),
        (b"1 row", b"SELECT nope;\r"),
        (b"Binder Error", b"\\d\r"),
        (b"empty", b"\\q\r"),
    ]
    code, shown = at_terminal("query", place, typed=typed)
    assert code == 0
    assert "│ 7 │" in shown.decode(errors="replace")
    assert "+SELECT count(*) AS n FROM here\n+WHERE id < 7;" in (home / ".arrowopaque_history").read_text()
