from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layer_resolver.models import IndexEntry, Platform
from layer_resolver.platforms import PlatformNotFoundError, choose, name_of

IMAGE, INDEX, MANIFEST_LIST = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
ATTESTATION = "unknown/unknown"
SOCI_INDEX = "application/vnd.amazon.soci.index.v2+json"
ARM64_V8 = [f"arm64/v8.{minor}" for minor in range(9, 0, -1)]


def platform(
    os: str,
    architecture: str,
    variant: str | None = None,
    os_version: str | None = None,
    os_features: list[str] | None = None,
) -> Platform:
    return Platform.model_construct(
        os=os, architecture=architecture, variant=variant, os_version=os_version, os_features=os_features
    )


def entry(
    digest: str, media_type: str = IMAGE, artifact_type: str | None = None, platform: Platform | None = None
) -> IndexEntry:
    return IndexEntry.model_construct(
        digest=digest, media_type=media_type, artifact_type=artifact_type, platform=platform
    )


def image(
    name: str, os_version: str | None = None, os_features: list[str] | None = None, artifact_type: str | None = None
) -> IndexEntry:
    """Return the entry for a platform; its digest is its name and OS version."""
    os, architecture, variant = (*name.split("/"), None)[:3]
    made = platform(str(os), str(architecture), variant, os_version, os_features)
    return entry(" ".join(filter(None, (name, os_version))), artifact_type=artifact_type, platform=made)


def chosen(names: str, wanted: str) -> str | None:
    """Return what is chosen from an index with an image for each name, None if there is no such image."""
    return digest_for(wanted, [image(name) for name in names.split()])


def digest_for(wanted: str | None, entries: Sequence[IndexEntry]) -> str | None:
    try:
        return choose(entries, wanted).digest
    except PlatformNotFoundError:
        return None


@pytest.mark.parametrize(
    ("names", "wanted", "expected"),
    [
        ("linux/amd64 linux/arm64", "linux/arm64", "linux/arm64"),
        ("linux/amd64 windows/amd64", "windows/amd64", "windows/amd64"),
        ("linux/ppc64le linux/riscv64/rva20u64", "linux/riscv64/rva20u64", "linux/riscv64/rva20u64"),
        ("linux/amd64 linux/arm64", "linux/s390x", None),
        ("linux/riscv64/rva23u64", "linux/riscv64/rva20u64", None),
        ("linux/amd64", "linux", None),
        ("linux/amd64", "linux/amd64/v1/more", None),
        ("linux/amd64", "", None),
        # Images that the platform can't run:
        ("linux/amd64/v3", "linux/amd64", None),
        ("linux/arm/v8 linux/arm/v4", "linux/arm/v7", None),
        ("linux/arm64", "linux/arm/v8", None),
        ("linux/arm64/v8.1 linux/arm64/v9 linux/arm/v9 linux/arm/v4", "linux/arm64", None),
        ("linux/arm64/v8.7", "linux/arm64/v9.1", None),
    ],
)
def test_the_image_for_the_platform_is_chosen_and_none_that_it_can_not_run(
    names: str, wanted: str, expected: str | None
) -> None:
    assert chosen(names, wanted) == expected


@pytest.mark.parametrize(
    "same",
    [
        "linux/amd64 linux/amd64/v1 linux/x86_64 linux/x86-64 Linux/AMD64/V1",
        "linux/386 linux/i386",
        "linux/arm linux/arm/v7 linux/arm/7 linux/armhf",
        "linux/arm/v6 linux/arm/6 linux/armel",
        "linux/arm/v5 linux/arm/5",
        "linux/arm/v8 linux/arm/8",
        "linux/arm64 linux/arm64/v8 linux/arm64/8 linux/arm64/v8.0 linux/aarch64",
        "linux/arm64/v9 linux/arm64/9 linux/arm64/9.0 linux/arm64/v9.0",
        "darwin/arm64 macos/arm64 macOS/aarch64",
    ],
)
def test_spellings_of_a_platform_are_interchangeable_and_the_exact_one_precedes(same: str) -> None:
    for wanted in same.split():
        assert chosen(same, wanted) == wanted
        for stored in same.split():
            assert chosen(f"linux/mips {stored}", wanted) == stored


def test_the_first_of_several_images_for_a_platform_is_chosen() -> None:
    first, second = entry("first", platform=platform("linux", "arm64")), image("linux/arm64")
    assert choose([first, second], "linux/arm64") is first
    assert choose([second, first], "linux/arm64") is second


