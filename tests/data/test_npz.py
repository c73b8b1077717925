import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from unbraid.core.data_config import DataConfig
from unbraid.core.types import UserError
from unbraid.data.loading import load
from unbraid.data.npz import read_arrays


def member(shape: object, kind: str = "'<f4'", body: bytes = b"") -> bytes:
    """An .npy file with this header, whatever it says."""
    header = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body


def archive(path: Path, members: dict[str, bytes], flags: int = 0) -> Path:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    data = bytearray(buffer.getvalue())
    if flags:  # of the first member, in its own header and in the archive's table
        for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            data[data.index(mark) + at] |= flags
    path.write_bytes(data)
    return path


GOOD = member((2, 3), body=np.zeros(6, np.float32).tobytes())


@pytest.mark.parametrize(
    ("members", "flags", "message"),
    [
        ({"a.npy": GOOD}, 1, "encrypted"),
        ({"a.npy": b""}, 0, "can't be read"),
        ({"a.npy": GOOD[:9]}, 0, "can't be read"),
        ({"a.npy": GOOD[:-4]}, 0, r"says it is float32 \(2, 3\) and has 20 bytes"),
        ({"a.npy": member((-2, 3), body=b"\0" * 24)}, 0, r"says it is float32 \(-2, 3\)"),
        ({"a.npy": member((-2, -3), body=b"\0" * 24)}, 0, r"says it is float32 \(-2, -3\)"),
        ({"a.npy": member((10**15,))}, 0, "says it is float32"),
        ({"a.npy": member("9" * 5000)}, 0, "can't be read"),
        ({"a.npy": member("(" * 90 + ")" * 90)}, 0, "can't be read"),
        ({"a.npy": member((1,), "'|O'", b"\x80")}, 0, "something else than arrays of numbers"),
        ({"a.npy": member((1,), "[('x', '|O')]", b"\x80")}, 0, "something else than arrays of numbers"),
        ({"a.npy": b"\x93NUMPY\x09\x00" + GOOD[8:]}, 0, "can't be read"),
        ({"a.txt": b"x"}, 0, "no arrays"),
    ],
)
def test_hostile_archives_are_one_error(
    tmp_path: Path, members: dict[str, bytes], flags: int, message: str, recwarn: pytest.WarningsRecorder
) -> None:
    path = archive(tmp_path / "x.npz", members, flags)
    with pytest.raises(UserError, match=message) as caught:
        load(DataConfig(arrays=path))
    assert "\n" not in str(caught.value)


def test_a_flipped_byte_is_one_error_or_none(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", a=np.arange(600, dtype=np.float32).reshape(60, 10))
    data = (tmp_path / "x.npz").read_bytes()
    random = np.random.default_rng(0)
    for at in random.integers(len(data), size=150):
        damaged = bytearray(data)
        damaged[at] ^= 1 << random.integers(8)
        (tmp_path / "y.npz").write_bytes(damaged)
        try:
            read_arrays(tmp_path / "y.npz")
        except UserError:
            continue


def test_what_is_larger_than_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros((1000, 1000), np.float32))
    monkeypatch.setattr("unbraid.data.npz._memory", lambda: 10**6)
    with pytest.raises(UserError, match=r"unpacks to 0\.0 GB.*folder of \.npy files"):
        read_arrays(tmp_path / "x.npz")


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", member((-2, 3)), member((10**15,)), member((0, 3)), b"text"])
def test_damaged_files_of_a_folder_are_one_error(tmp_path: Path, data: bytes) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.npy").write_bytes(data)
    with pytest.raises(UserError, match=r"can't be read|is empty"):
        load(DataConfig(arrays=tmp_path))


@pytest.mark.parametrize("shape", [(), (0, 3), (3, 0), (3, 4, 4, 0), (3, 0, 4), (3,)])
@pytest.mark.parametrize("folder", [False, True])
def test_arrays_without_items_are_refused(tmp_path: Path, shape: tuple[int, ...], folder: bool) -> None:
    array = np.zeros(shape, np.float32)
    if folder:
        for name in ("a", "b"):
            np.save(tmp_path / f"{name}.npy", array)
    else:
        np.savez(tmp_path / "x.npz", a=array, b=array)
    with pytest.raises(UserError, match=r"is empty|neither images|can't be read"):
        load(DataConfig(arrays=tmp_path if folder else tmp_path / "x.npz"))


def test_what_a_system_packed_beside_the_arrays_is_passed_over(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.npz", {"a.npy": GOOD, "__MACOSX/._a.npy": b"x", "._a.npy": b"x", ".DS_Store": b"x"})
    assert list(read_arrays(path)) == ["a"]


def test_arrays_that_are_needed_are_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.npz", {"a.npy": GOOD})
    with pytest.raises(UserError, match=r"holds a float32 \(2, 3\); it has no x, y"):
        read_arrays(path, needed=("x", "a", "y"))
