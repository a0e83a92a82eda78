"""`ecr-layers login`."""

import os
from typing import TextIO

import click

from ecr_layers.cli import output
from ecr_layers.cli.errors import tell
from ecr_layers.cli.options import chosen_url
from ecr_layers.errors import UsageError
from ecr_layers.login.exchange import USER_NAME
from ecr_layers.login.id_tokens import LONGEST_TOKEN, PROJECTED_TOKEN, read_variable
from ecr_layers.login.job import Job
from ecr_layers.login.saved_logins import SavedLogins

_EPILOG = f"""\
\b
examples:
  ecr-layers login https://registry.example.com
  buildkite-agent oidc request-token --audience registry.example.com | ecr-layers login --id-token-file -

Without an option, the ID token comes from GitHub Actions, a GitLab job's variable (REGISTRY_EXAMPLE_COM_ID_TOKEN for
registry.example.com), {PROJECTED_TOKEN}, or AWS STS."""


@click.command(short_help="Log a job in with its OIDC token", epilog=_EPILOG)
@click.argument("url", required=False)
@click.option(
    "--id-token-file",
    "file",
    type=click.File(errors="replace"),
    metavar="FILE",
    help="file with the job's OIDC ID token; - is standard input",
)
@click.option("--id-token-variable", "variable", metavar="NAME", help="environment variable with the ID token")
@click.option("--print", "is_printed", is_flag=True, help="print the login, NAME:PASSWORD, instead of saving it")
@click.option("-v", "--verbose", is_flag=True, expose_value=False, help="say more about errors")
def command(url: str | None, file: TextIO | None, variable: str | None, *, is_printed: bool) -> int:
    """Log in for an hour at most, without a stored secret: docker, podman, nerdctl and ecr-layers use the login."""
    if file is not None and variable is not None:
        raise UsageError("Use only one of --id-token-file and --id-token-variable.", code="invalid-arguments")
    with Job(chosen_url(url), os.environ) as job:
        token = job.log_in(_given(file, variable))
    if is_printed:
        output.write_line(f"{USER_NAME}:{token.text}")
        return 0
    places = SavedLogins(os.environ).save(job.host, (USER_NAME, token.text))
    tell(f"Logged in to {job.host} for {token.seconds // 60} minutes: {', '.join(places)}", prefix="")
    return 0


def _given(file: TextIO | None, variable: str | None) -> str | None:
    if variable is not None:
        return read_variable(variable, os.environ)
    return None if file is None else file.read(LONGEST_TOKEN + 2)
