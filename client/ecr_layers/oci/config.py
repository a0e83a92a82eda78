"""The config of an image.

Source: https://github.com/opencontainers/image-spec/blob/main/config.md
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ecr_layers.oci.documents import mapping, read_object, text, text_map, texts
from ecr_layers.oci.platforms import Platform

LARGEST_CONFIG = 4 * 1024 * 1024
"""Largest config that is read, in bytes; the service has the same limit."""

CONFIG_MEDIA_TYPES = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """An image's config. Missing or malformed members are empty or None.

    Attributes:
        platform: What the image runs on.
        created: When it was made, as the image says it.
        entrypoint: The command; None if it isn't set.
        cmd: The entry point's arguments, or the command if there is no entry point.
        working_directory: The working directory.
        user: The user that runs it.
        exposed_ports: The ports that it listens on, such as `80/tcp`.
        labels: The labels.
        environment: The environment variables, such as `PATH=/bin`. They may hold secrets.
        diff_ids: The digests of the uncompressed layers, the lowest first.
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
            ClientError: If it isn't a JSON object.
        """
        document = read_object(content, "The config")
        run = mapping(document.get("config"))
        os, architecture, variant = (text(document.get(name)) for name in ("os", "architecture", "variant"))
        return cls(
            platform=Platform(os, architecture, variant) if os and architecture else None,
            created=text(document.get("created")),
            entrypoint=texts(run.get("Entrypoint")),
            cmd=texts(run.get("Cmd")),
            working_directory=text(run.get("WorkingDir")),
            user=text(run.get("User")),
            exposed_ports=tuple(sorted(mapping(run.get("ExposedPorts")))),
            labels=text_map(run.get("Labels")),
            environment=texts(run.get("Env")) or (),
            diff_ids=texts(mapping(document.get("rootfs")).get("diff_ids")) or (),
        )
