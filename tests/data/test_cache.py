import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unbraid.core.cache import cache_folder
from unbraid.core.kept import cached_array
from unbraid.core.types import ImageSpec, UserError
from unbraid.data import cache
from unbraid.data.cache import CachedImages, cached

Paint = Callable[..., None]


@pytest.fixture
def folder(tmp_path: Path, paint: Paint) -> Path:
    paint(tmp_path / "images", ["0.png", "1.png", "2.png"])
    return tmp_path / "images"


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files decoded from here on."""
    files: list[str] = []
    original = cache.decode

    def decode(path: str) -> torch.Tensor:
        files.append(path)
        return original(path)

    monkeypatch.setattr(cache, "decode", decode)
    return files


def pixels(images: CachedImages) -> np.ndarray:
    """The images in the cache."""
    assert isinstance(images.array, np.ndarray)
    return images.array


def test_images_are_kept_in_order_and_in_range(folder: Path) -> None:
    images = cached(folder, ["0.png", "1.png", "2.png"])
    assert images.spec == ImageSpec(8, 8, 3)
    assert len(images) == 3
    assert images.array.dtype == np.uint8
    assert pixels(images)[:, 0, 0, 0].tolist() == [0, 1, 2]
    batch = images.read(np.array([2, 0]), draw=3)
    assert batch.dtype == torch.float32
    assert torch.allclose(batch[:, 0, 0, 0], torch.tensor([2, 0]) / 127.5 - 1)


def test_a_second_run_decodes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = decoded(monkeypatch)
    first = cached(folder, ["0.png", "1.png", "2.png"])
    assert len(files) == 3
    second = cached(folder, ["0.png", "1.png", "2.png"])
    assert len(files) == 3
    assert (pixels(first) == pixels(second)).all()


def test_a_changed_file_size_or_spec_makes_a_new_array(
    folder: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["0.png", "1.png", "2.png"]
    files = decoded(monkeypatch)
    cached(folder, names)
    os.utime(folder / "1.png", (1, 1))
    cached(folder, names)
    cached(folder, names, size=(4, 4))
    cached(folder, names, channels=1)
    cached(folder, names[:2])
    os.rename(folder, folder.parent / "elsewhere")
    cached(folder.parent / "elsewhere", names)
    assert len(files) == 5 * 3 + 2


@pytest.mark.skipif(os.name == "nt", reason="Windows doesn't say when a file was last changed")
@pytest.mark.parametrize("packed", [False, True])
def test_a_change_that_leaves_size_and_time_is_seen(tmp_path: Path, packed: bool) -> None:
    folder, file = (tmp_path / "x.tar", tmp_path / "x.tar") if packed else (tmp_path, tmp_path / "0.bmp")
    found = []
    for colour in (0, 200):
        picture = tmp_path / "0.bmp"
        Image.new("L", (8, 8), colour).save(picture)
        if packed:
            with tarfile.open(file, "w") as archive:
                archive.add(picture, "0.bmp")
        os.utime(file, (1, 1))
        found.append((file.stat().st_size, int(pixels(cached(folder, ["0.bmp"])).max())))
    assert found[0][0] == found[1][0]
    assert [value for _, value in found] == [0, 200]


def test_grey_stays_grey_unless_some_are_colour(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path, ["0.png", "1.png"], mode="L")
    assert cached(tmp_path, ["0.png", "1.png"]).spec.channels == 1
    paint(tmp_path, ["2.png"], mode="RGB")
    assert cached(tmp_path, ["0.png", "2.png"]).spec.channels == 3
    assert cached(tmp_path, ["0.png", "2.png"], channels=1).spec.channels == 1
    with pytest.raises(UserError, match=r"--data\.channels 4"):
        cached(tmp_path, ["0.png"], channels=4)


def test_16_bits_are_kept_and_8_bits_widened(tmp_path: Path, paint: Paint) -> None:
    Image.fromarray(np.full((8, 8), 65534, np.uint16)).save(tmp_path / "0.png")
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(tmp_path / "1.png")
    images = cached(tmp_path, ["0.png", "1.png"])
    assert images.array.dtype == np.uint16
    assert pixels(images)[:, 0, 0, 0].tolist() == [65534, 65535]
    assert images.read(np.array([1]), 0).max() == 1


def test_sheets_are_cut_into_rows_of_tiles(tmp_path: Path) -> None:
    sheet = np.arange(6, dtype=np.uint8).reshape(2, 3).repeat(4, 0).repeat(5, 1)
    Image.fromarray(sheet).save(tmp_path / "x.png")
    Image.fromarray(sheet + 10).save(tmp_path / "y.png")
    images = cached(tmp_path, ["x.png", "y.png"], grid=(2, 3))
    assert images.spec == ImageSpec(4, 5, 1)
    assert pixels(images)[:, 0, 1, 1].tolist() == [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15]
    assert cached(tmp_path, ["x.png"], size=(2, 2), grid=(2, 3)).spec == ImageSpec(2, 2, 1)
    with pytest.raises(UserError, match=r"x\.png is 15 pixels wide and 8 high"):
        cached(tmp_path, ["x.png", "y.png"], grid=(1, 2), size=(4, 4))


def test_several_sizes_need_a_size(tmp_path: Path, paint: Paint) -> None:
    for i, (height, width) in enumerate([(8, 8), (8, 8), (8, 9), (4, 4), (5, 5)]):
        paint(tmp_path, [f"{i}.png"], height, width)
    names = [f"{i}.png" for i in range(5)]
    with pytest.raises(UserError, match=r"8x8 \(2\), .* and 1 more\. .*--data\.size H W"):
        cached(tmp_path, names)
    assert cached(tmp_path, names, size=(6, 7)).array.shape == (5, 3, 6, 7)


def test_bad_images_are_skipped_and_listed_again_by_a_second_run(folder: Path) -> None:
    (folder / "1.png").write_bytes(b"")
    for _ in range(2):
        images = cached(folder, ["0.png", "1.png", "2.png"])
        assert images.readable.tolist() == [0, 2]
        assert images.skipped == (f"{folder / '1.png'}: the file is empty",)
        assert pixels(images)[:, 0, 0, 0].tolist() == [0, 0, 2]


def test_images_that_break_off_are_skipped_too(folder: Path) -> None:
    contents = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(contents[:45])  # its header is whole
    images = cached(folder, ["0.png", "1.png", "2.png", "none.png"])
    assert images.readable.tolist() == [0, 2]
    assert [line.split(": ")[0] for line in images.skipped] == [str(folder / "none.png"), str(folder / "1.png")]


def test_strict_stops_at_the_first_bad_image(folder: Path, cache_folder: Path) -> None:
    (folder / "1.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"1\.png: the file is empty"):
        cached(folder, ["0.png", "1.png", "2.png"], strict=True)
    assert not [file for file in cache_folder.iterdir() if file.suffix != ".lock"]
    cached(folder, ["0.png", "1.png", "2.png"])
    with pytest.raises(UserError, match=r"1\.png: the file is empty"):
        cached(folder, ["0.png", "1.png", "2.png"], strict=True)


def test_mostly_bad_images_are_an_error(folder: Path, cache_folder: Path) -> None:
    for name in ("0.png", "2.png"):
        (folder / name).write_text("not an image")
    with pytest.raises(UserError, match=r"2 of the 3 images in .* can't be read: 0\.png: .*text"):
        cached(folder, ["0.png", "1.png", "2.png"])
    assert not [file for file in cache_folder.iterdir() if file.suffix != ".lock"]


def test_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, paint: Paint, cache_folder: Path) -> None:
    paint(tmp_path / "images", ["0.png", "1.png"], 100, 100)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))  # writing more fails, as on a full disk
    try:
        with pytest.raises(UserError, match="UNBRAID_CACHE") as caught:
            cached(tmp_path / "images", ["0.png", "1.png"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(cache_folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not [file for file in cache_folder.iterdir() if file.suffix != ".lock"]


def test_unusable_cache_folder_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNBRAID_CACHE", str(folder / "0.png" / "cache"))
    with pytest.raises(UserError, match=r"0\.png/cache can't be written: Not a directory.*UNBRAID_CACHE"):
        cached(folder, ["0.png", "1.png", "2.png"])


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNBRAID_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/unbraid")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "unbraid"


def test_a_broken_array_is_built_anew(folder: Path, cache_folder: Path) -> None:
    cached(folder, ["0.png", "1.png", "2.png"])
    for suffix, contents in ((".npy", b"\x93NUMPY"), (".json", b'{"skip')):
        (file,) = cache_folder.glob(f"*{suffix}")
        file.write_bytes(contents)
        assert pixels(cached(folder, ["0.png", "1.png", "2.png"]))[2, 0, 0, 0] == 2


def test_what_is_remembered_is_computed_once_and_again_when_it_is_damaged(cache_folder: Path) -> None:
    values = iter(np.arange(5.0))
    assert cached_array("some", lambda: np.full(3, next(values))).tolist() == [0, 0, 0]
    assert cached_array("some", lambda: np.full(3, next(values))).tolist() == [0, 0, 0]
    assert cached_array("other", lambda: np.full(3, next(values))).tolist() == [1, 1, 1]
    (cache_folder / "features" / "some.npy").write_bytes(b"\x93NUMPY")
    assert cached_array("some", lambda: np.full(3, next(values))).tolist() == [2, 2, 2]


def test_nothing_is_computed_for_a_folder_that_can_not_be_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNBRAID_CACHE", str(folder / "0.png" / "cache"))
    with pytest.raises(UserError, match="can't be written: Not a directory"):
        cached_array("some", lambda: pytest.fail("computed"))


BUILD = """
import sys, time
from pathlib import Path
import unbraid.data.cache as cache
original, folder, log = cache.decode, Path(sys.argv[1]), sys.argv[2]
def decode(path):
    with open(log, "a") as file:
        file.write(path + "\\n")
    time.sleep(0.05)
    return original(path)
