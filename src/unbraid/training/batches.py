"""Batches on the device that trains, read ahead for a GPU."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Ready(NamedTuple):
    """A batch on the device, and on a GPU what happens when its copies are done."""

    batch: Any
    copied: torch.cuda.Event | None


class DeviceBatches(Iterator[Any]):
    """Iterator of batches on a device, with images in channels-last layout, which convolutions take without copies.

    Args:
        batches: Batches on the CPU.
        device: The device.
        drawn: Number of batches that were taken before.
        ahead: Read the next batch and copy it, in a thread, while this one is used.
    """

    def __init__(self, batches: Iterator[Any], device: torch.device, drawn: int = 0, ahead: bool = False) -> None:
        self.batches, self.device, self.drawn = batches, device, drawn
        self._reader = ThreadPoolExecutor(1, "batches") if ahead else None
        self._coming: Future[Ready] | None = None
        self._stream: torch.cuda.Stream | None = None
        if ahead and device.type == "cuda":
            self._stream = torch.cuda.Stream(device)
            self.device = self._stream.device

    def __next__(self) -> Any:
        batch, copied = self._coming.result() if self._coming else self._read()
        self.drawn += 1
        if self._reader:
            self._coming = self._reader.submit(self._read)
        if copied:  # what is computed from now on waits for the copies, and keeps their memory
            stream = torch.cuda.current_stream()
            stream.wait_event(copied)
            for value in vars(batch).values():
                value.record_stream(stream)
        return batch

    def _read(self) -> "Ready":
        """Reads a batch and copies it to the device."""
        batch = next(self.batches)
        with torch.cuda.stream(self._stream) if self._stream else contextlib.nullcontext():  # of this thread
            values = {name: self._on_device(value) for name, value in vars(batch).items()}
        copied = torch.cuda.Event() if self._stream else None
        if copied:
            copied.record(self._stream)
        return Ready(type(batch)(**values), copied)

    def _on_device(self, value: Tensor) -> Tensor:
        layout = torch.channels_last if value.ndim == 4 else torch.preserve_format
        if self._stream is None:
            return value.to(self.device, memory_format=layout)
        pinned = value.contiguous(memory_format=layout).pin_memory() if value.ndim == 4 else value.pin_memory()
        return pinned.to(self.device, non_blocking=True)
