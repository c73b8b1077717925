import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unbraid.commands.cli import main
from unbraid.core import cache as core_cache
from unbraid.core.cache import cache_folder
from unbraid.core.kept import cached_array, kept_arrays, make_room, parse_bytes
from unbraid.core.types import UserError
from unbraid.data.cache import cached


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Three arrays of a kilobyte that nobody uses, the first used longest ago, and a file of somebody else."""
    monkeypatch.setenv("UNBRAID_CACHE", str(tmp_path / "cache"))
    paths = []
    for at in range(3):
        cached_array(name(at), lambda: np.zeros(1000, np.uint8))
        paths.append(cache_folder() / "features" / f"{name(at)}.npy")
        os.utime(paths[-1], (at, at))
    np.save(cache_folder() / "own.npy", np.zeros(9))
    return paths


def name(at: int) -> str:
    return f"net-{at:024x}"


def there(paths: list[Path]) -> list[bool]:
    return [path.exists() for path in paths]


def test_the_least_recently_used_go_first_and_foreign_files_stay(three: list[Path]) -> None:
    gone, left = make_room(2500, kept_arrays())
    assert ([kept.path for kept in gone], left) == (three[:1], 2 * three[1].stat().st_size)
    assert there(three) == [False, True, True]
    make_room(0, kept_arrays())
    assert [path.name for path in cache_folder().rglob("*") if path.is_file()] == ["own.npy"]


def test_using_an_array_makes_it_the_newest_and_keeps_it(three: list[Path]) -> None:
    used = cached_array(name(0), lambda: np.ones(1))
    assert kept_arrays()[-1].path == three[0]
    make_room(0, kept_arrays())
    assert there(three) == [True, False, False]
    assert used.sum() == 0
    view = used[10:]
    del used
    make_room(0, kept_arrays())
    assert there(three)[0]
    del view
    make_room(0, kept_arrays())
    assert not there(three)[0]


def test_where_open_files_can_not_be_deleted_those_in_use_stay_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlink(path: Path, missing_ok: bool = False) -> None:
        held = {os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()}
        if os.path.realpath(path) in held or str(path.resolve()) in Path("/proc/self/maps").read_text():
            raise PermissionError(errno.EACCES, "in use", str(path))
        if path.exists() or not missing_ok:
            os.unlink(path)

    for i in range(2):
        Image.new("L", (8, 8)).save(tmp_path / f"{i}.png")
    images = cached(tmp_path, ["0.png", "1.png"])
    monkeypatch.setattr(core_cache, "fcntl", None)
    monkeypatch.setattr(Path, "unlink", unlink)
    make_room(0, kept_arrays())
    (kept,) = kept_arrays()
    assert kept.about == str(tmp_path)  # from the file beside it
    del images
    assert make_room(0, kept_arrays())[0] == [kept]
    assert not list(cache_folder().glob("*.npy")) + list(cache_folder().glob("*.json"))


def test_the_limit_of_the_environment_holds_when_something_is_added(
    three: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNBRAID_CACHE_LIMIT", "2.5 kB")
    added = cached_array(name(9), lambda: np.zeros(1000, np.uint8))
    assert there(three) == [False, False, True]
    (tmp_path / "images").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "images" / "0.png")
    images = cached(tmp_path / "images", ["0.png"])
    assert there(three) == [False] * 3
    assert (len(images), len(added)) == (1, 1000)
    assert [kept.about for kept in kept_arrays()] == ["net", str(tmp_path / "images")]


def test_the_command_lists_and_deletes(three: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache"]) == 0
    said = capsys.readouterr().out
    assert "1970-01-01" in said
    assert "3 arrays, 3.4 kB" in said
    held = cached_array(name(1), lambda: np.ones(1))
    assert main(["cache", "--limit", "1.2kB"]) == 0
    assert "2 arrays deleted" in capsys.readouterr().out
    assert main(["cache", "--clear"]) == 0
    assert "1 arrays stay" in capsys.readouterr().out
    assert held.sum() == 0


@pytest.mark.parametrize("text", ["20XB", "-1GB", "", "GB"])
def test_what_is_no_size_is_said(text: str) -> None:
    with pytest.raises(UserError, match="such as 20GB"):
        parse_bytes(text, "--limit")


def test_sizes() -> None:
    assert [parse_bytes(text, "x") for text in ("20GB", "1.5 mb", "7", "3B")] == [2e10, 1.5e6, 7, 3]
