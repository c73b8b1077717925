import errno
from pathlib import Path
from typing import Any

import pytest

from unbraid.files import parse_json, read_json, write_atomically, write_json
from unbraid.types import UserError


def fail(error: Exception) -> object:
    def write(file: Path) -> None:
        file.write_text("half of it")
        raise error

    return write


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EACCES, "Permission denied"), "no permission"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"), "failed writing"),
    ],
)
def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, error: Exception, message: str) -> None:
    path = tmp_path / "state.pt"
    path.write_text("good")
    with pytest.raises(UserError, match=message):
        write_atomically(path, fail(error))  # pyright: ignore[reportArgumentType]
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]
    assert path.read_text() == "good"


def test_errors_that_are_not_the_disks_are_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        write_atomically(tmp_path / "x", fail(RuntimeError("a bug")))  # pyright: ignore[reportArgumentType]
    assert not any(tmp_path.iterdir())


def test_damaged_json_is_said(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    write_json(path, {"a": 1})
    assert read_json(path) == {"a": 1}
    path.write_text('{"a": ')
    with pytest.raises(UserError, match="damaged"):
        read_json(path)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"[" * 100_000 + b"]" * 100_000, Any),
        (b"1" * 5000, Any),
        (b"1e999", Any),
        (b'"\xff"', Any),
        (b"null", dict[str, Any]),
        (b"[]", dict[str, Any]),
        (b'{"a": "1"}', dict[str, float]),
        (b"", Any),
    ],
)
def test_json_of_any_wrong_shape_is_one_error(text: bytes, kind: Any) -> None:
    with pytest.raises(UserError, match=r"^here is damaged"):
        parse_json(text, "here", kind)
