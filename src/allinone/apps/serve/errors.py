"""Errors of the server: their text for people, and their HTTP status."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from allinone.apps.serve.limits import Busy
from allinone.files.faults import FULL, explain
from allinone.video import VideoError

Handler = Callable[[Request, Exception], Awaitable[Response]]


class NotFound(ValueError):
    """A request names something that the server does not have, or no longer (HTTP 404)."""


def message(error: Exception) -> str:
    """Return the cause of an error in one line; for values out of bounds, which and why, without the values."""
    if isinstance(error, RequestValidationError | ValidationError):
        problems = [
            f"{'.'.join(str(key) for key in problem['loc'] if key != 'body')}: {problem['msg']}".removeprefix(": ")
            for problem in error.errors()
        ]
        text = "; ".join(problems[:5])  # a list of 64 texts may have 64 problems
    else:
        text = explain(error) if isinstance(error, OSError) else str(error)
    return text.encode(errors="replace").decode()  # JSON has no lone surrogates, file names may


def add_handlers(app: FastAPI) -> None:
    """Answer errors with their status and `{"detail": message}`."""

    def refuse(status: int, headers: dict[str, str] | None = None) -> Handler:
        async def handler(request: Request, error: Exception) -> Response:
            return JSONResponse({"detail": message(error)}, status, headers)

        return handler

    async def refuse_for_system(request: Request, error: Exception) -> Response:
        assert isinstance(error, OSError)
        return await refuse(507 if error.errno in FULL else 503)(request, error)

    # Starlette takes the handler of the nearest base class, whatever the order here.
    app.add_exception_handler(RequestValidationError, refuse(422))
    app.add_exception_handler(Busy, refuse(503, {"retry-after": "5"}))
    app.add_exception_handler(NotFound, refuse(404))
    app.add_exception_handler(VideoError, refuse(422))
    app.add_exception_handler(ValueError, refuse(400))
    app.add_exception_handler(OSError, refuse_for_system)
