"""Platforms of images, and which of them run where."""

import platform as machine
from dataclasses import dataclass

from ecr_layers.errors import UsageError

# What an architecture without a variant means: https://github.com/containerd/platforms (normalizeArch).
_DEFAULT_VARIANTS = frozenset({("amd64", "v1"), ("arm", "v7"), ("arm64", "v8")})
_ARCHITECTURES = {
    "x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "armel": "arm/v6",
    "armv6l": "arm/v6", "armv7l": "arm", "i386": "386", "i686": "386",
}  # fmt: skip
_KNOWN = frozenset(
    {"386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x", *_ARCHITECTURES}
)
# Variants that also run images of lower ones: https://github.com/containerd/platforms (platformVector).
_LOWER_VARIANTS = {"amd64": ("v4", "v3", "v2", None), "arm": ("v8", None, "v6", "v5")}


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image runs on.

    Attributes:
        os: The operating system, such as `linux`.
        architecture: The architecture, such as `arm64`.
        variant: The architecture's variant; None for its default variant.
    """

    os: str
    architecture: str
    variant: str | None = None

    def __post_init__(self) -> None:
        if (self.architecture, self.variant) in _DEFAULT_VARIANTS or not self.variant:
            object.__setattr__(self, "variant", None)

    @classmethod
    def parse(cls, text: str) -> "Platform":
        """Parse `linux/arm64`, `arm64` or `linux/arm/v6`; other names of architectures, such as `x86_64`, are known.

        Raises:
            UsageError: If it isn't a platform.
        """
        parts = text.lower().split("/")
        if parts[0] in _KNOWN:
            parts.insert(0, "linux")
        if len(parts) not in {2, 3} or not all(part.isprintable() and part for part in parts):
            raise UsageError(
                f"{text[:100]!r} isn't a platform; expected OS/ARCHITECTURE, such as linux/arm64.",
                code="invalid-platform",
            )
        os, architecture, *variants = parts
        architecture, _, variant = _ARCHITECTURES.get(architecture, architecture).partition("/")
        return cls(os, architecture, variants[0] if variants else variant)

    @classmethod
    def of_this_machine(cls) -> "Platform":
        """Return Linux on this machine's architecture."""
        return cls.parse(f"linux/{machine.machine()}")

    @property
    def runs(self) -> tuple["Platform", ...]:
        """The platforms whose images it runs, the best first."""
        vector = _LOWER_VARIANTS.get(self.architecture, ())
        lower = vector[vector.index(self.variant) :] if self.variant in vector else (self.variant,)
        return tuple(Platform(self.os, self.architecture, variant) for variant in lower)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)
