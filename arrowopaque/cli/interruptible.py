"""Work that Ctrl-C stops, although it looks at no signals."""

from __future__ import annotations

__all__ = ["interruptible"]

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from threading import Event, current_thread, main_thread
from typing import TypeVar

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
    with _noting_interrupts() as pressed, ThreadPoolExecutor(1) as pool:
        running = pool.submit(action)
        while not running.done():
            wait([running], _PAUSE)
            if pressed.is_set():
                # Again and again: before it has begun there is nothing to stop.
                stop()
    if pressed.is_set():
        raise KeyboardInterrupt
    return running.result()


@contextmanager
def _noting_interrupts() -> Iterator[Event]:
    """Give what is set by Ctrl-C, which raises nothing meanwhile: that could
    come when nobody would be left to stop the action.
    """
    pressed = Event()
    if current_thread() is not main_thread():
        yield pressed
        return
    usual = signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, usual)
