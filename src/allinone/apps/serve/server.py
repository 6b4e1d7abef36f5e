"""`allinone serve`: open an index and its model, and serve the page and the HTTP API until stopped."""

import ipaddress
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from allinone.apps.serve.limits import Limits

if TYPE_CHECKING:
    from allinone.apps.serve.service import Service

log = logging.getLogger(__name__)

PASSWORD_VARIABLE = "ALLINONE_PASSWORD"
MIN_PASSWORD = 8


def serve(
    index: str,
    model: str | None,
    *,
    host: str,
    port: int,
    password: str | None,
    no_password: bool,
    limits: Limits,
    say: Callable[[str], None],
) -> None:
    """Serve until Ctrl-C. `say` gets a line with the address.

    Raises:
        ValueError: others could connect without a password (checked before anything is loaded); or the port is taken.
    """
    # 1. Access, before seconds of imports.
    check_access(host, password, no_password)
    if os.path.exists(index) or "://" in index:  # logged before the imports, because these take seconds
        log.info("loading the index %s and %s", index, f"the model {model}" if model else "the model that made it")
    try:
        import uvicorn

        from allinone.apps.serve.access import LOOPBACK
        from allinone.apps.serve.api import build_app
        from allinone.apps.serve.service import Service
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"a server needs {error.name}: pip install 'allinone[app]'") from error
    from allinone.apps.search import VideoIndex

    # 2. The port, before the model is loaded.
    listening = listen(host, port)
    with listening:
        service = Service(VideoIndex.open(index, model), limits)
        # Other machines may call this one by any name.
        app = build_app(service, hosts=LOOPBACK if is_loopback(host) else None, password=password)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,  # does not name the software and its version
            limit_concurrency=limits.max_connections,
            timeout_graceful_shutdown=5,  # open pages keep a connection for events
        )
        name = f"[{host}]" if ":" in host else host  # IPv6 in an address
        say(f"{len(service.index):,} segments: http://{name}:{listening.getsockname()[1]}/   (Ctrl-C stops it)")
        uvicorn.Server(config).run(sockets=[listening])


@contextmanager
def background(service: "Service", password: str | None = None) -> Iterator[str]:
    """Serve in threads of this process, at a free port that only this machine can reach; yield the address."""
    import uvicorn

    from allinone.apps.serve.api import build_app

    with listen("127.0.0.1", 0) as listening, ThreadPoolExecutor(1) as builder:
        # In a thread, because an event loop may be running in this one.
        app = builder.submit(build_app, service, password=password).result()
        # A page that is still open keeps a connection for events, and shutting down would wait for it.
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        listening.listen()  # so that a request waits, and is not refused, until the server accepts
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=10)  # requests that take longer end with the process


def check_access(host: str, password: str | None, no_password: bool) -> None:
    """Raise ValueError unless only this machine can connect, or a password or its absence was chosen."""
    if password is not None and no_password:
        raise ValueError("a password and --no-password contradict each other; give one of them")
    if password is not None and len(password) < MIN_PASSWORD:
        raise ValueError(f"a password has {MIN_PASSWORD} characters or more, got {len(password)}")
    # The default must be safe: whoever opens the server to others has to choose, in words, that no password is needed.
    if password is None and not no_password and not is_loopback(host):
        raise ValueError(
            f"at {host} others can reach the videos: give a password (--password-file FILE, or the variable "
            f"{PASSWORD_VARIABLE}), or --no-password if everybody may connect"
        )


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def find_password(password: str | None, file: str | None) -> str | None:
    """Return the password: from the argument, the first line of the file, or else the environment."""
    if password is not None and file is not None:
        raise ValueError("give --password or --password-file, and not both")
    if file is not None:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
        if not lines:
            raise ValueError(f"{file}: empty; its first line is the password")
        return lines[0]
    return password if password is not None else os.environ.get(PASSWORD_VARIABLE)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket bound to that address. Bound before the model is loaded, so that a taken port fails at once."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        try:
            # A restart need not wait until old connections have timed out.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        cause = error.strerror or error
        raise ValueError(f"cannot listen at {host}, port {port}: {cause}; try another --port") from error
    return listening
