"""Runs an ASGI application on a loopback address, in a thread of its own."""

import errno
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import uvicorn
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

LOCALHOST = "localhost"
"""The name of this machine: on 127.0.0.1 and, where there is one, on ::1."""

_PORTS_TO_TRY = 10


class PortError(OSError):
    """The port can't be listened on; the message is one line that says what to do."""


@contextmanager
def running(app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve `app` while the context lasts.

    Args:
        app: The application.
        host: The address to listen on, or `localhost` for both loopback addresses.
        port: The port to listen on; 0 takes any that is free.

    Yields:
        The URL of the server's root, such as `http://127.0.0.1:9000`, without a slash at the end.

    Raises:
        PortError: If the port is in use or the address is not this machine's.
    """
    with ExitStack() as stack:
        try:
            listeners = [stack.enter_context(listener) for listener in _listen(host, port)]
        except OSError as error:
            raise PortError(
                f"Port {port} of {host} can't be used: {error.strerror}. Name another one, or 0 for any that is free."
            ) from None
        for listener in listeners:
            # Otherwise a short body waits 40 ms for the headers before it to be acknowledged; connections inherit it.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # No access log: it would have the query strings of download URLs.
        config = uvicorn.Config(
            _without_disconnects(app),
            log_level="warning",
            access_log=False,
            # A client could pass for another by X-Forwarded-For.
            proxy_headers=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=2,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": listeners}, name=f"server-{host}")
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.005)
            yield f"http://{host}:{listeners[0].getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


class ClosedConnection(Response):
    """Closes the connection without an answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Close it."""
        await close_connection(receive)


async def close_connection(receive: Receive) -> None:
    """Close the connection of a request, in the middle of its answer too."""
    # ASGI has no word for this, so it is uvicorn's request object, to which `receive` belongs, that is asked.
    receive.__self__.transport.abort()  # type: ignore[attr-defined]
    # What comes first may still be the request's body.
    while (await receive())["type"] != "http.disconnect":
        pass


def _without_disconnects(app: ASGIApp) -> ASGIApp:
    """Return an application that does not take a client's leaving in the middle of its request for an error."""

    async def quiet(scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(ClientDisconnect):
            await app(scope, receive, send)

    return quiet


def _listen(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets: one, or one for each loopback address."""
    if host != LOCALHOST:
        return [socket.create_server((host, port))]
    for _ in range(_PORTS_TO_TRY):
        first = socket.create_server(("127.0.0.1", port))
        try:
            return [first, socket.create_server(("::1", first.getsockname()[1]), family=socket.AF_INET6)]
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                # There is no IPv6 loopback.
                return [first]
            # Another program has the port there, and clients of localhost would reach that one.
            first.close()
    raise OSError(errno.EADDRINUSE, "the port is in use on one of the loopback addresses")