cache.decode = decode
names = sorted(file.name for file in folder.iterdir())
print("ready", flush=True)
sys.stdin.readline()
print(int(cache.cached(folder, names).array.sum()))
"""


def test_two_processes_build_once(tmp_path: Path, paint: Paint) -> None:
    names = [f"{i:02d}.png" for i in range(20)]
    paint(tmp_path / "images", names)
    command = [sys.executable, "-c", BUILD, str(tmp_path / "images"), str(tmp_path / "log")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    both = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    sums = [int(process.communicate()[0]) for process in both]
    assert sums == [64 * (sum(range(20)) + 20 * 7)] * 2
    assert len((tmp_path / "log").read_text().splitlines()) == 20


def test_a_bar_is_shown_only_for_long_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cached(folder, ["0.png", "1.png"])
    assert capsys.readouterr() == ("", "")
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr(cache, "monotonic", lambda: next(clock))
    cached(folder, ["0.png", "1.png", "2.png"])
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Decoding" in shown.err


def own_memory() -> int:
    """Bytes of this process that are not pages of mapped files."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory as Linux shows it")
def test_random_access_to_100_000_images_costs_no_memory(tmp_path: Path) -> None:
    shape = (100_000, 3, 64, 64)  # 1.2 GB, sparse: it takes no room on disk
    np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.uint8, shape=shape).flush()
    array = np.load(tmp_path / "x.npy", mmap_mode="r")
    images = CachedImages(array, ImageSpec(64, 64), np.arange(len(array)), ())
    generator = np.random.default_rng(0)
    images.read(generator.integers(len(images), size=64), 1)
    before = own_memory()
    for _ in range(50):
        assert images.read(generator.integers(len(images), size=64), 1).shape == (64, 3, 64, 64)
    assert own_memory() - before < 30e6


