"""Work that threads do ahead of who takes its results."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def in_order(
    work: Callable[[Argument], Result], arguments: Iterable[Argument], workers: int, ahead: int
) -> Iterator[Result]:
    """Yields the results of some work in order, while threads do what comes next.

    Args:
        work: Is called with each argument.
        arguments: In their order.
        workers: Threads.
        ahead: Results that are begun, or wait to be taken, at most.
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for argument in arguments:
                waiting.append(pool.submit(work, argument))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for job in waiting:
                job.cancel()
