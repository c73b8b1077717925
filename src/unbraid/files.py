"""Files that are whole or absent: written beside their place, then put into it."""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from safetensors import SafetensorError

from unbraid.types import UserError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file beside `path`, then puts it in its place, or leaves `path` as it was.

    Raises UserError for a full disk or a folder that can't be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) or _is_full_disk(error):
            raise UserError(f"Could not write {path}: {_reason(error)}. What was there before is untouched") from error
        raise


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a path is a folder, or a file, or below it, by whatever links."""
    return path.resolve().is_relative_to(folder.resolve())


def _is_full_disk(error: BaseException) -> bool:
    """torch and safetensors report a failed write as errors of their own."""
    return isinstance(error, (RuntimeError, SafetensorError)) and ("writ" in str(error) or "No space" in str(error))


def _reason(error: BaseException) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
    return {"No space left on device": "the disk is full", "Permission denied": "no permission to write there"}.get(
        reason, reason
    )


def write_json(path: Path, value: Any) -> None:
    """JSON, atomically."""
    write_atomically(path, lambda file: file.write_text(json.dumps(value, indent=2) + "\n"))


def read_json(path: Path, kind: Any = Any) -> Any:
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


def parse_json(text: bytes | str, source: str, kind: Any = Any) -> Any:
    """Returns JSON from `source`, a file or a place in one, checked against a type as in `read_json`.

    Raises UserError, which names the source, for text that is not JSON, is nested too deeply, has numbers too large for
    a double, or is not of that type.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        raise UserError(f"{source} is damaged: {error}") from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise UserError(f"{source} is damaged and can't be read as JSON ({error})") from error