def test_the_list_of_skipped_files_lies_beside_the_array(folder: Path, cache_folder: Path) -> None:
    (folder / "1.png").write_bytes(b"")
    cached(folder, ["0.png", "1.png", "2.png"])
    (file,) = cache_folder.glob("*.json")
    assert json.loads(file.read_text())["skipped"] == {"1.png": "the file is empty"}


def test_an_array_knows_its_folder_wherever_it_was_made(
    folder: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    cached(Path(), ["0.png", "1.png", "2.png"])
    (file,) = cache_folder.glob("*.json")
    assert json.loads(file.read_text())["folder"] == str(folder.resolve())


def test_only_their_owner_can_read_cached_images(folder: Path, cache_folder: Path) -> None:
    os.rmdir(cache_folder) if cache_folder.exists() else None
    cached(folder, ["0.png", "1.png", "2.png"])
    cached_array("some", lambda: np.zeros(3))
    assert cache_folder.stat().st_mode & 0o777 == 0o700
    kept = [file for file in cache_folder.rglob("*") if file.suffix in (".npy", ".json")]
    assert len(kept) == 3
    assert all(file.stat().st_mode & 0o077 == 0 for file in kept)


def test_what_earlier_versions_left_open_is_closed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UNBRAID_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    for _ in range(2):
        cached(folder, ["0.png", "1.png", "2.png"])
        cached_array("some", lambda: np.zeros(3))
        places = [tmp_path / "home" / "unbraid", *(tmp_path / "home" / "unbraid").rglob("*")]
        kept = [place for place in places if place.is_dir() or place.suffix in (".npy", ".json")]
        assert len(kept) == 5
        assert all(place.stat().st_mode & 0o077 == 0 for place in kept)
        for place in kept:
            place.chmod(0o755)


def test_what_a_disk_has_no_room_for_is_decoded_when_it_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cache_folder: Path
) -> None:
    names = ["0.png", "1.png", "2.png"]
    kept = cached(folder, names).read(np.arange(3), 1)
    shutil.rmtree(cache_folder)
    usage = type("usage", (), {"free": 100})
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage)
    for _ in range(2):
        assert torch.equal(cached(folder, names).read(np.arange(3), 1), kept)
    said = capsys.readouterr().err
    assert said.count("they are decoded anew whenever they are read") == 1
    assert "equal to some of another part are not looked for" in said
    assert not list(cache_folder.glob("*.npy"))
    for name in names[:2]:
        (folder / name).write_bytes(b"text")
    with pytest.raises(UserError, match=r"2 of the 3 images in .* can't be read"):
        cached(folder, names)


