import errno
import fcntl
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from unbraid.core.files import create_json, parse_json, read_json, write_atomically, write_json
from unbraid.core.types import UserError


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


def test_what_torch_reports_after_a_full_disk_is_a_full_disk(tmp_path: Path) -> None:
    def write(file: Path) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 4352 vs 4246")

    with pytest.raises(UserError, match="the disk is full"):
        write_atomically(tmp_path / "state.pt", write)
    assert not any(tmp_path.iterdir())


def test_numbers_that_are_not_finite_become_null_and_older_files_with_them_are_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"a": [math.nan, 1.5], "b": -math.inf, "c": "NaN"})
    assert read_json(path) == {"a": [None, 1.5], "b": None, "c": "NaN"}
    path.write_text(json.dumps({"a": math.nan, "c": "Infinity"}))
    assert read_json(path, dict[str, Any]) == {"a": None, "c": "Infinity"}


def test_of_two_who_create_a_file_one_does(tmp_path: Path) -> None:
    assert create_json(tmp_path / "config.json", {"a": 1})
    assert not create_json(tmp_path / "config.json", {"a": 2})
    assert read_json(tmp_path / "config.json") == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


def test_what_is_flushed_is_open_for_writing_as_windows_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: modes.append(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE))
    write_json(tmp_path / "a.json", {})
    assert modes == [os.O_RDWR]
