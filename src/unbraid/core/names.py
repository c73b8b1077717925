"""What domains are called, in texts that were written with a and b."""

import re
from collections.abc import Sequence

from unbraid.core.types import DOMAINS

WRITTEN = re.compile(r"\b[ab](?=->[ab]\b)|(?<=\b[ab]->)[ab]\b|\bdomain [ab]\b")
LETTER = re.compile(r"(?<![^\W_])[ab](?![^\W_])")


def in_text(text: str, names: Sequence[str]) -> str:
    """Returns a text with the domains' names for `a->b` and `domain a`.

    Args:
        text: Words of the program's.
        names: What a and b are called; a and b if they have no other names.
    """
    return text if tuple(names) == DOMAINS else _called(WRITTEN, text, names)


def in_figure(name: str, names: Sequence[str]) -> str:
    """Returns the name of a loss or figure, such as `reconstruction_a`, with the domains' names. See `in_text`."""
    return _called(LETTER, name, names)


def _called(pattern: re.Pattern[str], text: str, names: Sequence[str]) -> str:
    return pattern.sub(lambda found: names[found[0].endswith("b")], text)