@pytest.mark.parametrize(
    ("wanted", "compatible"),
    [
        ("linux/amd64/v4", ["amd64/v4", "amd64/v3", "amd64/v2", "amd64", "386"]),
        ("linux/arm", ["arm/v7", "arm/v6", "arm/v5"]),
        ("linux/arm/v4", ["arm/v4"]),
        ("linux/arm64/v8.2", ["arm64/v8.2", "arm64/v8.1", "arm64", "arm/v8", "arm/v7", "arm/v6", "arm/v5"]),
        ("linux/arm64/v9", ["arm64/v9", *ARM64_V8[4:], "arm64", "arm/v8"]),
        ("linux/arm64/v9.1", ["arm64/v9.1", "arm64/v9", *ARM64_V8[3:], "arm64", "arm/v8"]),
        ("linux/arm64/v9.7", ["arm64/v9.7", "arm64/v9.6", "arm64/v9", *ARM64_V8]),
    ],
)
def test_the_closest_older_variant_stands_in_for_a_missing_one(wanted: str, compatible: list[str]) -> None:
    names = [f"linux/{name}" for name in compatible]
    for place, name in enumerate(names):
        assert chosen(" ".join(reversed(names[place:])), wanted) == name


WINDOWS = [
    image("windows/amd64", version)
    for version in ("10.0.17763.9", "10.0.17763.10", "10.0.20348.1", "10.0.25398.7", "10.0.26100.3", "6.3.9600")
]


@pytest.mark.parametrize(
    ("wanted", "version"),
    [
        ("windows/amd64", "10.0.26100.3"),
        ("windows(10.0.17763.9)/amd64", "10.0.17763.9"),
        ("windows(10.0.17763)/amd64", "10.0.17763.10"),
        ("windows(10.0.20347)/amd64", None),
        ("windows(10.0.20348.9)/amd64", "10.0.20348.1"),
        ("windows(10.0.22621)/amd64", "10.0.20348.1"),
        ("windows(10.0.26099)/amd64", "10.0.25398.7"),
        ("windows(10.0.26200)/amd64", "10.0.26100.3"),
        ("windows(10.1.20348)/amd64", None),
        ("windows(10.0)/amd64", "10.0.26100.3"),
        ("windows(ltsc2022)/amd64", "10.0.26100.3"),
    ],
)
def test_windows_gets_the_highest_version_that_the_host_runs(wanted: str, version: str | None) -> None:
    expected = version and f"windows/amd64 {version}"
    assert digest_for(wanted, WINDOWS) == digest_for(wanted, WINDOWS[::-1]) == expected


