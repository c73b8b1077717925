"""Atomic writes, and JSON that is checked when it is read."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from safetensors import SafetensorError

from unbraid.core.types import UserError

Json = dict[str, Any]
"""An object of JSON. Its values are of the types that JSON has; who reads one knows, or checks, which."""


def write_atomically(
    path: Path, write: Callable[[Path], object], put: Callable[[Path, Path], object] = os.replace
) -> None:
    """Writes a file completely or not at all, by way of a temporary file in the same folder.

    Args:
        path: The file. Its folder is created if it is missing.
        write: Writes the content to the path that it is given.
        put: Moves the temporary file to `path`.

    Raises:
        UserError: The disk is full, or the folder can't be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb+") as file:  # Windows flushes no file that is open for reading alone
            os.fsync(file.fileno())
        put(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        cause = next((each for each in _chain(error) if isinstance(each, OSError) or _is_full_disk(each)), None)
        if isinstance(error, Exception) and cause is not None:
            raise UserError(f"Could not write {path}: {_reason(cause)}. What was there before is untouched") from error
        raise


def create_json(path: Path, value: object) -> bool:
    """Writes JSON atomically unless the file exists. Returns whether it did; of two processes, only one writes."""
    text = json_text(value, indent=2) + "\n"
    done = []

    def put(temporary: Path, path: Path) -> None:
        try:
            os.link(temporary, path)
            done.append(path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            if not path.exists():
                os.replace(temporary, path)
                done.append(path)
        temporary.unlink(missing_ok=True)

    write_atomically(path, lambda file: file.write_text(text), put)
    return bool(done)


def delete_unless_used(path: Path) -> None:
    """Deletes a file that nobody needs any more; on Windows it stays while a process has it open."""
    with contextlib.suppress(PermissionError):
        path.unlink(missing_ok=True)


def is_inside(path: Path, folder: Path) -> bool:
    """Returns whether a path is a folder or lies below it, after resolving links."""
    return path.resolve().is_relative_to(folder.resolve())


def is_unused(folder: Path) -> bool:
    """Returns whether a folder is empty except for a lock and temporary files of killed processes."""
    return all(file.name == ".lock" or file.match(".*.tmp") for file in folder.iterdir())


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and its causes: torch closes its file after a failed write, which raises another error."""
    following: BaseException | None = error
    while following is not None:
        yield following
        following = following.__cause__ or following.__context__


def _is_full_disk(error: BaseException) -> bool:
    """Returns whether an error of safetensors or FAISS means a failed write."""
    return isinstance(error, (RuntimeError, SafetensorError)) and ("writ" in str(error) or "No space" in str(error))


def _reason(error: BaseException) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
    return {"No space left on device": "the disk is full", "Permission denied": "no permission to write there"}.get(
        reason, reason
    )


def write_json(path: Path, value: object) -> None:
    """Writes JSON atomically. Numbers that are not finite become null."""
    text = json_text(value, indent=2) + "\n"
    write_atomically(path, lambda file: file.write_text(text))


def json_text(value: object, indent: int | None = None) -> str:
    """Returns standard JSON: numbers that are not finite, which it can't represent, become null."""
    text = json.dumps(value)
    if "NaN" in text or "Infinity" in text:
        value = json.loads(text, parse_constant=lambda name: None)
    return json.dumps(value, indent=indent)


def read_json(path: Path, kind: object = Any) -> Any:
    """Returns the JSON value of a file, checked against a type.

    Args:
        path: The file.
        kind: What its value must be: any type that msgspec knows, such as `dict[str, float]` or a dataclass, which is
            then what is returned. Fields that the type does not name are left out.

    Raises:
        UserError: The file is missing, can't be read, is not JSON or not of that type.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path.parent} is not a run: it has no {path.name}") from error
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}") from error
    return parse_json(text, str(path), kind)


def parse_json(text: bytes | str, source: str, kind: object = Any) -> Any:
    """Parses JSON and checks it against a type. NaN and Infinity, which earlier versions wrote, are read as null.

    Args:
        text: The JSON.
        source: Name of the file, or of the place in it, for messages.
        kind: Type of the value, as in `read_json`.

    Raises:
        UserError: The text is not JSON, is nested too deeply, has numbers too large for a double, or is not of that
            type.
    """
    try:
        try:
            return msgspec.json.decode(text, type=kind)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            text = text if isinstance(text, str) else text.decode()
            if "NaN" not in text and "Infinity" not in text:
                raise
            plain = json.dumps(json.loads(text, parse_constant=lambda name: None))
            return msgspec.json.decode(plain, type=kind)
    except msgspec.ValidationError as error:
        raise UserError(f"{source} is damaged: {error}") from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise UserError(f"{source} is damaged and can't be read as JSON ({error})") from error


def check_value(value: object, source: str, kind: object) -> Any:
    """Checks a value of dictionaries, lists, numbers and tensors, and converts it to the type. See `parse_json`."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise UserError(f"{source} is damaged: {error}") from error
