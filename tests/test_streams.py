"""Output that nobody reads, and Ctrl-C while libraries are imported."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from unbraid.core.streams import handling

WRITES = """
import sys
from unbraid.core.streams import quiet_streams
with quiet_streams():
    for _ in range(100):
        print("a line", flush=True)
        print("another", file=sys.stderr, flush=True)
        print("w" * 10_000)
with open(sys.argv[1], "w") as file:
    file.write("done")
"""
IMPORTS = """
import os, signal
from unbraid.core.streams import exit_on_interrupt
with exit_on_interrupt():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException as error:
        raise ImportError from error
"""


@pytest.mark.skipif(os.name != "posix", reason="a shell's redirections")
@pytest.mark.parametrize("output", ["2>&1 | head -1", ">&- 2>&-", "2>&1 >/dev/null | true", "2> >(true) | cat"])
def test_work_goes_on_when_nobody_reads(tmp_path: Path, output: str) -> None:
    done = tmp_path / "done"
    script = f"{{ \"{sys.executable}\" -c '{WRITES}' {done}; echo $? > {done}.status; }} {output}"
    found = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.read_text() == "done"
    assert (tmp_path / "done.status").read_text().strip() == "0"
    assert "Error" not in found.stderr


def test_ctrl_c_during_imports_is_status_130_and_one_line() -> None:
    found = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stderr) == (130, "unbraid: stopped\n")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signals_are_handled_unless_they_are_ignored(name: str) -> None:
    before = signal.getsignal(getattr(signal, name))
    with pytest.raises(KeyboardInterrupt), handling(signal.default_int_handler, unless_ignored=(name, "SIGNONE")):
        signal.raise_signal(getattr(signal, name))
    assert signal.getsignal(getattr(signal, name)) == before
    signal.signal(getattr(signal, name), signal.SIG_IGN)  # as nohup leaves it
    try:
        with handling(signal.default_int_handler, unless_ignored=(name,)):
            signal.raise_signal(getattr(signal, name))
    finally:
        signal.signal(getattr(signal, name), before)
