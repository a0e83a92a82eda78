"""What an image's config says.

Source: https://github.com/opencontainers/image-spec/blob/main/config.md
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ecr_layers.errors import ClientError
from ecr_layers.oci.manifests import Platform

LARGEST_CONFIG = 4 * 1024 * 1024
"""How many bytes of a config are read, as in the service."""

CONFIG_MEDIA_TYPES = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image's config says; what it does not say, or says in another form than it should, is empty or None.

    Attributes:
        platform: What it runs on.
        created: When it was made, as it says it.
        entrypoint: The command that is run, None if there is none.
        cmd: The arguments of the entry point, or the command if there is none.
        working_directory: Where it is run.
        user: As whom it is run.
        exposed_ports: The ports that it listens on, such as `80/tcp`.
        labels: The labels.
        environment: The environment variables, such as `PATH=/bin`. Some images have secrets there.
        diff_ids: The digests of the layers before their compression, the lowest first.
    """

    platform: Platform | None = None
    created: str | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    working_directory: str | None = None
    user: str | None = None
    exposed_ports: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    environment: tuple[str, ...] = field(default=(), repr=False)
    diff_ids: tuple[str, ...] = ()

    @classmethod
    def parse(cls, content: bytes) -> "ImageConfig":
        """Read a config.

        Raises:
            ClientError: If it is not a JSON object.
        """
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise ClientError("The image's config is not a JSON object. It may be an artifact and no image.")
        run = _mapping(document.get("config"))
        os, architecture, variant = (_text(document.get(name)) for name in ("os", "architecture", "variant"))
        return cls(
            platform=Platform(os, architecture, variant) if os and architecture else None,
            created=_text(document.get("created")),
            entrypoint=_texts(run.get("Entrypoint")),
            cmd=_texts(run.get("Cmd")),
            working_directory=_text(run.get("WorkingDir")),
            user=_text(run.get("User")),
            exposed_ports=tuple(sorted(_mapping(run.get("ExposedPorts")))),
            labels={name: str(value) for name, value in _mapping(run.get("Labels")).items()},
            environment=_texts(run.get("Env")) or (),
            diff_ids=_texts(_mapping(document.get("rootfs")).get("diff_ids")) or (),
        )


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: object) -> tuple[str, ...] | None:
    return tuple(map(str, value)) if isinstance(value, list) else None
