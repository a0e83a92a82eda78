"""`ecr-layers logout`."""

import os

import click

from ecr_layers.cli.errors import tell
from ecr_layers.cli.options import chosen_url
from ecr_layers.login.saved_logins import SavedLogins
from ecr_layers.registry.addresses import hosts_of


@click.command(short_help="Remove a login")
@click.argument("url", required=False)
@click.option("-v", "--verbose", is_flag=True, expose_value=False, help="say more about errors")
def command(url: str | None) -> int:
    """Remove the login for a service, as docker logout and podman logout do."""
    host = hosts_of(chosen_url(url))[0]
    places = SavedLogins(os.environ).remove(host)
    tell(f"Logged out of {host}: {', '.join(places)}" if places else f"You aren't logged in to {host}.", prefix="")
    return 0
