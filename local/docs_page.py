"""A page to try the HTTP API in a browser: Swagger UI with the function's own OpenAPI document, all from this machine.

Only the local function URL has it; a deployed function answers 404 there. Swagger UI is that of the package
flask-swagger-ui, of which nothing but these files is used: it follows each release of Swagger UI and has its number,
while swagger-ui-bundle and openapi-ui-bundles stopped at versions of 2022 and 2024.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from local.oci_layout import OciLayout

PATH = "/docs"

_HEADERS = {
    # Its scripts and styles are files of this origin, and so is all that they ask for.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>ECR Layer Resolver</title>
<link rel="stylesheet" href="{PATH}/swagger-ui.css">
<link rel="icon" href="{PATH}/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{PATH}/swagger-ui-bundle.js"></script>
<script src="{PATH}/start.js"></script>
</body>
</html>
"""
_START = f"""SwaggerUIBundle({{
  url: "{PATH}/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  tryItOutEnabled: true,
  validatorUrl: null,
}});
"""
_SWAGGER_UI_FILES = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png")


@dataclass(frozen=True, slots=True)
class Examples:
    """Values to fill in: parameters by name, bodies by path and media type."""

    parameters: Mapping[str, str]
    bodies: Mapping[tuple[str, str], Any] = field(default_factory=dict)


def examples_of(repository: str, layout: OciLayout) -> Examples:
    """Return examples that name the first image of a repository's layout."""
    images = {digest: each for digest, each in layout.manifests.items() if not each.is_index}
    if not images:
        return Examples({"repositoryName": repository})
    image = next(iter(images.values()))
    bodies: dict[tuple[str, str], Any] = {("/download-urls", image.media_type): json.loads(image.content)}
    # A tag of an image needs no choice of a platform. A request has only one of tag and digest.
    tags = sorted(layout.tags, key=lambda tag: layout.tags[tag] not in images)
    reference = {"imageTag": tags[0]} if tags else {"imageDigest": image.digest}
    parameters = {"repositoryName": repository, **reference}
    # The config comes last, so that the first of the blobs is a layer, if the image has any.
    every = [*image.layers, *([image.config] if image.config else [])]
    blobs = [blob.digest for blob in every if blob.digest in layout.referenced_blobs]
    if blobs:
        parameters["layerDigest"] = blobs[0]
        for path, layers in (
            ("/download-url", {"layerDigest": blobs[0]}),
            ("/download-urls", {"layerDigests": blobs}),
        ):
            bodies[path, "application/json"] = {"repositoryName": repository, **layers}
    return Examples(parameters, bodies)


def fill_in(document: dict[str, Any], examples: Examples) -> None:
    """Put examples into an OpenAPI document; a parameter without one stays empty."""
    for path, operations in document["paths"].items():
        # A fragment tells operations of one path apart.
        route = path.partition("#")[0]
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                # Swagger UI would also fill in the schema's example, which this service doesn't have.
                parameter["schema"].pop("examples", None)
                if parameter["name"] in examples.parameters:
                    parameter["example"] = examples.parameters[parameter["name"]]
            for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
                if (route, media_type) in examples.bodies:
                    body["example"] = examples.bodies[route, media_type]


class DocsPage:
    """Answers the page and its files, and hands on everything else to the function URL."""

    def __init__(self, service: ASGIApp, examples: Examples) -> None:
        self._service = service
        self._examples = examples
        self._files: dict[str, Callable[[], Response]] = {
            PATH: lambda: HTMLResponse(_PAGE, headers=_HEADERS),
            f"{PATH}/start.js": lambda: Response(_START, media_type="text/javascript", headers=_HEADERS),
            **{f"{PATH}/{path.name}": partial(FileResponse, path, headers=_HEADERS) for path in _swagger_ui()},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        path = Request(scope).url.path if scope["method"] in {"GET", "HEAD"} else ""
        if path == f"{PATH}/openapi.json":
            await (await self._document())(scope, receive, send)
        elif path in self._files:
            await self._files[path]()(scope, receive, send)
        else:
            await self._service(scope, receive, send)

    async def _document(self) -> Response:
        transport = httpx.ASGITransport(self._service)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.get("/openapi.json")
        if answer.status_code != httpx.codes.OK:
            return Response(answer.content, answer.status_code, headers=_HEADERS)
        document = answer.json()
        fill_in(document, self._examples)
        return JSONResponse(document, headers=_HEADERS)


def _swagger_ui() -> list[Path]:
    # Importing the package would load Flask.
    package = find_spec("flask_swagger_ui")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("flask-swagger-ui is not installed: make installs requirements-dev.txt")
    directory = Path(package.submodule_search_locations[0]) / "dist"
    return [directory / name for name in _SWAGGER_UI_FILES]