def test_in_a_folder_that_others_may_write_each_user_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "all").mkdir()
    monkeypatch.setenv("UNBRAID_CACHE", str(tmp_path / "all"))
    assert cache_folder() == tmp_path / "all"
    (tmp_path / "all").chmod(0o777)
    assert cache_folder() == tmp_path / "all" / f"user-{os.getuid()}"


def test_a_home_is_found_or_its_lack_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("UNBRAID_CACHE", "~/x")
    assert cache_folder() == tmp_path / "x"
    monkeypatch.delenv("UNBRAID_CACHE")
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    with pytest.raises(UserError, match="UNBRAID_CACHE"):
        cache_folder()


@pytest.mark.parametrize("contents", [b"", b"{}", b"[]", b"null", b'{"skipped": []}', b"[" * 100_000, b"\xff"])
def test_damaged_words_beside_an_array_are_written_anew(folder: Path, cache_folder: Path, contents: bytes) -> None:
    cached(folder, ["0.png", "1.png", "2.png"])
    (file,) = cache_folder.glob("*.json")
    file.write_bytes(contents)
    assert pixels(cached(folder, ["0.png", "1.png", "2.png"]))[2, 0, 0, 0] == 2


@pytest.mark.parametrize("shape", [None, (), (3,), (2, 3, 8, 8), (0, 3, 8, 8)])
def test_an_array_of_another_shape_is_built_anew(
    folder: Path, cache_folder: Path, shape: tuple[int, ...] | None
) -> None:
    cached(folder, ["0.png", "1.png", "2.png"])
    cached_array("some", lambda: np.zeros(3))
    (file,) = cache_folder.glob("*.npy")
    file.write_bytes(b"")
    (cache_folder / "features" / "some.npy").write_bytes(b"")
    if shape is not None:
        np.save(file, np.zeros(shape, np.uint8))
    assert pixels(cached(folder, ["0.png", "1.png", "2.png"]))[2, 0, 0, 0] == 2
    assert cached_array("some", lambda: np.ones(3)).tolist() == [1, 1, 1]
