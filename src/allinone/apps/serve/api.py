"""The server: the HTTP API with its OpenAPI description, thumbnails and videos of the index, and the page."""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from allinone.apps.serve.access import LOOPBACK, AccessMiddleware
from allinone.apps.serve.errors import add_handlers
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
from allinone.apps.serve.service import Service, media_type

PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "the request cannot be done, and why"},
    404: {"model": Problem, "description": "no such segment or upload"},
    422: {"model": Problem, "description": "a value out of bounds, or a video that cannot be read"},
    503: {"model": Problem, "description": "busy, with the seconds to wait in Retry-After; or the index is damaged"},
    507: {"model": Problem, "description": "the server's disk is full"},
}


def build_app(service: Service, hosts: frozenset[str] | None = LOOPBACK, password: str | None = None) -> ASGIApp:
    """Return the whole server; see `AccessMiddleware` for `hosts` and `password`."""
    app = FastAPI(
        title="All-in-One",
        description="Find moments in videos by words, and ask about them.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # these pages load scripts from other hosts
        redoc_url=None,
        responses=PROBLEMS,
    )
    add_handlers(app)
    add_api(app, service)
    add_media(app, service)
    asyncio.run(mount_page(app, service))
    return AccessMiddleware(app, service.limits, hosts, password)


def add_api(app: FastAPI, service: Service) -> None:
    """Add the requests below `/api/`."""

    @app.get("/api/state")
    def state() -> State:
        """The index, the model, and what it can do."""
        return service.state()

    @app.post("/api/search")
    def search(body: Search) -> Hits:
        """Moments that match a text or are like a segment, best first."""
        return service.search(body)

    @app.post("/api/embed")
    def embed(body: Embed) -> Vectors:
        """Unit vectors of texts or of a video; the dot product of two is their similarity."""
        return service.embed(body)

    @app.post("/api/match")
    def match(body: Match) -> Matches:
        """The probability of each text that it belongs to the video."""
        return service.match(body)

    @app.post("/api/answer")
    def answer(body: Answer) -> Answers:
        """The most probable answers to a question, or words for the [MASK] of a text."""
        return service.answer(body)

    @app.post("/api/classify")
    def classify(body: Classify) -> Answers:
        """The most probable labels."""
        return service.classify(body)

    content = {"required": True, "content": {"video/*": {"schema": {"type": "string", "format": "binary"}}}}

    @app.post("/api/uploads", openapi_extra={"requestBody": content})
    async def upload(request: Request) -> Uploaded:
        """Send a video or photo as the body, to ask about it by the returned id. Only its frames are kept."""
        # Without parameters such as `; codecs=`.
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not kind.startswith(("video/", "image/")) and kind != "application/octet-stream":
            raise HTTPException(415, f"send a video or an image, not {kind[:80] or 'a body without content type'}")
        with service.receiving.enter(), tempfile.NamedTemporaryFile(prefix="allinone-upload-") as file:
            async for part in request.stream():
                file.write(part)
            file.flush()
            # Decoding would hold up all other requests.
            id, frames = await run_in_threadpool(service.upload, Path(file.name))
        return Uploaded(upload=id, times_sec=frames.times_sec)


def add_media(app: FastAPI, service: Service) -> None:
    """Add thumbnails and videos of the index, by the id of a segment."""

    @app.get("/media/thumbnail/{segment}", response_class=Response)
    def thumbnail(segment: Id) -> Response:
        return Response(service.thumbnail(segment), media_type="image/jpeg", headers={"cache-control": "private"})

    @app.get("/media/video/{segment}", response_class=FileResponse)
    def video(segment: Id) -> FileResponse:
        """The whole video of a segment; supports range requests."""
        row = service.segment(segment)
        return OpenFileResponse(service.open_video(row), media_type(Path(row.video)))

    @app.get("/media/clip/{segment}", response_class=Response)
    def clip(segment: Id) -> Response:
        """The segment encoded as an MP4, for videos that a browser cannot play."""
        return Response(service.clip(segment), media_type="video/mp4", headers={"cache-control": "private"})


class OpenFileResponse(FileResponse):
    """Sends an open file: the one that was checked, even if its path has come to name another one since."""

    def __init__(self, file: BinaryIO, media_type: str):
        number = file.fileno()
        headers = {"content-security-policy": "sandbox"}  # whatever the file is, no script in it runs
        # FileResponse opens a path: that of the open file.
        super().__init__(f"/dev/fd/{number}", headers=headers, media_type=media_type, stat_result=os.fstat(number))
        self.file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self.file:
            await super().__call__(scope, receive, send)
