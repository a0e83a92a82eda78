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

from local.oci_layout import Manifest, OciLayout

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
    """What the page fills in.

    Attributes:
        parameters: The value of each query parameter, by its name.
        bodies: The body of a request, by path and media type.
    """

    parameters: Mapping[str, str] = field(default_factory=dict)
    bodies: Mapping[tuple[str, str], Any] = field(default_factory=dict)


def examples_of(repository: str, layout: OciLayout) -> Examples:
    """Return examples that name the first image of a layout.

    Args:
        repository: The name of the repository that the layout is served as.
        layout: The layout.
    """
    images = {digest: each for digest, each in layout.manifests.items() if each.document.layers is not None}
    if not images:
        return Examples({"repositoryName": repository})
    image = next(iter(images.values()))
    # The layers come first, so that the first of the blobs is one, if the image has any.
    described = [*(image.document.layers or []), *([image.document.config] if image.document.config else [])]
    blobs = [each.digest for each in described if each.digest in layout.referenced_blobs]
    # A tag of an image needs no choice of a platform.
    tags = sorted(layout.tags, key=lambda tag: layout.tags[tag] not in images)
    parameters = {
        "repositoryName": repository,
        # A request has only one of the two.
        **({"imageTag": tags[0]} if tags else {"imageDigest": image.digest}),
        **({"layerDigest": blobs[0]} if blobs else {}),
    }
    return Examples(parameters, _bodies(repository, image, blobs))


def _bodies(repository: str, image: Manifest, blobs: list[str]) -> dict[tuple[str, str], Any]:
    of_manifest = {("/download-urls", image.media_type): json.loads(image.content)}
    if not blobs:
        return of_manifest
    return {
        **of_manifest,
        ("/download-url", "application/json"): {"repositoryName": repository, "layerDigest": blobs[0]},
        ("/download-urls", "application/json"): {"repositoryName": repository, "layerDigests": blobs},
    }


def with_examples(document: dict[str, Any], examples: Examples) -> dict[str, Any]:
    """Return an OpenAPI document with the values that a page is to fill in; a parameter without one stays empty."""
    paths = {
        path: {method: _filled_in(path, operation, examples) for method, operation in operations.items()}
        for path, operations in document["paths"].items()
    }
    return {**document, "paths": paths}


def _filled_in(path: str, operation: dict[str, Any], examples: Examples) -> dict[str, Any]:
    filled_in = dict(operation)
    if "parameters" in operation:
        filled_in["parameters"] = [_parameter(each, examples) for each in operation["parameters"]]
    if "requestBody" in operation:
        # A fragment tells operations of one path apart.
        route = path.partition("#")[0]
        content = {
            media_type: _with_example(each, examples.bodies.get((route, media_type)))
            for media_type, each in operation["requestBody"]["content"].items()
        }
        filled_in["requestBody"] = {**operation["requestBody"], "content": content}
    return filled_in


def _parameter(parameter: dict[str, Any], examples: Examples) -> dict[str, Any]:
    # Swagger UI would also fill in the schema's example, which this service doesn't have.
    schema = {name: value for name, value in parameter["schema"].items() if name != "examples"}
    return _with_example({**parameter, "schema": schema}, examples.parameters.get(parameter["name"]))


def _with_example(described: dict[str, Any], value: Any) -> dict[str, Any]:
    return described if value is None else {**described, "example": value}


class DocsPage:
    """Answers the page and its files, and hands on everything else.

    Args:
        service: The application behind it: the function URL.
        examples: What the page fills in.
    """

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
        if scope["type"] != "http" or scope["method"] not in {"GET", "HEAD"}:
            await self._service(scope, receive, send)
            return
        path = Request(scope).url.path
        if path == f"{PATH}/openapi.json":
            await (await self._document())(scope, receive, send)
        elif path in self._files:
            await self._files[path]()(scope, receive, send)
        else:
            await self._service(scope, receive, send)

    async def _document(self) -> Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(self._service), base_url="http://localhost"
        ) as client:
            answer = await client.get("/openapi.json", timeout=None)
        if answer.status_code != httpx.codes.OK:
            return Response(answer.content, answer.status_code, headers=_HEADERS)
        return JSONResponse(with_examples(answer.json(), self._examples), headers=_HEADERS)


def _swagger_ui() -> list[Path]:
    # Importing the package would load Flask.
    package = find_spec("flask_swagger_ui")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("flask-swagger-ui is not installed: make installs requirements-dev.txt")
    directory = Path(package.submodule_search_locations[0]) / "dist"
    return [directory / name for name in _SWAGGER_UI_FILES]
