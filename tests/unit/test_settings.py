import pytest

from layer_resolver.settings import Settings, SettingsError


def test_without_variables_nothing_is_opted_into() -> None:
    assert Settings.from_environment({}) == Settings(allowed_registries=(), image_pull=False, list_tags=False)


def test_variables_are_read() -> None:
    environment = {"ALLOWED_REGISTRIES": "123456789012, 210987654321", "IMAGE_PULL": "true", "LIST_TAGS": "false"}
    assert Settings.from_environment(environment) == Settings(
        allowed_registries=("123456789012", "210987654321"), image_pull=True, list_tags=False
    )


def test_each_variable_has_its_setting() -> None:
    arn = "arn:aws:cloudfront::123456789012:distribution/*"
    environment = {
        "ALLOWED_REGISTRIES": "123456789012",
        "DOWNLOAD_URL_HOSTS": "cache.example.com, mirror.example.com",
        "EDGE_DISTRIBUTION_ARN": arn,
        "IMAGE_PULL": "true",
        "LIST_TAGS": "true",
        "MAXIMUM_RESULT_KILOBYTES": "1024",
        "PULL_EVENT_BUS": "layers",
        "STACK_NAME": "Production",
    }
    assert Settings.from_environment(environment) == Settings(
        allowed_registries=("123456789012",),
        download_url_hosts=("cache.example.com", "mirror.example.com"),
        edge_distribution_arn=arn,
        image_pull=True,
        list_tags=True,
        maximum_result_kilobytes=1024,
        pull_event_bus="layers",
        stack_name="Production",
    )


def test_without_variables_results_are_as_large_as_events_are_everywhere() -> None:
    settings = Settings.from_environment({})
    assert (settings.maximum_result_kilobytes, settings.stack_name) == (256, "local")


@pytest.mark.parametrize("name", ["E2C44L7OVKRQ6N", "*"])
def test_the_edge_is_a_distribution_or_those_of_an_account(name: str) -> None:
    arn = f"arn:aws:cloudfront::123456789012:distribution/{name}"
    assert Settings.from_environment({"EDGE_DISTRIBUTION_ARN": arn}).edge_distribution_arn == arn
    assert Settings.from_environment({"EDGE_DISTRIBUTION_ARN": "", "PULL_EVENT_BUS": ""}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IMAGE_PULL", "perhaps"),
        ("LIST_TAGS", ""),
        ("ALLOWED_REGISTRIES", "12345"),
        ("DOWNLOAD_URL_HOSTS", "https://example.com"),
        ("DOWNLOAD_URL_HOSTS", "Example.com"),
        ("MAXIMUM_RESULT_KILOBYTES", "0"),
        ("MAXIMUM_RESULT_KILOBYTES", "10000"),
        ("MAXIMUM_RESULT_KILOBYTES", "1e3"),
        ("EDGE_DISTRIBUTION_ARN", "E2C44L7OVKRQ6N"),
        ("EDGE_DISTRIBUTION_ARN", "arn:aws:cloudfront::123456789012:distribution/"),
        ("EDGE_DISTRIBUTION_ARN", "arn:aws:cloudfront::*:distribution/*"),
        ("EDGE_DISTRIBUTION_ARN", "*"),
        ("PULL_EVENT_BUS", "no spaces"),
    ],
)
def test_a_bad_value_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"environment is not valid: {name}: "):
        Settings.from_environment({name: value})
