import io

import pytest

from unbraid.core.console import Console
from unbraid.core.progress import Meter


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_on_a_terminal_and_beside_one(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unbraid.core.progress.PLAIN_SECONDS", -1.0)
    out = io.StringIO()
    with Meter("[b]:cat: images", 4, Console(file=out, force_terminal=terminal, width=200)) as meter:
        meter.advance(2)
        meter.advance(2)
    assert "[b]:cat: images" in out.getvalue()
    assert "4 of 4" in out.getvalue()
