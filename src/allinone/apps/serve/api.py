"""The server: an HTTP API with an OpenAPI description, the videos of the index, and the page, behind one guard."""

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, BinaryIO

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from allinone.apps.serve.errors import one_line
from allinone.apps.serve.limits import LOOPBACK, AccessMiddleware, Busy
from allinone.apps.serve.page import mount_page
from allinone.apps.serve.requests import (
    Answer,
    Answers,
    Classify,
    Embed,
    Hits,
    Id,
    Match,
    Matches,
    Problem,
    Search,
    State,
    Uploaded,
    Vectors,
)
from allinone.apps.serve.service import NotFound, Service, media_type
from allinone.files.faults import FULL
from allinone.video import VideoError

Handler = Callable[[Request, Exception], Awaitable[Response]]

PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "what was asked cannot be done, and why"},
    404: {"model": Problem, "description": "no such segment or upload"},
    422: {"model": Problem, "description": "a value out of bounds, or a video that cannot be read"},
    503: {"model": Problem, "description": "busy, with the seconds to wait in Retry-After; or the index is damaged"},
    507: {"model": Problem, "description": "no room left on the server's disk"},
}


def build_app(service: Service, hosts: frozenset[str] | None = LOOPBACK, password: str | None = None) -> ASGIApp:
    """The whole server. `hosts` are the names by which it may be called, `password` what it asks for, if any."""
    app = FastAPI(
        title="All-in-One",
        description="Find moments in videos by words, and ask about them.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        responses=PROBLEMS,
    )
    add_handlers(app)
    add_api(app, service)
    add_media(app, service)
    asyncio.run(mount_page(app, service))
    return AccessMiddleware(app, service.limits, hosts, password)


def add_api(app: FastAPI, service: Service) -> None:
    @app.get("/api/state")
    def state() -> State:
        """The index, the model, and what it can do."""
        return service.state()

    @app.post("/api/search")
    def search(asked: Search) -> Hits:
        """Moments that fit a text or are like a segment, the best first."""
        return service.search(asked)

    @app.post("/api/embed")
    def embed(asked: Embed) -> Vectors:
        """Unit vectors of texts or of a video; the product of two is their similarity."""
        return service.embed(asked)

    @app.post("/api/match")
    def match(asked: Match) -> Matches:
        """The probability of each text that it belongs to the video."""
        return service.match(asked)

    @app.post("/api/answer")
    def answer(asked: Answer) -> Answers:
        """The likeliest answers to a question, or words for the [MASK] of a text."""
        return service.answer(asked)

    @app.post("/api/classify")
    def classify(asked: Classify) -> Answers:
        """The likeliest of some labels."""
        return service.classify(asked)

    body = {"required": True, "content": {"video/*": {"schema": {"type": "string", "format": "binary"}}}}

    @app.post("/api/uploads", openapi_extra={"requestBody": body})
    async def upload(request: Request) -> Uploaded:
        """Send a video or photo as the body, to ask about it by the id that comes back. Only its frames are kept."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not kind.startswith(("video/", "image/")) and kind != "application/octet-stream":
            raise HTTPException(415, f"a video or an image is wanted, got {kind[:80] or 'no content type'}")
        with service.receiving.enter(), tempfile.NamedTemporaryFile(prefix="allinone-upload-") as file:
            async for part in request.stream():
                file.write(part)
            file.flush()
            name, seen = await run_in_threadpool(service.upload, Path(file.name))
        return Uploaded(upload=name, times_sec=seen.times_sec)


def add_media(app: FastAPI, service: Service) -> None:
    """Thumbnails and videos of the index, by the id of a segment."""

    @app.get("/media/thumbnail/{segment}", response_class=Response)
    def thumbnail(segment: Id) -> Response:
        return Response(service.thumbnail(segment), media_type="image/jpeg", headers={"cache-control": "private"})

    @app.get("/media/video/{segment}", response_class=FileResponse)
    def video(segment: Id) -> FileResponse:
        """The video that the segment is a part of; ranges of it may be asked for."""
        there = service.segment(segment)
        return OpenFileResponse(service.open_video(there), media_type(Path(there.video)))

    @app.get("/media/clip/{segment}", response_class=Response)
    def clip(segment: Id) -> Response:
        """The segment encoded anew, for videos of a kind that a browser does not play."""
        return Response(service.clip(segment), media_type="video/mp4", headers={"cache-control": "private"})


class OpenFileResponse(FileResponse):
    """Sends a file that is open: it is the one that was checked, whatever its path leads to by now."""

    def __init__(self, file: BinaryIO, media_type: str):
        number = file.fileno()
        headers = {"content-security-policy": "sandbox"}
        super().__init__(f"/dev/fd/{number}", headers=headers, media_type=media_type, stat_result=os.fstat(number))
        self.file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self.file:
            await super().__call__(scope, receive, send)


def add_handlers(app: FastAPI) -> None:
    """Errors are one sentence, in JSON."""

    def refuse(status: int, headers: dict[str, str] | None = None) -> Handler:
        async def handler(request: Request, error: Exception) -> Response:
            return JSONResponse({"detail": one_line(error)}, status, headers)

        return handler

    async def refuse_for_system(request: Request, error: Exception) -> Response:
        assert isinstance(error, OSError)
        return await refuse(507 if error.errno in FULL else 503)(request, error)

    app.add_exception_handler(RequestValidationError, refuse(422))
    app.add_exception_handler(Busy, refuse(503, {"retry-after": "5"}))
    app.add_exception_handler(NotFound, refuse(404))
    app.add_exception_handler(VideoError, refuse(422))
    app.add_exception_handler(ValueError, refuse(400))
    app.add_exception_handler(OSError, refuse_for_system)
