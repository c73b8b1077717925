"""A flipped bit is found, wherever it is; files without a checksum are read as before."""

import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from unbraid.core.checksums import check_seal, read_tensors, seal, write_tensors
from unbraid.core.types import DataSpec, UserError, VectorSpec
from unbraid.data.features import Head, Tuned, load_features, save_extractor

TENSORS = {"a": torch.arange(6.0), "b": torch.ones(2, 3, dtype=torch.int64)}


def write_state(path: Path) -> None:
    torch.save({"step": 3, **TENSORS}, path)
    seal(path)


def write_model(path: Path) -> None:
    write_tensors(path, TENSORS, '{"format": 1}')


def write_features(path: Path) -> None:
    save_extractor(path.parent, None, DataSpec(VectorSpec(4), VectorSpec(4)), Tuned(Head(4)))
    os.replace(path.parent / "features.safetensors", path)


def read_features(path: Path) -> object:
    shutil.copy(path, path.parent / "features.safetensors")
    return load_features(path.parent)


@pytest.mark.parametrize(
    ("write", "read"), [(write_state, check_seal), (write_model, read_tensors), (write_features, read_features)]
)
def test_every_flipped_bit_is_found(
    tmp_path: Path, write: Callable[[Path], None], read: Callable[[Path], object]
) -> None:
    path, moments = tmp_path / "file", random.Random(0)
    write(path)
    good = path.read_bytes()
    read(path)
    for _ in range(300):
        at = moments.randrange(8 * len(good))
        path.write_bytes(good[: at // 8] + bytes([good[at // 8] ^ 1 << at % 8]) + good[at // 8 + 1 :])
        with pytest.raises(UserError, match=r"(file|features\.safetensors) is damaged"):
            read(path)
    for cut in (0, 1, 7, 30, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:cut])
        with pytest.raises(UserError, match=r"(file|features\.safetensors) is damaged"):
            read(path)


def test_other_programs_read_sealed_files(tmp_path: Path) -> None:
    write_state(tmp_path / "state.pt")
    assert zipfile.ZipFile(tmp_path / "state.pt").testzip() is None
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 3
    write_model(tmp_path / "model.safetensors")
    torch.testing.assert_close(load_file(tmp_path / "model.safetensors"), TENSORS)


def test_files_without_a_checksum_are_read(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "state.pt")
    check_seal(tmp_path / "state.pt")
    save_file(TENSORS, tmp_path / "model.safetensors", {"unbraid": "{}"})
    about, tensors = read_tensors(tmp_path / "model.safetensors")
    assert about == "{}"
    torch.testing.assert_close(dict(tensors), TENSORS)
    head = Head(4).state_dict()
    save_file(head, tmp_path / "features.safetensors", {"unbraid": '{"name": null, "images": []}'})
    _, tuned = load_features(tmp_path)
    assert tuned
    torch.testing.assert_close(dict(tuned.head.state_dict()), dict(head))


def test_the_same_tensors_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_model(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
