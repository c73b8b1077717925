"""What a page or a program sends, as values that views can rely on. Every function raises UserError in words."""

import re
from typing import Annotated, Any

import msgspec

from unbraid.core.types import UserError

MOST_TEXT = 20_000
"""Characters; what stands under a picture may name a dozen files."""
MOST_SEED = 2**31 - 1
MOST_NUMBER = 2**53
"""Beyond it, a browser's numbers are no longer whole."""
_BOUNDS = msgspec.Meta(ge=-MOST_NUMBER, le=MOST_NUMBER)
Text = Annotated[str, msgspec.Meta(max_length=MOST_TEXT)]
Value = Annotated[int, _BOUNDS] | Annotated[float, _BOUNDS] | Annotated[str, msgspec.Meta(max_length=MOST_TEXT)] | None
"""A word, or a number where one belongs."""
Choice = Text | None
"""One of some words, or none where there are none to choose from."""
Words = list[Text] | None
File = dict[str, object] | None


def checked(value: object, kind: Any) -> None:
    """Raises UserError for a value that is not of a type that msgspec knows, or for text that can't be written down."""
    try:
        msgspec.convert(value, kind)
        msgspec.json.encode(value)  # neither can half a character
    except (msgspec.ValidationError, msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"This is not what the page sends: {error}") from None


def whole(value: object, what: str, least: int, most: int) -> int:
    """Returns a whole number. See `inputs.whole_number`."""
    number = None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value and abs(value) < 2**53:
        number = int(value) if value == int(value) else None
    elif isinstance(value, str) and re.fullmatch(r"\s*-?\d{1,12}\s*", value):
        number = int(value)
    if number is None or not least <= number <= most:
        raise UserError(f"{what} is a whole number from {least} to {most}, not {str(value)[:40]!r}")
    return number


def share(value: object, what: str) -> float:
    """Returns a number between 0 and 1."""
    try:
        number = float(value) if isinstance(value, (int, float, str)) else -1.0
    except (ValueError, OverflowError):
        number = -1.0
    if not 0 <= number <= 1:
        raise UserError(f"{what} is a number from 0 to 1, not {str(value)[:40]!r}")
    return number


def several(value: object, what: str, most: int) -> list[int]:
    """Returns whole numbers, at most `most`, given as "0, 5, 9". See `whole`."""
    words = [word for word in re.split(r"[,\s]+", str(value or "")) if word]
    if len(words) > most:
        raise UserError(f"{what}: at most {most} at once, not {len(words)}")
    return [whole(word, what, 0, MOST_SEED) for word in words]


def one_of(value: object, what: str, choices: list[str] | tuple[str, ...]) -> str:
    """Returns one of some words. See `whole`."""
    if not isinstance(value, str) or value not in choices:
        raise UserError(f"{what} is one of {', '.join(choices)}, not {str(value)[:40]!r}")
    return value
