"""The settings of this project's own stack: CDK context, from `cdk.json` or `-c key=value`.

docs/settings.md describes each.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from aws_cdk import aws_logs as logs
from pydantic import BeforeValidator
from pydantic.alias_generators import to_camel

from .limits import too_many_principals
from .options import Conflict, Options, SettingsError
from .regions import Region
from .rules import Email, EventBusName, Principals, Repositories, StackName, flag, optional

# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
_DAYS = logs.RetentionDays
RETENTION = {
    1: _DAYS.ONE_DAY, 3: _DAYS.THREE_DAYS, 5: _DAYS.FIVE_DAYS, 7: _DAYS.ONE_WEEK, 14: _DAYS.TWO_WEEKS,
    30: _DAYS.ONE_MONTH, 60: _DAYS.TWO_MONTHS, 90: _DAYS.THREE_MONTHS, 120: _DAYS.FOUR_MONTHS, 150: _DAYS.FIVE_MONTHS,
    180: _DAYS.SIX_MONTHS, 365: _DAYS.ONE_YEAR, 400: _DAYS.THIRTEEN_MONTHS, 545: _DAYS.EIGHTEEN_MONTHS,
    731: _DAYS.TWO_YEARS, 1096: _DAYS.THREE_YEARS, 1827: _DAYS.FIVE_YEARS, 2192: _DAYS.SIX_YEARS,
    2557: _DAYS.SEVEN_YEARS, 2922: _DAYS.EIGHT_YEARS, 3288: _DAYS.NINE_YEARS, 3653: _DAYS.TEN_YEARS,
}  # fmt: skip

# CDK's own keys and feature flags, what the CLI adds, and what it has looked up.
_FOREIGN_KEY = re.compile(r"(?:aws:|aws-cdk:|@|cdk-).*|acknowledged-issue-numbers|[a-z-]+:[A-Za-z0-9_]+=.*")

# Former settings, and what replaces them.
_REMOVED = {
    "createEventBus": "The stack creates an event bus of its own unless eventBusName names another; remove this key.",
}


def _retention(value: Any) -> int:
    days = next((days for days in RETENTION if str(days) == str(value)), None)
    if days is None:
        raise ValueError(f"must be one of {', '.join(map(str, RETENTION))}")
    return days


class DeploymentSettings(Options):
    """The settings of one deployment; the defaults deploy as they are."""

    stack_name: StackName = "EcrLayerResolver"
    repositories: Repositories = ("*",)
    allowed_principals: Principals = ()
    log_retention_days: Annotated[int, BeforeValidator(_retention)] = 30
    keep_logs: Annotated[bool | None, optional(flag)] = None
    event_bus_name: EventBusName = None
    alarm_email: Email = None

    @classmethod
    def name_of(cls, field: str) -> str:
        """Return the name that a field has in `cdk.json`."""
        return to_camel(field)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of all settings, as they are in `cdk.json`."""
        return tuple(map(to_camel, cls.model_fields))

    @classmethod
    def from_context(cls, context: Mapping[str, Any], region: Region, account: str | None = None) -> Self:
        """Return the settings that a context has.

        Args:
            context: All context of an app.
            region: Where they are for; some defaults depend on what it has.
            account: The id of the stack's account, if it is known.

        Raises:
            SettingsError: If a value is invalid, or a key is neither a setting nor CDK's.
        """
        ours = {name: value for name, value in context.items() if not _FOREIGN_KEY.fullmatch(name)}
        fields = {to_camel(field): field for field in cls.model_fields}
        unknown = tuple(_unknown(name, cls.names()) for name in ours if name not in fields)
        values = {fields[name]: value for name, value in ours.items() if name in fields}
        return cls.checked(values, region, account, unknown)

    def values(self) -> dict[str, Any]:
        """Return all settings by their names in `cdk.json`, those without a value as None."""
        return {to_camel(field): value for field, value in self.model_dump(mode="json").items()}

    def changes(self) -> dict[str, Any]:
        """Return the settings that aren't the defaults of a region that has everything."""
        defaults = type(self)().values()
        return {name: value for name, value in self.values().items() if value != defaults[name]}

    def conflicts(self, region: Region, account: str | None) -> Iterator[Conflict]:
        """Give the conflicts of settings with each other, or with the region or account."""
        yield from super().conflicts(region, account)
        for problem in too_many_principals(self.allowed_principals):
            yield Conflict(("allowed_principals",), problem)
        if self.auth_type == "NONE" and self.allowed_principals:
            yield Conflict(
                ("auth_type", "allowed_principals"),
                "allowedPrincipals has no effect with authType NONE; remove one of the two",
            )
        for index, principal in enumerate(self.allowed_principals):
            if region.name and principal.startswith("arn:") and principal.split(":")[1] != region.partition:
                rule = f"must begin with arn:{region.partition}: in {region.name}, or be an account id"
                yield Conflict(("allowed_principals",), f"allowedPrincipals[{index}]: {rule}")


def describe(settings: DeploymentSettings) -> str:
    """Return lines that name each setting that isn't its default, with its value."""
    changes = settings.changes()
    if not changes:
        return "All settings have their defaults."
    return "\n".join(
        ["Settings that aren't the defaults:", *(f"  {name} = {_shown(changes[name])}" for name in changes)]
    )


def refuse_duplicate_keys(path: Path) -> None:
    """Refuse a `cdk.json` in which an object has a key twice, because the last one silently overrides the others.

    Raises:
        SettingsError: If an object has a key twice.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SettingsError(f"{path.name} has {', '.join(twice)} more than once; keep one of each.")
        return dict(pairs)

    if path.is_file():
        json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)


def _unknown(name: str, names: tuple[str, ...]) -> str:
    if name in _REMOVED:
        return f"{name}: is no longer a setting. {_REMOVED[name]}"
    by_lower = {each.lower(): each for each in names}
    nearest = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    advice = f"did you mean {by_lower[nearest[0]]}?" if nearest else "docs/settings.md has all that there are"
    return f"{name}: is not a setting; {advice}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
