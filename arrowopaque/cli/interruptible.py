"""Work that Ctrl-C stops, although it looks at no signals."""

from __future__ import annotations

__all__ = ["heeding_interrupts", "interruptible", "stopped"]

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from threading import Event, current_thread, main_thread
from typing import Any, TypeVar

Result = TypeVar("Result")

_PAUSE = 0.1
"""Seconds until somebody looks whether Ctrl-C was pressed."""


def interruptible(action: Callable[[], Result], stop: Callable[[], None]) -> Result:
    """Return what an action does, in a thread of its own: Python tells of
    Ctrl-C only the main one, and only when it is not in foreign code.

    Parameters
    ----------
    action
        What to do.
    stop
        Lets it fail soon.

    Raises
    ------
    KeyboardInterrupt
        Somebody pressed Ctrl-C, and the action has ended.
    """
    results: list[Result] = []
    # If it were raised, that might be when nobody is left to stop the action.
    with _noting_interrupts() as pressed, ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: results.append(action()))
        while not wait([running], _PAUSE).done:
            if pressed.is_set():
                stop()
    # Asked only now: it may have been pressed while the thread ended.
    if pressed.is_set():
        # What came of it may be busy still.
        stopped(results.clear, stop)
        raise KeyboardInterrupt
    running.result()
    return results.pop()


def stopped(action: Callable[[], object], stop: Callable[[], None]) -> None:
    """Do what waits for the end of something, and let that fail soon.

    Parameters
    ----------
    action
        What to do.
    stop
        Called again and again: before something has begun there is nothing
        to stop.
    """
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(action)
        while not wait([running], _PAUSE).done:
            stop()
    running.result()


@contextmanager
def heeding_interrupts() -> Iterator[None]:
    """Let Ctrl-C stop what is inside, even where foreign code that has seen
    it goes on, or makes an error of its own of it.

    Raises
    ------
    KeyboardInterrupt
        Somebody pressed Ctrl-C.
    """
    with _noting_interrupts(raising=True) as pressed:
        try:
            yield
        except Exception as err:
            if pressed.is_set():
                raise KeyboardInterrupt from err
            raise
    if pressed.is_set():
        raise KeyboardInterrupt


@contextmanager
def _noting_interrupts(*, raising: bool = False) -> Iterator[Event]:
    """Give what is set by Ctrl-C, which otherwise does nothing meanwhile, or
    raises what it always does.

    A shell lets what it starts in the background ignore it: that goes on.
    """
    pressed = Event()
    if current_thread() is not main_thread() or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield pressed
        return

    def note(*_: Any) -> None:
        pressed.set()
        if raising:
            raise KeyboardInterrupt

    usual = signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, usual)
