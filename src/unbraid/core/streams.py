"""Output streams whose reader may leave, and a clean exit on Ctrl-C."""

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

GONE = (errno.EPIPE, errno.EIO)
"""Errors of a pipe whose reader has left, such as `head`, and of a closed terminal."""


class QuietStream:
    """Output stream that discards text once its reader has left."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes text."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Writes lines."""
        self.write("".join(lines))

    def flush(self) -> None:
        """Flushes the stream."""
        self._try(self._stream.flush)

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OSError as error:
            if error.errno not in GONE:
                raise
            # what is still in its buffer goes the same way at the end
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def quiet_streams() -> Iterator[None]:
    """Makes standard output and error discard text inside the block, once their reader has left or if closed."""
    with contextlib.ExitStack() as stack:
        for name, redirect in (("stdout", contextlib.redirect_stdout), ("stderr", contextlib.redirect_stderr)):
            stream = getattr(sys, name) or stack.enter_context(open(os.devnull, "w"))
            kept: Any = QuietStream(stream)
            stack.callback(kept.flush)
            stack.enter_context(redirect(kept))
        yield


@contextlib.contextmanager
def handling(
    handler: Callable[[int, FrameType | None], object], always: Sequence[str] = (), unless_ignored: Sequence[str] = ()
) -> Iterator[None]:
    """Lets a function handle signals inside the block, in the main thread; others have none.

    Args:
        handler: The function.
        always: Names of signals.
        unless_ignored: Signals that stay ignored if they are, as by nohup; those that the system lacks are left out.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in unless_ignored if hasattr(signal, name)]
    numbers = [getattr(signal, name) for name in always] + [
        number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


@contextlib.contextmanager
def exit_on_interrupt() -> Iterator[None]:
    """Makes Ctrl-C exit with status 130 inside the block: imports may turn KeyboardInterrupt into another error."""

    def stop(signum: int, frame: FrameType | None) -> None:
        os.write(2, b"unbraid: stopped\n")
        os._exit(130)

    with handling(stop, unless_ignored=("SIGINT",)):
        yield
