"""Choice of an image for a platform from an image index, as containerd does it.

The rules are those of https://github.com/containerd/platforms/tree/v1.0.0-rc.5: `normalizeArch` in database.go, `Only`
in compare.go, `Parse`, `FormatAll` and `NewMatcher` in platforms.go, Windows builds in platform_windows_compat.go.
An index is untrusted: its texts may hold any characters, in any length.
"""

from collections.abc import Sequence
from itertools import takewhile
from operator import itemgetter
from urllib.parse import quote, unquote

from layer_resolver.models import INDEX_MEDIA_TYPES, IndexEntry, Platform

_ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
_ALIASES_WITH_VARIANT = {"i386": ("386", ""), "armhf": ("arm", "v7"), "armel": ("arm", "v6")}
_SAME_VARIANTS = {
    "amd64": {"v1": ""},
    "arm": {"": "v7", "5": "v5", "6": "v6", "7": "v7", "8": "v8"},
    "arm64": {"8": "", "v8": "", "v8.0": "", "9": "v9", "9.0": "v9", "v9.0": "v9"},
}

# A machine runs images for its own variant and for those after it in the list.
_ARM64_V9 = (*(f"v9.{minor}" for minor in range(7, 0, -1)), "v9")
_VARIANTS = {
    "amd64": ("v4", "v3", "v2", ""),
    "arm": ("v8", "v7", "v6", "v5"),
    "arm64": (*(f"v8.{minor}" for minor in range(9, 0, -1)), ""),
}
_OLDER_ARCHITECTURES = {"amd64": [("386", "")], "arm64": [("arm", each) for each in _VARIANTS["arm"]]}

# Windows Server 2022: from this build on, a host also runs images for older builds, back to this one.
_STABLE_BUILD = 20348


class PlatformNotFoundError(Exception):
    """The index has no image for the platform, or the caller named none; has the distinct names in the index."""

    def __init__(self, platforms: list[str]) -> None:
        super().__init__("No image for this platform in the index.")
        self.platforms = platforms


def choose(entries: Sequence[IndexEntry], wanted: str | None) -> IndexEntry:
    """Return the entry for a platform, or the further index to look into.

    Of the images that run on it, the closest variant wins, then the exact name, the OS version that the caller named,
    the most OS features, the first in the index. For Windows, the highest OS version comes before features, as on a
    containerd host. Here no host limits it: a caller with an older host has to name its version. `wanted` is written
    as by containerd, such as `linux/arm64` or `windows(10.0.20348.1)/amd64`.

    Raises:
        PlatformNotFoundError: No image fits, or `wanted` is None and the entries name platforms.
    """
    images = [entry for entry in entries if _is_image(entry)]
    named = [(entry, entry.platform) for entry in images if entry.platform is not None]
    if wanted is not None:
        machine = _Machine(wanted)
        ranked = [(rank, entry) for entry, platform in named if (rank := machine.rank(platform))]
        if ranked:
            return max(ranked, key=itemgetter(0))[1]
    unnamed = [entry for entry in images if entry.platform is None]
    if named:
        unnamed = [entry for entry in unnamed if wanted is not None and entry.media_type in INDEX_MEDIA_TYPES]
    if len(unnamed) == 1:
        return unnamed[0]
    raise PlatformNotFoundError(list(dict.fromkeys(name_of(platform) for _, platform in named)))


def name_of(platform: Platform) -> str:
    """Return a platform as containerd writes it, such as `windows(10.0.20348.1+win32k)/amd64`."""
    texts = (platform.os_version or "", *sorted(_features(platform)))
    options = "+".join(quote(text, safe="", errors="replace") for text in texts)
    system = f"{platform.os}({options})" if options else platform.os
    return "/".join(part for part in (system, platform.architecture, platform.variant) if part)


class _Machine:
    """A machine of the wanted platform."""

    def __init__(self, name: str) -> None:
        system, _, rest = name.partition("/")
        architecture, _, variant = rest.partition("/")
        os, _, options = system.removesuffix(")").partition("(")
        version, *features = map(unquote, options.split("+"))
        self._name = name
        self._os = _normalized_os(os)
        self._is_windows = self._os == "windows"
        self._version = version
        # Nano Server lacks win32k, so containerd ignores it.
        self._features = {*features, "win32k"} if self._is_windows else set(features)
        self._places = {each: place for place, each in enumerate(_runnable(*_normalized(architecture, variant)))}

    def rank(self, platform: Platform) -> tuple[object, ...] | None:
        """Return how well the machine runs an image, None if it doesn't; the greatest rank is best."""
        place = self._places.get(_normalized(platform.architecture, platform.variant))
        features = _features(platform)
        if place is None or _normalized_os(platform.os) != self._os or not features <= self._features:
            return None
        if self._is_windows and not _runs_build(self._version, platform.os_version):
            return None
        is_named = (name_of(platform) == self._name, (platform.os_version or "") == self._version)
        version = _numbers(platform.os_version) if self._is_windows else ()
        return (-place, *is_named, version, len(features))


def _is_image(entry: IndexEntry) -> bool:
    """Tell an image from an artifact, such as a SOCI index, and from an attestation.

    BuildKit's attestations have the platform unknown/unknown:
    https://docs.docker.com/build/metadata/attestations/attestation-storage/
    """
    platform = entry.platform
    return not entry.artifact_type and (platform is None or "unknown" not in (platform.os, platform.architecture))


def _features(platform: Platform) -> set[str]:
    return {*(platform.os_features or ())} - {""}


def _normalized_os(os: str) -> str:
    return "darwin" if os.lower() == "macos" else os.lower()


def _normalized(architecture: str, variant: str | None) -> tuple[str, str]:
    architecture, variant = architecture.lower(), (variant or "").lower()
    if architecture in _ALIASES_WITH_VARIANT:
        return _ALIASES_WITH_VARIANT[architecture]
    architecture = _ALIASES.get(architecture, architecture)
    return architecture, _SAME_VARIANTS.get(architecture, {}).get(variant, variant)


def _runnable(architecture: str, variant: str) -> list[tuple[str, str]]:
    """Return the architectures and variants that a machine runs, the closest first."""
    variants = _VARIANTS.get(architecture, ())
    runnable: tuple[str, ...] = (variant,)
    if variant in variants:
        runnable = variants[variants.index(variant) :]
    elif architecture == "arm64" and variant in _ARM64_V9:
        place = _ARM64_V9.index(variant)
        # v9.0 has what v8.5 has, v9.1 what v8.6 has, and so on up to v8.9.
        runnable = (*_ARM64_V9[place:], *variants[max(0, place - 3) :])
    return [(architecture, each) for each in runnable] + _OLDER_ARCHITECTURES.get(architecture, [])


def _runs_build(host: str, image: str | None) -> bool:
    """Tell whether a Windows host runs an image; without either version, it does."""
    newest, build = _numbers(host)[:3], _numbers(image)[:3]
    if len(newest) < 3 or not image:
        return True
    return (*newest[:2], min(newest[2], _STABLE_BUILD)) <= build <= newest


def _numbers(version: str | None) -> tuple[int, ...]:
    """Return the leading numbers of a version, at most four: 10.0.20348.1 is (10, 0, 20348, 1)."""
    parts = (version or "").split(".", 4)[:4]
    return tuple(map(int, takewhile(lambda part: part.isascii() and part.isdigit() and len(part) < 10, parts)))
