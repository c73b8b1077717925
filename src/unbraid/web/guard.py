"""What stands before the page: whom it answers, what it takes, which of gradio's addresses exist at all.

gradio answers more than this page needs: addresses that fetch other servers, keep histories, or are for development.
Those that the page and its clients use are listed here, and nothing else passes; `bodies` says what may be sent there.
"""

import hmac
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from unbraid.core.console import printable
from unbraid.web.bodies import Functions, NotTaken, rewritten
from unbraid.web.uploads import MOST_BYTES

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
COOKIE = "unbraid-token"
PREFIX = "/gradio_api/"
UPLOAD = "/gradio_api/upload"
"""The one address that takes files."""
MOST_JSON = 200_000
"""Bytes of a request that is no upload."""
FORM = 10_000
"""Bytes of a form around its file."""
MOST_STORED = 1_000_000_000
"""Bytes in the temporary folder; uploads wait until old ones are gone."""
GET = re.compile(
    r"/(\Z|config/?\Z|assets/|static/|svelte/|theme\.css\Z|favicon\.ico\Z|manifest\.json\Z|robots\.txt\Z|pwa_icon"
    r"|gradio_api/(info/?\Z|openapi\.json\Z|file=(?!\w+:)|heartbeat/|queue/data\Z|call/|upload_progress\Z|startup-events\Z"
    r"|theme\.css\Z|app_id/?\Z))"
)
POST = re.compile(r"/gradio_api/(queue/join\Z|(run|call|call/v2)/[\w-]+/?\Z|upload\Z|reset/?\Z|cancel\Z)")
HEADERS = {
    # a browser then asks no other server, whatever stands in the page
    "content-security-policy": (
        "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; form-action 'self'; frame-ancestors 'none'; "
        "base-uri 'self'; object-src 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}


class TooLarge(Exception):
    """A request's body went beyond its limit."""


class Guard:
    """ASGI middleware. hosts: names under which the page answers, None for any. token: what a client must show.
    functions: those that may be called, with what they take.

    A browser shows it once, as ?token=..., and gets a cookie; a program sends `Authorization: Bearer ...`.
    """

    def __init__(
        self, app: Application, folder: Path, hosts: frozenset[str] | None, token: str | None, functions: Functions
    ) -> None:
        self.app, self.folder, self.hosts, self.token, self.functions = app, folder, hosts, token, functions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # the page uses no web sockets
        refusal = self._refusal(scope)
        if refusal:
            await _answer(send, *refusal)
            return
        upload = scope["method"] == "POST" and scope["path"] == UPLOAD
        most = MOST_BYTES + FORM if upload else MOST_JSON
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > most:
            await _answer(send, 413, f"Too large: at most {most / 1e6:.1f} MB are taken")
            return
        if upload and stored(self.folder) > MOST_STORED:
            await _answer(send, 507, "There is no room for more pictures just now. Try again in an hour")
            return
        taken, begun = 0, False

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                raise TooLarge
            return message

        async def guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message.get("headers", []), *_encoded(HEADERS)]
            await send(message)

        try:
            if scope["method"] == "POST" and not upload:
                scope, replayed = await self._checked(scope, limited)
                await self.app(scope, replayed, guarded)
            else:
                await self.app(scope, limited, guarded)
        except TooLarge:
            if not begun:
                await _answer(send, 413, f"Too large: at most {most / 1e6:.1f} MB are taken")
        except NotTaken as error:
            await _answer(send, 400, printable(str(error)))

    async def _checked(self, scope: Scope, receive: Receive) -> tuple[Scope, Receive]:
        """Returns the request with a body as `bodies.rewritten` lets it pass. Raises NotTaken."""
        parts, more = [], True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        place = scope["path"].removeprefix(PREFIX).rstrip("/")
        body = rewritten(place, b"".join(parts), self.folder, self.functions)
        left = [body]

        async def replayed() -> Message:
            if left:
                return {"type": "http.request", "body": left.pop(), "more_body": False}
            return await receive()

        headers = [each for each in scope["headers"] if each[0].lower() not in (b"content-length", b"content-type")]
        about = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
        return {**scope, "headers": [*headers, *about]}, replayed

    def _refusal(self, scope: Scope) -> tuple[int, str, dict[str, str]] | None:
        """Status and words of a refusal, or None."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "").rsplit("@")[-1]
        name = host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.split(":")[0]
        # another site's name that was made to lead here must not reach a page without a token
        if self.hosts is not None and name not in self.hosts:
            return 421, "This page answers at its own address only", {}
        if headers.get("origin") not in (None, f"http://{host}", f"https://{host}"):
            return 403, "This page answers its own visitors only", {}
        try:  # what follows reads addresses as UTF-8
            query = dict(parse_qsl(scope.get("query_string", b"").decode()))
        except UnicodeDecodeError:
            return 400, "The address has characters that no address has", {}
        if self.token is not None:
            given = query.pop("token", "")
            if given and self._right(given):
                place = quote(scope["path"]) + (f"?{urlencode(query)}" if query else "")
                cookie = f"{COOKIE}={self.token}; HttpOnly; SameSite=Lax; Path=/"
                return 303, "", {"location": place, "set-cookie": cookie}
            bearer = headers.get("authorization", "").removeprefix("Bearer ")
            if not self._right(bearer) and not self._right(_cookie(headers.get("cookie", ""))):
                return 401, "This page needs its token: open the address that the command printed, with ?token=...", {}
        allowed = {"GET": GET, "HEAD": GET, "POST": POST}.get(scope["method"])
        if allowed is None or not allowed.match(scope["path"]) or ".." in scope["path"].split("/"):
            return 404, "There is nothing here", {}
        return None

    def _right(self, given: str) -> bool:
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def stored(folder: Path) -> int:
    """Returns the bytes of all files in a folder and below it."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.stat(os.path.join(place, name)).st_size
            except OSError:
                continue  # deleted meanwhile
    return total


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


async def _answer(send: Send, status: int, words: str, headers: dict[str, str] | None = None) -> None:
    extra = {"content-type": "text/plain; charset=utf-8", **HEADERS, **(headers or {})}
    await send({"type": "http.response.start", "status": status, "headers": _encoded(extra)})
    await send({"type": "http.response.body", "body": words.encode()})
