import time

from unbraid.progress import Meter


def test_progress_says_rate_and_time_left() -> None:
    meter = Meter("Embedding", 100)
    meter._began = time.monotonic() - 10
    with meter:
        meter.advance(50)
    assert meter.text() == "50 of 100, 5 a second, 0:00:10 left"
