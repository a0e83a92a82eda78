"""Runs an ASGI application on a loopback address, in a thread of its own."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp


@contextmanager
def running(app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve `app` while the context lasts.

    Args:
        app: The application.
        host: The address to listen on.
        port: The port to listen on; 0 takes any that is free.

    Yields:
        The URL of the server's root, such as `http://127.0.0.1:9000`, without a slash at the end.

    Raises:
        OSError: If the port is in use or the address is not this machine's.
    """
    with socket.create_server((host, port)) as listener:
        # Otherwise a short body waits 40 ms for the headers before it to be acknowledged; connections inherit it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # No access log: it would have the query strings of download URLs.
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=2
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name=f"server-{host}")
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.005)
            yield f"http://{host}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
