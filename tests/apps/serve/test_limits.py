import asyncio
import threading
import time

import httpx
import pytest
from fastapi import FastAPI, Request

from allinone.apps.serve.access import LOOPBACK, AccessMiddleware
from allinone.apps.serve.limits import Busy, Gate, Limits

LIMITS = Limits(max_body_kb=1, max_upload_mb=1, body_sec=1, upload_sec=1)


def guarded(password: str | None = None, hosts: frozenset[str] | None = LOOPBACK) -> AccessMiddleware:
    app = FastAPI()

    @app.post("/api/{name}")
    async def echo(name: str, request: Request) -> int:
        return len(await request.body())

    @app.get("/{path:path}")
    async def anything(path: str) -> str:
        return path

    return AccessMiddleware(app, LIMITS, hosts, password)


def ask(guard: AccessMiddleware, method: str, path: str, **options) -> httpx.Response:
    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(guard)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7860") as client:
            return await client.request(method, path, **options)

    return asyncio.run(once())


def test_a_gate_lets_one_in_and_few_wait_and_sends_the_others_away():
    gate, inside, release = Gate(1, max_waiting=1, wait_sec=0.1), threading.Event(), threading.Event()

    def hold():
        with gate.enter():
            inside.set()
            release.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait()
    outcomes = []

    def try_it():
        try:
            with gate.enter():
                outcomes.append("in")
        except Busy as busy:
            outcomes.append(str(busy))

    others = [threading.Thread(target=try_it) for _ in range(2)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert sorted("no turn" in outcome for outcome in outcomes) == [False, True]
    assert any("are here already; try again" in outcome for outcome in outcomes)
    release.set()
    holder.join()
    with gate.enter():
        pass  # all places are free again


def test_a_failure_inside_frees_the_place():
    gate = Gate(1, max_waiting=1, wait_sec=0.1)
    for _ in range(5):
        with pytest.raises(KeyError), gate.enter():
            raise KeyError
    with gate.enter():
        pass


@pytest.mark.parametrize("path", ["/", "/api/x", "/media/x", "/config", "/assets/x.js"])
def test_what_the_page_needs_is_open(path: str):
    assert ask(guarded(), "GET", path).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd", "/gradio_api/file/etc/passwd", "/gradio_api/upload", "/gradio_api/proxy=http://x",
        "/gradio_api/call/search", "/gradio_api/run/search", "/gradio_api/vibe-edit", "/gradio_api/runs", "/monitoring",
        "/login", "/docs", "/redoc", "/openapi.json", "/dev/reload", "//etc/passwd", "/etc/passwd",
    ],
)  # fmt: skip
def test_everything_else_is_closed(path: str):
    assert ask(guarded(), "GET", path).status_code == 404


def test_foreign_pages_cannot_ask_through_a_browser():
    assert ask(guarded(), "GET", "/", headers={"origin": "http://127.0.0.1:7860"}).status_code == 200
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    ):
        assert ask(guarded(), "GET", "/media/x", headers=headers).status_code == 403, headers
    assert ask(guarded(), "GET", "/", headers={"host": "evil.example:7860"}).status_code == 421  # DNS rebinding
    for headers in ({"host": "["}, {"origin": "http://["}):
        assert ask(guarded(), "GET", "/", headers=headers).status_code == 400, headers
    assert ask(guarded(hosts=None), "GET", "/", headers={"host": "videos.example"}).status_code == 200
    linked = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert ask(guarded(), "GET", "/", headers=linked).status_code == 200


def test_a_password_is_asked_of_everybody_and_guesses_are_slow():
    guard = guarded("correct horse: staple")
    for path in ("/", "/api/x", "/media/x", "/gradio_api/upload"):
        refused = ask(guard, "GET", path)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic")
    assert ask(guard, "GET", "/", auth=("anybody", "correct horse: staple")).status_code == 200
    start = time.monotonic()
    assert ask(guard, "GET", "/", auth=("anybody", "correct horse")).status_code == 401
    assert time.monotonic() - start >= 0.5
    for wrong in ("Basic", "Basic !!!", "Bearer x", "Basic " + "A" * 50):
        assert ask(guard, "GET", "/", headers={"authorization": wrong}).status_code == 401


def test_a_body_that_is_too_large_is_refused_by_its_length_and_by_its_bytes():
    async def in_parts():
        for _ in range(3):
            yield b"x" * 500

    assert ask(guarded(), "POST", "/api/x", content=b"x" * 1000).json() == 1000
    assert ask(guarded(), "POST", "/api/x", content=b"x" * 1001).status_code == 413
    unannounced = ask(guarded(), "POST", "/api/x", content=in_parts())
    assert unannounced.status_code == 413
    assert unannounced.json()["detail"] == "too large: at most 1 kB are taken here"
    assert ask(guarded(), "POST", "/api/uploads", content=b"x" * 1_000_000).json() == 1_000_000
    assert ask(guarded(), "POST", "/api/uploads", content=b"x" * 1_000_001).status_code == 413


def test_a_body_that_is_too_slow_is_refused():
    async def slowly():
        for _ in range(40):
            yield b"x"
            await asyncio.sleep(0.05)

    assert ask(guarded(), "POST", "/api/x", content=slowly()).status_code == 408


def test_pages_may_reach_nothing_but_this_server():
    headers = ask(guarded(), "GET", "/").headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"].split()[0] == "'self'"
    assert "http" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"


def test_limits_are_at_least_one():
    with pytest.raises(ValueError, match="max_waiting must be at least 1, got 0"):
        Limits(max_waiting=0)
