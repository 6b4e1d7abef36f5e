"""Errors as people are told them."""

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from allinone.files.faults import explain


def one_line(error: Exception) -> str:
    """What is wrong, for people; of values out of bounds, which and why, without repeating them."""
    if isinstance(error, RequestValidationError | ValidationError):
        problems = [
            f"{'.'.join(str(key) for key in problem['loc'] if key != 'body')}: {problem['msg']}".removeprefix(": ")
            for problem in error.errors()
        ]
        return "; ".join(problems[:5]).encode(errors="replace").decode()
    text = explain(error) if isinstance(error, OSError) else str(error)
    return text.encode(errors="replace").decode()
