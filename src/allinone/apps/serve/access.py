"""Access control: which requests reach the application, how large their bodies may be, and what its pages may load."""

import asyncio
import base64
import hmac
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from allinone.apps.serve.limits import Limits

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
"""What may be requested besides the page itself. Gradio has many more routes, some of which serve files."""

OPEN_QUERIES = ("/api/", "/media/", "/gradio_api/queue/data")
"""Paths that keep their query string. In the page's own address, it could name a file of Gradio's."""

Scalar = None | bool | int | float | str

HEADERS = {
    # Gradio's page needs inline scripts, and eval for its templates. Nothing is loaded from another host.
    "content-security-policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'; "
    "form-action 'self'; base-uri 'self'; object-src 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class PageEvent(BaseModel):
    """An event that the page sends to Gradio: only scalars, because Gradio opens paths and URLs in nested values."""

    model_config = ConfigDict(extra="forbid")

    data: list[Scalar]
    event_data: dict[str, Scalar] | None = None
    fn_index: int
    trigger_id: int | None = None
    session_hash: str = Field(pattern="^[0-9a-z]{1,64}$")


class AccessMiddleware:
    """The outermost layer of the server: refuses a request before the application sees it, or bounds its body.

    Refused are wrong passwords, requests that another site's page makes in a user's browser (by their origin; if only
    this machine may connect, also by their host name), paths not in `OPEN_PATHS`, bodies that are too large or too
    slow, and events other than a `PageEvent`. `hosts` are the names by which the server may be called; None allows all.
    """

    def __init__(self, app: ASGIApp, limits: Limits, hosts: frozenset[str] | None, password: str | None):
        self.app = app
        self.limits = limits
        self.hosts = hosts
        self.password = password
        self.guessing = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":  # start and end of the server: nothing to check
            return await self.app(scope, receive, send)
        if scope["type"] != "http":  # no websocket is used
            return await send({"type": "websocket.close", "code": 1008})  # 1008: against the policy
        send = with_headers(send)
        headers = Headers(scope=scope)
        try:
            # Origin first: another site's page in a browser that knows the password must not get to the model.
            try:
                self.check_origin(headers)
            except ValueError as error:  # urlsplit refuses hosts such as "["
                raise HTTPException(400, "the Host or Origin header is no address") from error
            await self.check_password(headers)
            receive = await self.check_request(scope, headers, receive)
        except HTTPException as refused:
            answer = JSONResponse({"detail": refused.detail}, refused.status_code, headers=refused.headers)
            return await answer(scope, receive, send)
        await self.app(scope, receive, send)

    def check_origin(self, headers: Headers) -> None:
        """Refuse what another site's page sends through a user's browser."""
        host = headers.get("host", "")
        # A page can reach a server of this machine under a foreign name, if its address changes (DNS rebinding).
        if self.hosts is not None and urlsplit(f"//{host}").hostname not in self.hosts:
            raise HTTPException(421, f"this server answers to {', '.join(sorted(self.hosts))}")
        origin = headers.get("origin")
        is_foreign = origin is not None and urlsplit(origin).netloc != host
        # A link from another site may still open the page.
        is_embedded = headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate"
        if is_foreign or is_embedded:
            raise HTTPException(403, "requests from other sites are refused")

    async def check_password(self, headers: Headers) -> None:
        """Compare the password of HTTP basic authentication; any user name will do."""
        if self.password is None:
            return
        scheme, _, code = headers.get("authorization", "").partition(" ")
        try:
            # `user:password`, and a password may have colons, too.
            given = base64.b64decode(code, validate=True).partition(b":")[2]
        except ValueError:
            given = b""
        # Takes the same time for any wrong password.
        if scheme.lower() == "basic" and hmac.compare_digest(given, self.password.encode()):
            return
        # Nothing was guessed if there is no header: browsers ask without one first.
        if scheme:
            async with self.guessing:  # one guess after another, each half a second
                await asyncio.sleep(0.5)
        raise HTTPException(401, "password needed", {"www-authenticate": 'Basic realm="All-in-One", charset="UTF-8"'})

    async def check_request(self, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        """Refuse closed paths and strange events; return `receive` with the body's limits."""
        path, limits = scope["path"], self.limits
        if path != "/" and not path.startswith(OPEN_PATHS):
            raise HTTPException(404, "there is nothing here")
        if not path.startswith(OPEN_QUERIES):
            scope["query_string"] = b""  # see `OPEN_QUERIES`
        if path == UPLOADS:
            return bounded(receive, headers, limits.max_upload_mb * 1_000_000, limits.upload_sec)
        receive = bounded(receive, headers, limits.max_body_kb * 1_000, limits.body_sec)
        return await checked_event(receive) if path.startswith(EVENTS) else receive


async def checked_event(receive: Receive) -> Receive:
    """Parse the body as a `PageEvent`, and return a `receive` that gives the parsed event as JSON again."""
    body, more = b"", True  # whole in memory: `bounded` has limited it
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    try:
        event = PageEvent.model_validate_json(body)
    except ValidationError as error:
        raise HTTPException(400, "no event of this page") from error
    # Written again from what was checked: keys that occur twice or a strange encoding do not reach Gradio.
    parts = iter([{"type": "http.request", "body": event.model_dump_json().encode(), "more_body": False}])

    async def next_part() -> Message:
        return next(parts, None) or await receive()

    return next_part


def bounded(receive: Receive, headers: Headers, max_bytes: int, max_sec: int | float) -> Receive:
    """Return a `receive` that raises HTTPException if the body is larger (413) or takes longer (408) than that."""
    too_large = HTTPException(413, f"too large: at most {size_text(max_bytes)} are taken here")
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes:  # refused before a byte of it is read
        raise too_large
    left, done, deadline = max_bytes, False, asyncio.get_running_loop().time() + max_sec

    async def next_part() -> Message:
        nonlocal left, done
        if done:  # after the body, the only message is that the client has disconnected
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, f"too slow: the whole request must be here within {max_sec:g} s") from None
        left -= len(message.get("body", b""))  # the header may be missing, or too small
        done = not message.get("more_body", False)
        if left < 0:
            raise too_large
        return message

    return next_part


def with_headers(send: Send) -> Send:
    """Return a `send` that adds `HEADERS` to the response, unless it has them."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers


def size_text(num_bytes: int) -> str:
    """Return a size in words, in powers of 1,000."""
    return f"{num_bytes / 1_000_000:g} MB" if num_bytes >= 1_000_000 else f"{num_bytes / 1000:g} kB"
