"""Checksums in tensor files, which detect damage when a file is read.

The files stay readable by other programs: a zip file, such as PyTorch's, stores the hash in its comment, a safetensors
file in its metadata. Files without a checksum, from earlier versions or other programs, are read unchecked.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from safetensors import SafetensorError
from safetensors.torch import load as tensors_in
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from unbraid.core.files import parse_json, write_atomically
from unbraid.core.types import UserError

SEAL = b"unbraid sha256 "
"""Prefix of the comment of a sealed zip file."""
SEALED = len(SEAL) + hashlib.sha256().digest_size
ZIP_END = 22
"""Length in bytes of the record that ends a zip file without a comment."""
HEADER = b'{"__metadata__":{'
"""Start of the header of a safetensors file with metadata, after 8 bytes of length."""
ENTRY = '"sha256":"%s",    '
"""Entry inserted after HEADER; its length is a multiple of 8, as the header's must be."""
ENTRY_SIZE = len(ENTRY % hashlib.sha256().hexdigest())

Header = TypedDict("Header", {"__metadata__": dict[str, str]})


def seal(path: Path) -> None:
    """Appends the hash of a zip file without a comment to it, as its comment."""
    with path.open("rb+") as file:
        file.seek(-2, os.SEEK_END)  # the length of the comment
        file.write(SEALED.to_bytes(2, "little"))
        size = file.tell()
        file.write(SEAL + _hash_from_start(file, size))


def check_seal(path: Path) -> None:
    """Checks the hash of a sealed zip file; accepts files without one. Raises UserError if the file is damaged."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - SEALED))
        end = file.read()
        if end[-ZIP_END:].startswith(b"PK\5\6"):
            return
        if not end.startswith(SEAL) or end[len(SEAL) :] != _hash_from_start(file, size - SEALED):
            raise UserError(f"{path} is damaged: its checksum differs from that of what was written")


def _hash_from_start(file: Any, size: int) -> bytes:
    """Returns the hash of the first `size` bytes of an open file, and leaves the file positioned after them."""
    found = hashlib.sha256()
    file.seek(0)
    while size and (block := file.read(min(size, 1 << 20))):
        found.update(block)
        size -= len(block)
    return found.digest()


def write_tensors(path: Path, tensors: dict[str, Tensor], about: str) -> None:
    """Writes a safetensors file with a checksum, atomically. See `write_atomically`.

    about: text stored as the metadata entry "unbraid".
    """
    data = safetensors_bytes(tensors, {"unbraid": about})
    entry = (ENTRY % hashlib.sha256(data).hexdigest()).encode()
    at = 8 + len(HEADER)
    assert data[8:at] == HEADER
    size = int.from_bytes(data[:8], "little") + ENTRY_SIZE

    def write(file: Path) -> None:
        with file.open("wb") as opened:
            opened.writelines((size.to_bytes(8, "little"), HEADER, entry, memoryview(data)[at:]))

    write_atomically(path, write)


def read_tensors(path: Path) -> tuple[str, Mapping[str, Tensor]]:
    """Returns the text and the tensors of a file that `write_tensors` wrote.

    Raises UserError if the file can't be read, is damaged, or has no such text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read: {_reason(error)}") from error
    size = int.from_bytes(data[:8], "little")
    try:
        metadata = parse_json(data[8 : 8 + size], str(path), Header)["__metadata__"]
        if metadata.keys() - {"sha256"} != {"unbraid"}:
            raise UserError(f"{path} is damaged or not written by unbraid (its metadata are {list(metadata)})")
        if "sha256" in metadata and metadata["sha256"] != _hash_without_entry(data, size):
            raise UserError(f"{path} is damaged: its checksum differs from that of what was written")
        return metadata["unbraid"], tensors_in(data)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:  # of torch, for shapes it doesn't know
        raise UserError(f"{path} is damaged or not written by unbraid ({error})") from error


def _hash_without_entry(data: bytes, size: int) -> str:
    at = 8 + len(HEADER)
    found = hashlib.sha256(max(0, size - ENTRY_SIZE).to_bytes(8, "little") + data[8:at])
    found.update(memoryview(data)[at + ENTRY_SIZE :])
    return found.hexdigest()


def _reason(error: OSError) -> str:
    return "no permission" if isinstance(error, PermissionError) else error.strerror or str(error)
