"""The prompt of ``query``: statements are typed, completed and remembered."""

from __future__ import annotations

__all__ = ["Vocabulary", "converse"]

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from arrowopaque.cli.exits import exit_of, message_of
from arrowopaque.cli.output import Output
from arrowopaque.query import keywords, quote

_HELP = r"""End statements with ";".  \d lists the tables, \d NAME the columns of one, \q leaves."""
_HISTORY = ".arrowopaque_history"
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_TYPED = re.compile(r'"[^"]*$|\w+$')
# What a semicolon ends no statement in.
_QUOTED = re.compile(r"""'(?:[^']|'')*'?|"(?:[^"]|"")*"?|--[^\n]*|/\*.*?(?:\*/|$)""", re.DOTALL)


class Vocabulary(Completer):
    """What can be typed: names of tables and columns, and words of SQL.

    Parameters
    ----------
    tables
        The columns of each table; none for a view.
    """

    def __init__(self, tables: Mapping[str, Sequence[str]]) -> None:
        self.tables = tables
        reserved = keywords()
        columns: dict[str, list[str]] = {}
        for table, names in tables.items():
            for name in names:
                columns.setdefault(name, []).append(table)
        found = [(name, "table") for name in tables]
        found += [(name, f"column of {', '.join(of)}") for name, of in columns.items()]
        self._words = [
            (name, name if _PLAIN.fullmatch(name) and name not in reserved else quote(name), what)
            for name, what in found
        ]
        self._words += [(word, word.upper(), "") for word in sorted(reserved)]

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """Yield what begins as what was typed; see `Completer`."""
        typed = _TYPED.search(document.text_before_cursor)
        if typed is None:
            return
        start = typed.group().removeprefix('"').casefold()
        for word, text, what in self._words:
            if word.casefold().startswith(start):
                yield Completion(text, -len(typed.group()), display_meta=what)

    def described(self, command: str) -> str:
        r"""Return what ``\d`` says.

        Raises
        ------
        LookupError
            There is no such table.
        """
        name = command.removeprefix("\\d").strip()
        if not name:
            return "\n".join(self.tables)
        if name not in self.tables:
            raise LookupError(f"there is no table {name!r}; there are {', '.join(self.tables)}")
        return "\n".join(self.tables[name]) or f"{name} is a view: DESCRIBE {name}; lists its columns"


def is_complete(text: str) -> bool:
    """Return whether what was typed is to be done, and not to go on."""
    text = text.strip()
    return not text or text.startswith("\\") or _QUOTED.sub("", text).rstrip().endswith(";")


def _bindings(session: Callable[[], PromptSession[str]]) -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("enter", filter=Condition(lambda: is_complete(session().default_buffer.text)))
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    return bindings


def _history(output: Output) -> History:
    path = Path.home() / _HISTORY
    try:
        path.touch(mode=0o600)
    except OSError as err:
        output.say(f"statements are not remembered: {path} cannot be written ({err.strerror})")
        return InMemoryHistory()
    return FileHistory(str(path))


def converse(output: Output, answer: Callable[[str], None], words: Vocabulary) -> None:
    """Answer statements until there are no more.

    Parameters
    ----------
    output
        Where to tell of errors, which end nothing.
    answer
        Answers one.
    words
        What can be typed.
    """
    output.say(_HELP)
    session: PromptSession[str] = PromptSession(
        "arrowopaque> ",
        history=_history(output),
        completer=words,
        multiline=True,
        prompt_continuation="        ...> ",
        key_bindings=_bindings(lambda: session),
    )
    while True:
        try:
            text = session.prompt().strip()
        except KeyboardInterrupt:
            # What was typed is dropped.
            continue
        except EOFError:
            return
        if text in ("\\q", "\\q;"):
            return
        if text:
            _do(output, answer, words, text)


def _do(output: Output, answer: Callable[[str], None], words: Vocabulary, text: str) -> None:
    try:
        if text.startswith("\\d"):
            output.show(words.described(text), words.described(text))
        elif text.startswith("\\"):
            output.say(_HELP)
        else:
            answer(text)
    except KeyboardInterrupt:
        output.say("stopped")
    except Exception as err:
        if exit_of(err) is None:
            raise
        output.say(f"error: {message_of(err)}")
