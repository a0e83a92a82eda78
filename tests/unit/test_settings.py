"""Environment variables become settings, or are refused by name."""

import pytest

from layer_resolver.settings import Settings, SettingsError, log_level


def test_without_variables_everything_optional_is_off() -> None:
    empty = {"EDGE_DISTRIBUTION_ARN": "", "PULL_EVENT_BUS": ""}
    assert Settings.from_environment({}) == Settings.from_environment(empty) == Settings()
    assert not Settings().image_pull
    assert not Settings().list_tags
    assert (Settings().maximum_result_kilobytes, Settings().stack_name) == (256, "local")


def test_each_variable_has_its_setting() -> None:
    arn = "arn:aws:cloudfront::123456789012:distribution/*"
    environment = {
        "ALLOWED_REGISTRIES": "123456789012, 210987654321",
        "DOWNLOAD_URL_HOSTS": "cache.example.com, mirror.example.com",
        "EDGE_DISTRIBUTION_ARN": arn,
        "IMAGE_PULL": "true",
        "LIST_TAGS": "true",
        "MAXIMUM_RESULT_KILOBYTES": "1024",
        "PULL_EVENT_BUS": "layers",
        "STACK_NAME": "Production",
    }
    assert Settings.from_environment(environment) == Settings(
        allowed_registries=("123456789012", "210987654321"),
        download_url_hosts=("cache.example.com", "mirror.example.com"),
        edge_distribution_arn=arn,
        image_pull=True,
        list_tags=True,
        maximum_result_kilobytes=1024,
        pull_event_bus="layers",
        stack_name="Production",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IMAGE_PULL", "perhaps"),
        ("LIST_TAGS", ""),
        ("ALLOWED_REGISTRIES", "12345"),
        ("DOWNLOAD_URL_HOSTS", "https://example.com"),
        ("MAXIMUM_RESULT_KILOBYTES", "0"),
        ("MAXIMUM_RESULT_KILOBYTES", "10000"),
        ("MAXIMUM_RESULT_KILOBYTES", "1e3"),
        ("EDGE_DISTRIBUTION_ARN", "arn:aws:cloudfront::123456789012:distribution/"),
        ("EDGE_DISTRIBUTION_ARN", "arn:aws:cloudfront::*:distribution/*"),
        ("PULL_EVENT_BUS", "no spaces"),
    ],
)
def test_an_invalid_value_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"environment is invalid: {name} "):
        Settings.from_environment({name: value})


@pytest.mark.parametrize(
    ("value", "level"), [("debug", "DEBUG"), ("Debug", "DEBUG"), ("WARNING", "WARNING"), ("", None)]
)
def test_the_log_level_may_be_in_any_case_or_empty(value: str, level: str | None) -> None:
    assert log_level({"POWERTOOLS_LOG_LEVEL": value}) == level
    assert log_level({}) is None
    with pytest.raises(SettingsError, match="environment is invalid: POWERTOOLS_LOG_LEVEL must be"):
        log_level({"POWERTOOLS_LOG_LEVEL": "loud"})
