"""`unbraid explore`: serves the page until it is stopped."""

import contextlib
import ipaddress
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import tyro

from unbraid.commands.folder import REQUIRED, Device
from unbraid.core.device import choose_device
from unbraid.core.streams import handling
from unbraid.core.types import UserError
from unbraid.search.query import open_index
from unbraid.web.guard import LOOPBACK
from unbraid.web.runs import Runs

TOKEN = "UNBRAID_TOKEN"
PORTS = range(7860, 7880)


def explore(
    runs: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...", help_behavior_hint=REQUIRED)
    ],
    root: Annotated[Path | None, tyro.conf.arg(name="data.root")] = None,
    index: tuple[str, ...] = (),
    host: str = "127.0.0.1",
    port: int | None = None,
    browser: bool = False,
    device: Device = "auto",
) -> None:
    """Starts a local page that shows what runs learned: translate, analogies, interpolate, search, codes, training.

    The page asks no other machine for anything. Beyond this machine (--host 0.0.0.0) it needs a token, which is
    printed; the environment variable UNBRAID_TOKEN sets one. There is no encryption: put it behind a server that
    has it.

    Args:
        runs: Folders of runs, finished or running.
        root: Folder that holds the known data sets, if it is not where it was in training.
        index: Indexes to search, made by `unbraid index` with one of the runs.
        host: Address to listen at.
        port: Port to listen at; the first free one from 7860, if not given.
        browser: Open the page in a browser.
    """
    _check(runs, index)
    choose_device(device)
    local = _is_loopback(host)
    token = os.environ.get(TOKEN) or (None if local else secrets.token_urlsafe(24))
    listening = _socket(host, port)
    link, others = _links(host, listening.getsockname()[1], token)
    try:
        import uvicorn

        # other signals than Ctrl+C end the command as that does, so that uploads go with it
        ended = handling(signal.default_int_handler, unless_ignored=("SIGTERM", "SIGHUP"))
        with ended, tempfile.TemporaryDirectory(prefix="unbraid-") as folder:
            # gradio reads where its files belong when it is imported
            os.environ["GRADIO_TEMP_DIR"] = folder
            opening = Runs(list(runs), root, device=device, indexes=index)
            # gradio takes seconds to import: the first run is read meanwhile
            threading.Thread(target=_opened, args=(opening,), daemon=True).start()
            from unbraid.web.app import application

            served = application(opening, Path(folder).resolve(), _hosts(host) if local else None, token)
            print(f"Explorer: {link}  (Ctrl+C stops it){others}", flush=True)
            if browser:
                webbrowser.open(link)
            server = uvicorn.Server(
                uvicorn.Config(served, log_level="critical", access_log=False, timeout_graceful_shutdown=1, ws="none")
            )
            with contextlib.suppress(KeyboardInterrupt):
                server.run([listening])
    except ModuleNotFoundError as error:
        if error.name not in ("gradio", "fastapi", "uvicorn"):
            raise
        raise UserError("The explorer needs gradio: pip install 'unbraid[web]'") from error
    finally:
        listening.close()
    print("Explorer stopped", file=sys.stderr)


def _check(runs: tuple[Path, ...], indexes: tuple[str, ...]) -> None:
    if not runs:
        raise UserError("Which runs? Give their folders: unbraid explore RUN...")
    for path in runs:
        if not (path / "config.json").exists():
            raise UserError(f"{path} is not a run: it has no config.json")
    for place in indexes:
        open_index(place).close()


def _opened(runs: Runs) -> None:
    with contextlib.suppress(UserError), runs.using(runs.names[0]):  # the page says what is wrong with it
        pass


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hosts(host: str) -> frozenset[str]:
    return LOOPBACK | {f"[{host}]" if ":" in host else host}


def _links(host: str, port: int, token: str | None) -> tuple[str, str]:
    """Returns a link to the page, and a line with that for other computers, "" if it is the same."""
    everywhere = host in ("0.0.0.0", "::")
    here = "localhost" if everywhere else f"[{host}]" if ":" in host else host
    behind = f":{port}/{f'?token={token}' if token else ''}"
    return f"http://{here}{behind}", f"\nFrom another computer: http://{socket.gethostname()}{behind}" * everywhere


def _socket(host: str, port: int | None) -> socket.socket:
    """Returns a socket at the port, or at the first that is free. Raises UserError."""
    reason = ""
    for number in [port] if port is not None else PORTS:
        listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, number))
            listening.listen(128)  # so that who comes early waits
            return listening
        except (OSError, OverflowError) as error:
            listening.close()
            reason = str(error)
    where = f"port {port}" if port is not None else f"the ports {PORTS.start} to {PORTS.stop - 1}"
    raise UserError(f"Can't listen at {host}, {where}: {reason}")
