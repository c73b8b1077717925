import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from unbraid.commands.cli import main
from unbraid.commands.explore import _is_loopback


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", str(tmp_path)]) == 2
    assert "is not a run" in capsys.readouterr().err


def test_without_gradio_the_command_says_how_to_get_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "unbraid.web.app", raising=False)
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["explore", str(folder / "pairs"), "--port", "0"]) == 2
    assert "pip install 'unbraid[web]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "alone"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("box", False)]
)
def test_which_addresses_stay_on_the_machine(host: str, alone: bool) -> None:
    assert _is_loopback(host) == alone


def test_beyond_this_machine_a_token_is_needed_and_uploads_go_with_sigterm(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "unbraid", "explore", str(folder / "pairs"), "--host", "0.0.0.0", "--port", "0"]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)}
    )
    try:
        assert server.stdout is not None
        found = re.search(r"http://localhost:(\d+)/\?token=(\S{20,})", server.stdout.readline())
        assert found  # a host name means nothing outside a container
        assert f"http://{socket.gethostname()}:{found[1]}/?token={found[2]}" in server.stdout.readline()
        place, token = f"http://127.0.0.1:{found[1]}/config", found[2]
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(place, timeout=20)
        assert caught.value.code == 401
        caught.value.close()
        request = urllib.request.Request(place, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200
        (temporary,) = tmp_path.glob("unbraid-*")
        (temporary / "upload.png").write_bytes(b"private")
        assert temporary.stat().st_mode & 0o777 == 0o700
    finally:
        server.send_signal(signal.SIGTERM)
        began = time.monotonic()
        _, errors = server.communicate(timeout=20)
    assert time.monotonic() - began < 10
    assert "Traceback" not in errors
    assert "Explorer stopped" in errors
    assert not [*tmp_path.iterdir()]  # uploads went with it
