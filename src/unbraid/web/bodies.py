"""The JSON that requests may hold: read by a schema, and written anew with what the schema has and nothing else.

gradio opens the path, and fetches the address, that a client names in place of a file it has sent, and it answers what
it doesn't expect with a traceback in the server's window. Here only calls of functions that there are pass, with as
many values as they take, where files are ones that were received and nothing else is an object.
"""

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

Word = Annotated[str, msgspec.Meta(max_length=200)]
Number = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class NotTaken(Exception):
    """A request holds something else than the page sends. The text says what."""


class _Meta(msgspec.Struct):
    kind: Literal["gradio.FileData"] = msgspec.field(name="_type")


class _File(msgspec.Struct):
    """A file that was uploaded: its place on the server, without the address that a browser sends beside it."""

    path: str
    meta: _Meta
    orig_name: Annotated[str, msgspec.Meta(max_length=1000)] | None = None
    size: Number | None = None
    mime_type: Word | None = None


class _Call(msgspec.Struct):
    data: list[Any]
    session_hash: Word | None = None
    event_id: Word | None = None
    fn_index: Number | None = None
    trigger_id: Number | None = None
    event_data: Any = None


class _Cancel(msgspec.Struct):
    session_hash: Word
    fn_index: Number
    event_id: Word


class _Reset(msgspec.Struct):
    event_id: Word


@dataclass(frozen=True)
class Input:
    """A value that a function takes: its name, and whether it is a file, or a state, which no client sends."""

    name: str
    file: bool = False
    state: bool = False


Functions = Mapping[int | str, tuple[Input, ...]]
"""The inputs of each function, by its number and by its name as an endpoint."""


def functions(blocks: Any) -> dict[int | str, tuple[Input, ...]]:
    """Returns what the functions of a page take, gradio's Blocks: a plain install imports this module without it."""
    found: dict[int | str, tuple[Input, ...]] = {}
    for number, function in blocks.fns.items():
        names = list(inspect.signature(function.fn).parameters) if function.fn else []
        found[number] = tuple(
            Input(names[at] if at < len(names) else "", block.get_block_name() == "image", bool(block.stateful))
            for at, block in enumerate(function.inputs)
        )
        if function.api_name:
            found[function.api_name] = found[number]
    return found


def rewritten(place: str, body: bytes, folder: Path, known: Functions) -> bytes:
    """Returns the body of a request as it may go on.

    Args:
        place: The address behind gradio's prefix, such as "call/search".
        body: JSON.
        folder: Where received files lie.
        known: The functions there are.

    Raises:
        NotTaken: It holds something else.
    """
    try:
        value = json.loads(body)
        if place in ("cancel", "reset"):
            return msgspec.json.encode(msgspec.convert(value, _Cancel if place == "cancel" else _Reset))
        if place.startswith("call/v2/"):
            return _encoded(_named(place.removeprefix("call/v2/"), value, folder, known))
        call = msgspec.convert(value, _Call)
        way, _, name = place.partition("/")
        inputs = known.get(name if way == "call" or call.fn_index is None else call.fn_index)
        if inputs is None:
            raise NotTaken("There is no such function")
        call.data = _values(call.data, inputs, folder)
        call.event_data = {"index": _index(call.event_data)}
        return _encoded(msgspec.to_builtins(call))
    except (ValueError, RecursionError, OverflowError) as error:  # msgspec's are ValueErrors
        raise NotTaken(f"This is not what the page sends: {error}"[:300]) from error


def _encoded(value: object) -> bytes:
    return json.dumps(value).encode()


def _named(name: str, value: object, folder: Path, known: Functions) -> dict[str, object]:
    inputs = {each.name: each for each in known.get(name, ())}
    if not inputs or not isinstance(value, dict):
        raise NotTaken("There is no such function" if not inputs else "Give its inputs by their names")
    if strange := [key for key in value if key not in inputs]:
        raise NotTaken(f"{name} has no input {strange[0]!r:.50}; it has: {', '.join(inputs)}")
    return {key: _value(each, inputs[key], folder) for key, each in value.items()}


def _values(data: list[object], inputs: tuple[Input, ...], folder: Path) -> list[object]:
    sent = [each for each in inputs if not each.state]
    if len(data) == len(inputs):
        sent = inputs
    elif len(data) != len(sent):
        raise NotTaken(f"It takes {len(sent)} values, and {len(data)} were sent")
    return [_value(value, each, folder) for value, each in zip(data, sent, strict=True)]


def _value(value: object, kind: Input, folder: Path) -> object:
    if kind.state or value is None:
        return None
    if kind.file:
        return _received(value, folder)
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, (dict, list)) for one in value)):
        raise NotTaken(f"{kind.name or 'An input'} is text, a number or a list of these")
    return value


def _received(value: object, folder: Path) -> dict[str, object]:
    file = msgspec.convert(value, _File)
    path = Path(file.path).resolve() if "\0" not in file.path else folder
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise NotTaken("Only pictures that were uploaded here are taken")
    return msgspec.to_builtins(file)


def _index(event: object) -> int | list[float] | None:
    """Returns the place, or the part of a chart, that was picked, all that a function needs of an event."""
    index = event.get("index") if isinstance(event, dict) else None
    if isinstance(index, list) and len(index) <= 2 and all(isinstance(each, (int, float)) for each in index):
        return index
    return index if isinstance(index, int) else None
