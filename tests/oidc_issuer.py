"""An OIDC issuer on this machine, over TLS, that can also misbehave.

joserfc signs its tokens: another implementation than the one that the token exchange verifies with.
"""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

Key = RSAKey | ECKey
KEYS_PATH = "/keys"
HUGE = b'{"keys": [' + b" " * 10_000_000 + b"]}"


def new_key(key_id: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": key_id})


class Issuer:
    """An issuer.

    Attributes:
        url: Its URL, as its tokens have it.
        ca_file: The certificate of its CA.
        keys: Its keys. The first signs.
        fault: What it does instead of giving its keys: `hangs`, `redirects`, `huge`, `fails` or `nonsense`;
            None gives them.
        requests: The paths that it was asked for.
    """

    def __init__(self, ca_file: Path, *keys: Key) -> None:
        self.url, self.ca_file = "", ca_file
        self.keys = list(keys)
        self.fault: str | None = None
        self.requests: list[str] = []
        self.closing = threading.Event()

    def token(
        self, audience: object, /, *, header: dict[str, Any] | None = None, key: Any = None, **claims: Any
    ) -> str:
        """Return a token with the claims of a job of GitHub Actions, changed; None leaves one out."""
        now = int(time.time())
        key = key or self.keys[0]
        every = {
            "iss": self.url,
            "aud": audience,
            "sub": "repo:team/app:ref:refs/heads/main",
            "iat": now,
            "nbf": now,
            "exp": now + 300,
            "repository": "team/app",
            "repository_id": "5678",
            "repository_owner_id": "1234",
            "run_id": "99",
            "jti": "0123",
            **claims,
        }
        kept = {name: value for name, value in every.items() if value is not None}
        whole = {"alg": "RS256", "kid": key.kid, **(header or {})}
        return jwt.encode(whole, kept, key, algorithms=[whole["alg"]])

    def answer(self, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        self.requests.append(request.path)
        if self.fault and request.path == KEYS_PATH:
            if self.fault == "hangs":
                self.closing.wait(30)
            return {
                "redirects": (302, {"Location": f"{self.url}/elsewhere"}, b""),
                "huge": (200, {}, HUGE),
                "nonsense": (200, {}, b'{"keys": "none"}'),
            }.get(self.fault, (500, {}, b""))
        keys = {"keys": [key.as_dict(private=False) for key in self.keys]}
        documents: dict[str, Any] = {
            "/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}{KEYS_PATH}"},
            KEYS_PATH: keys,
            "/elsewhere": keys,
        }
        found = documents.get(request.path)
        return (404, {}, b"") if found is None else (200, {}, json.dumps(found).encode())


@contextmanager
def running_issuer(directory: Path, *keys: Key) -> Iterator[Issuer]:
    """Run an issuer while the context lasts.

    Args:
        directory: Where to write the CA's certificate.
        keys: Its keys. The first signs.
    """
    authority = trustme.CA()
    ca_file = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    issuer = Issuer(ca_file, *keys)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = issuer.answer(self)
            # A client that has enough of a large answer leaves.
            try:
                self.send_response(status)
                for name, value in {
                    "Content-Type": "application/json",
                    "Content-Length": str(len(body)),
                    **headers,
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """Say nothing of clients that leave."""

    server = Server(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    issuer.url = f"https://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield issuer
    finally:
        issuer.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
