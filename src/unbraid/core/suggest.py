"""The nearest known names, for errors about unknown ones."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns a question with the names that are most like an unknown one, nothing if none is.

    Example:
        >>> did_you_mean("trian", ["train", "translate"])
        ' Did you mean train?'
    """
    lower = {each.lower(): each for each in known}
    close = [lower[each] for each in get_close_matches(name.lower(), lower, 3, 0.65)]
    if not close:
        return ""
    *others, last = close
    return f" Did you mean {', '.join(others)} or {last}?" if others else f" Did you mean {last}?"
