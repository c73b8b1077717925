"""A moment at which training ends, whatever its length is. It stands beside a run's settings, which don't know of it:
without one the run goes on as if it had been interrupted."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class Deadline:
    """When training ends at the latest.

    Args:
        at: The moment, by `time.monotonic`.
        ended: Where it ended a stage, in words; empty if it ended none.
    """

    at: float = math.inf
    ended: str = ""

    def of_stage(self, shares: Sequence[float]) -> float:
        """Returns the moment at which a stage that begins now ends. It has its share of the time that is left: later
        stages are needed too, for in some methods only these let a new image be encoded.

        shares: of this stage and of those after it.
        """
        now = time.monotonic()
        return now + (self.at - now) * shares[0] / (sum(shares) or 1)
