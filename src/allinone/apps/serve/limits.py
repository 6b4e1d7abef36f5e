"""What a server lets in: who may ask, how much at once, how large, how long; and what its pages may reach."""

import asyncio
import base64
import hmac
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

UPLOADS, EVENTS = "/api/uploads", "/gradio_api/queue/join"

OPEN_PATHS = (
    "/api/",
    "/media/",
    "/assets/",
    "/static/",
    "/config",
    "/theme.css",
    "/favicon.ico",
    "/manifest.json",
    EVENTS,
    "/gradio_api/queue/data",
    "/gradio_api/heartbeat/",
    "/gradio_api/startup-events",
)
"""What may be asked for besides the page itself. Gradio has many more routes, some of which serve files."""

OPEN_QUERIES = ("/api/", "/media/", "/gradio_api/queue/data")
"""Paths that a query means something to; to the page's own address it could name a file of Gradio's."""

Plain = None | bool | int | float | str

HEADERS = {
    # Gradio's page needs inline scripts, and templates that it compiles. What counts: nothing comes from elsewhere.
    "content-security-policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'; "
    "form-action 'self'; base-uri 'self'; object-src 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of a server.

    One request at a time is at the model, since it uses all processors; `max_waiting` may wait for it, each for
    `wait_sec`. `max_receiving` uploads may be on their way, since each takes `max_upload_mb` on disk; they are decoded
    two at a time, and `max_uploads` of them remembered, by their frames alone.
    """

    max_upload_mb: int = 100
    upload_sec: int = 120
    max_receiving: int = 4
    max_uploads: int = 64
    max_body_kb: int = 512
    body_sec: int = 20
    max_waiting: int = 16
    wait_sec: int = 30
    max_connections: int = 256

    def __post_init__(self):
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


class PageEvent(BaseModel):
    """What the page tells Gradio: flat values. Gradio would open a path, or fetch an address, of a nested one."""

    model_config = ConfigDict(extra="forbid")

    data: list[Plain]
    event_data: dict[str, Plain] | None = None
    fn_index: int
    trigger_id: int | None = None
    session_hash: str = Field(pattern="^[0-9a-z]{1,64}$")


class Busy(Exception):
    """Too many requests; the message says so to people."""


class Gate:
    """So many callers are inside at a time, and so many more may wait; the next are told at once to come back."""

    def __init__(self, num_inside: int, max_waiting: int, wait_sec: int | float):
        self.inside = threading.BoundedSemaphore(num_inside)
        self.places = threading.BoundedSemaphore(num_inside + max_waiting)
        self.num_places = num_inside + max_waiting
        self.wait_sec = wait_sec

    @contextmanager
    def enter(self) -> Iterator[None]:
        if not self.places.acquire(blocking=False):
            raise Busy(f"the server is busy: {self.num_places} such requests are here already; try again soon")
        try:
            if not self.inside.acquire(timeout=self.wait_sec):
                raise Busy(f"the server is busy: no turn within {self.wait_sec:g} s; try again later")
            try:
                yield
            finally:
                self.inside.release()
        finally:
            self.places.release()


class AccessMiddleware:
    """The outermost layer of the server: refuses a request before any of the application sees it, or bounds its body.

    Refused are wrong passwords, requests that a foreign page makes in a user's browser (by their origin, or, where
    only this machine may ask, by a foreign host name), paths that are not `OPEN_PATHS`, bodies that are too large or
    too slow, and events that are not such as the page sends. `hosts` are the names this server may be called by; None
    allows all.
    """

    def __init__(self, app: ASGIApp, limits: Limits, hosts: frozenset[str] | None, password: str | None):
        self.app = app
        self.limits = limits
        self.hosts = hosts
        self.password = password
        self.guessing = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":  # no websocket is used
            return await send({"type": "websocket.close", "code": 1008})
        send = with_headers(send)
        try:
            receive = await self.check(scope, Headers(scope=scope), receive)
        except HTTPException as refused:
            answer = JSONResponse({"detail": refused.detail}, refused.status_code, headers=refused.headers)
            return await answer(scope, receive, send)
        await self.app(scope, receive, send)

    async def check(self, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        host = headers.get("host", "")
        if self.hosts is not None and urlsplit(f"//{host}").hostname not in self.hosts:
            raise HTTPException(421, f"this server answers to {', '.join(sorted(self.hosts))}")
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc != host
        embedded = headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate"
        if foreign or embedded:
            raise HTTPException(403, "requests from other sites are refused")
        if self.password is not None and not self.knows_password(headers):
            if "authorization" in headers:
                async with self.guessing:  # guesses are served one after another
                    await asyncio.sleep(0.5)
            raise HTTPException(
                401, "password needed", {"www-authenticate": 'Basic realm="All-in-One", charset="UTF-8"'}
            )
        path = scope["path"]
        if path != "/" and not path.startswith(OPEN_PATHS):
            raise HTTPException(404, "there is nothing here")
        if not path.startswith(OPEN_QUERIES):
            scope["query_string"] = b""
        limits = self.limits
        if path == UPLOADS:
            return bounded(receive, headers, limits.max_upload_mb * 1_000_000, limits.upload_sec)
        receive = bounded(receive, headers, limits.max_body_kb * 1_000, limits.body_sec)
        return await checked(receive) if path.startswith(EVENTS) else receive

    def knows_password(self, headers: Headers) -> bool:
        """By HTTP's basic authentication, whatever the user's name."""
        scheme, _, code = headers.get("authorization", "").partition(" ")
        try:
            given = base64.b64decode(code, validate=True).partition(b":")[2]
        except ValueError:
            return False
        assert self.password is not None
        return scheme.lower() == "basic" and hmac.compare_digest(given, self.password.encode())


async def checked(receive: Receive) -> Receive:
    """The body of a request that tells of a `PageEvent`, written anew from what was understood of it."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    try:
        event = PageEvent.model_validate_json(body)
    except ValidationError as error:
        raise HTTPException(400, "no event of this page") from error
    parts = iter([{"type": "http.request", "body": event.model_dump_json().encode(), "more_body": False}])

    async def next_part() -> Message:
        return next(parts, None) or await receive()

    return next_part


def bounded(receive: Receive, headers: Headers, max_bytes: int, max_sec: int | float) -> Receive:
    """The body of a request, while it is neither larger nor slower than that."""
    too_large = HTTPException(413, f"too large: at most {size_text(max_bytes)} are taken here")
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise too_large
    left, done, deadline = max_bytes, False, asyncio.get_running_loop().time() + max_sec

    async def next_part() -> Message:
        nonlocal left, done
        if done:  # what follows a body is only that the client is gone
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, f"too slow: the whole request must be here within {max_sec:g} s") from None
        left -= len(message.get("body", b""))
        done = not message.get("more_body", False)
        if left < 0:
            raise too_large
        return message

    return next_part


def with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers


def size_text(num_bytes: int) -> str:
    return f"{num_bytes / 1_000_000:g} MB" if num_bytes >= 1_000_000 else f"{num_bytes / 1000:g} kB"
