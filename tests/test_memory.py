"""Freed memory is kept, where that can be had."""

import ctypes
import subprocess
import sys
from typing import Any

import pytest

from unbraid.memory import keep_freed_memory

PAGES = """
import resource
import torch
from unbraid.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
given_back = faults()
kept = keep_freed_memory()
for _ in range(3):  # while the heap grows to what is needed
    faults()
print(given_back, kept, faults())
"""


def test_memory_that_was_freed_is_taken_again() -> None:
    done = subprocess.run([sys.executable, "-c", PAGES], capture_output=True, text=True, check=True)
    given_back, kept, after = done.stdout.split()
    if kept == "False":
        pytest.skip("not glibc")
    assert int(after) < int(given_back) / 10


def test_a_system_without_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: Any) -> Any:
        return object()

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert not keep_freed_memory()