@pytest.mark.parametrize(
    ("version", "is_chosen"),
    [
        *((version, True) for version in (None, "", "10.0.20348.x", "10.0.20348.1.2")),
        # Windows Server 2022 and later run no image for an earlier host.
        *((version, False) for version in ("10.0.20347.1", "10.0.17763.1")),
        *((version, False) for version in ("10.0", "ltsc2022", "10.0.²", f"10.0.{'9' * 5000}", "....")),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_windows_host_runs_images_of_its_build_and_of_none_and_without_a_version_every_image(
    version: str | None, is_chosen: bool
) -> None:
    entries = [image("windows/amd64", version)]
    assert bool(digest_for("windows(10.0.20348.5)/amd64", entries)) == is_chosen
    assert digest_for("windows/amd64", entries) == entries[0].digest


@pytest.mark.parametrize(
    ("versions", "named"), [(("22.4.1", "24.4.1"), "linux(24.4.1)/amd64"), (("14", "mac 15"), "linux(mac%2015)/amd64")]
)
def test_other_systems_accept_any_version_and_prefer_the_one_named(versions: tuple[str, str], named: str) -> None:
    entries = [image("linux/amd64", version) for version in versions]
    assert choose(entries, "linux/amd64") is entries[0]
    assert choose(entries, "linux(20.4.1)/amd64") is entries[0]
    assert choose(entries, named) is entries[1]


@pytest.mark.parametrize(
    ("wanted", "features"),
    [
        ("linux/amd64", [""]),
        ("linux(+gpu)/amd64", ["gpu"]),
        ("linux(+simd+gpu)/amd64", ["gpu", "simd"]),
        ("linux(+a%2Bb)/amd64", ["a+b"]),
        ("linux(+win32k)/amd64", ["win32k"]),
    ],
)
def test_an_image_needs_no_feature_that_was_not_asked_for(wanted: str, features: list[str]) -> None:
    entries = [image("linux/amd64", None, each) for each in (["gpu"], ["gpu", "simd"], ["a+b"], ["win32k"], [""])]
    platform = choose(entries, wanted).platform
    assert platform is not None
    assert platform.os_features == features


def test_windows_images_alone_may_need_win32k() -> None:
    older, core = (image("windows/amd64", f"10.0.17763.{revision}", ["win32k"]) for revision in (9, 10))
    nano, newer_nano = image("windows/amd64", "10.0.17763.10"), image("windows/amd64", "10.0.20348.1")
    assert choose([nano, older, core], "windows/amd64") is core
    assert choose([older, core], "windows(10.0.17763.9)/amd64") is older
    assert choose([core, newer_nano], "windows/amd64") is newer_nano
    assert digest_for("linux/amd64", [image("linux/amd64", None, ["win32k"])]) is None


def test_artifacts_and_attestations_are_not_images() -> None:
    entries = [
        image(ATTESTATION),
        image("linux/unknown"),
        image("linux/amd64", artifact_type=SOCI_INDEX),
        entry("soci", INDEX, SOCI_INDEX),
        image("linux/amd64", "the image", artifact_type=""),
    ]
    assert digest_for("linux/amd64", entries) == "linux/amd64 the image"
    for wanted in (None, "linux/arm64", "unknown/unknown"):
        with pytest.raises(PlatformNotFoundError) as caught:
            choose(entries, wanted)
        assert caught.value.platforms == ["linux(the%20image)/amd64"]


@pytest.mark.parametrize("wanted", [None, "linux/arm64"])
@pytest.mark.parametrize("media_type", [IMAGE, INDEX])
def test_the_only_entry_of_an_index_that_names_no_platform_is_meant(wanted: str | None, media_type: str) -> None:
    beside = [image(ATTESTATION), entry("sbom", artifact_type="application/spdx+json")]
    assert digest_for(wanted, [*beside, entry("only", media_type)]) == "only"
    assert digest_for(wanted, [entry("one"), entry("other")]) is None
    assert digest_for(wanted, beside) is None


@pytest.mark.parametrize("media_type", [INDEX, MANIFEST_LIST])
def test_a_further_index_is_looked_into_for_a_platform_that_no_image_is_for(media_type: str) -> None:
    entries = [image("linux/amd64"), entry("image without platform"), entry("further", media_type)]
    assert digest_for("linux/arm64", entries) == "further"
    assert digest_for("linux/amd64", entries) == "linux/amd64"
    assert digest_for(None, entries) is None
    assert digest_for("linux/arm64", [*entries, entry("another", media_type)]) is None


def test_the_error_lists_each_platform_once_in_the_order_of_the_index() -> None:
    names = ["linux/s390x", "linux/amd64", "linux/arm/v7", "linux/amd64"]
    for wanted in (None, "linux/386"):
        with pytest.raises(PlatformNotFoundError) as caught:
            choose([image(name) for name in names], wanted)
        assert caught.value.platforms == names[:3]
        assert str(caught.value) == "No image for this platform in the index."


@pytest.mark.parametrize(
    ("platform", "name"),
    [
        (platform("linux", "arm", "v7"), "linux/arm/v7"),
        (platform("windows", "amd64", None, "10.0.20348.1"), "windows(10.0.20348.1)/amd64"),
        (platform("windows", "amd64", "", "10.0", ["win32k"]), "windows(10.0+win32k)/amd64"),
        (platform("linux", "amd64", "v2", "", [*"fbad", "", "c", "e", "a"]), "linux(+a+b+c+d+e+f)/amd64/v2"),
        (platform("linux", "amd64", None, "a/b(c)%+"), "linux(a%2Fb%28c%29%25%2B)/amd64"),
        (platform("linux", "amd64", None, "\ud800"), "linux(%3F)/amd64"),
        (platform("", "amd64"), "amd64"),
    ],
)
def test_a_platform_is_named_as_containerd_names_it(platform: Platform, name: str) -> None:
    assert name_of(platform) == name


texts = st.none() | st.sampled_from(["", "v7", "v8", "10.0.20348.1"]) | st.text(max_size=5)
platforms = st.builds(
    platform,
    os=st.sampled_from(["linux", "Windows", "windows", "macos"]),
    architecture=st.sampled_from(["amd64", "x86_64", "arm", "armhf", "arm64", "s390x"]),
    variant=st.sampled_from([None, "v1", "v2", "v7", "v8", "v9"]),
    os_version=texts,
    os_features=st.none() | st.lists(st.sampled_from(["win32k", "gpu", "a+b", ""]), max_size=3),
)


@settings(max_examples=50)
@given(st.lists(platforms, min_size=1, max_size=6))
def test_each_listed_name_gets_an_image_of_that_name(listed: list[Platform]) -> None:
    entries = [entry(str(number), platform=platform) for number, platform in enumerate(listed)]
    with pytest.raises(PlatformNotFoundError) as caught:
        choose(entries, None)
    for name in caught.value.platforms:
        platform = choose(entries, name).platform
        assert platform is not None
        assert name_of(platform) == name
