"""A stand-in for ECR that costs little beside what is measured.

It answers `GetDownloadUrlForLayer` without an HTTP library, JSON or signatures; `local/ecr.py` is the one that checks
requests. As a program it prints its port and serves: `python ecr_stand_in.py LATENCY_MS`.
"""

import asyncio
import re
import sys
import time
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from contextlib import closing, suppress

_DIGEST = re.compile(rb'"layerDigest"\s*:\s*"([^"]+)"')
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)

# A session token of S3's own role makes up most of a real URL.
_TOKEN = "IQoJb3JpZ2luX2VjE".ljust(1200, "x")


async def serve(latency_seconds: float) -> None:
    """Print the port, and serve any number of kept-alive connections from one thread until the process ends."""

    async def converse(reader: StreamReader, writer: StreamWriter) -> None:
        with closing(writer), suppress(IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _CONTENT_LENGTH.search(head)
                digest = _DIGEST.search(await reader.readexactly(int(length[1]) if length else 0))
                if digest is None:
                    return
                if latency_seconds:
                    await asyncio.sleep(latency_seconds)
                url = _signed_url(digest[1])
                writer.write(_response(b'{"downloadUrl":"%b","layerDigest":"%b"}' % (url, digest[1])))

    server = await asyncio.start_server(converse, "127.0.0.1", 0, backlog=128)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _response(document: bytes) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\n"
        b"x-amzn-RequestId: 00000000-0000-4000-8000-000000000000\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(document), document)
    )


def _signed_url(digest: bytes) -> bytes:
    """Return a URL as long as a real one."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return (
        "https://prod-us-east-1-starport-layer-bucket.s3.us-east-1.amazonaws.com/1e2a-123456789012-"
        f"d3b5a8e0-7f5c-4c8e-a3d5-0f7c2f1b9e11/{digest.decode()}"
        f"?X-Amz-Security-Token={_TOKEN}&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date={moment}"
        f"&X-Amz-SignedHeaders=host&X-Amz-Expires=3600"
        f"&X-Amz-Credential=ASIASTANDINSTARPORTX%2F{moment[:8]}%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Signature=0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9"
    ).encode()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]) / 1000))
