"""`serve`: runs the function URL, the local AWS behind it, and with `--edge` CloudFront in front of it."""

import argparse
import importlib
import json
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from ecr_layers.errors import UsageError
from ecr_layers.ops.pull_tokens import PullToken, new_password
from ecr_layers.ops.token_scope import check_scope
from local.aws import REGION
from local.docs_page import PATH as DOCS_PAGE
from local.function_log import FunctionLog
from local.function_url import LOCAL_CALLER_ARN
from local.oci_layout import OciLayout
from local.operator_api import OperatorApi, Stack
from local.server import LOCALHOST, running
from local.service import EVERYTHING, FunctionUrl, Service, local_service

if TYPE_CHECKING:
    from local.edge import RunningEdge
    from local.token_exchange import TokenExchange

TOKEN_NAME = "local"  # noqa: S105 (a token's name)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("--port", type=_port, default=9000, help="port to listen on; 0 takes any (default: 9000)")
    parser.add_argument(
        "--ecr-latency-ms", type=float, default=0.0, metavar="N", help="time that each call to ECR takes"
    )
    parser.add_argument(
        "--rename-headers", action="store_true", help="rename headers of answers, as function URLs are reported to"
    )
    parser.add_argument(
        "--registries",
        type=_accounts,
        default=(),
        metavar="IDS",
        help="also serve these accounts' registries, with the same images; several with commas or spaces",
    )
    parser.add_argument("--edge", action="store_true", help="have CloudFront in front of it, with one pull token")
    parser.add_argument(
        "--token", type=_patterns, metavar="SCOPE", help="the pull token's scope, such as 'team/*' (default: '*')"
    )
    parser.add_argument(
        "--public", type=_patterns, metavar="NAMES", help="repositories that the edge serves without a token"
    )
    parser.add_argument(
        "--trust-rules", type=Path, metavar="FILE", help="with --edge: trust rules, JSON as `trustRules` of cdk.json"
    )
    parser.add_argument(
        "--edge-cache-seconds", type=int, default=0, metavar="N", help="time that the edge keeps what it may"
    )
    parser.add_argument("--no-image-pull", action="store_true", help="serve no manifests, like a deployment by default")
    parser.add_argument("--no-list-tags", action="store_true", help="list no tags, like a deployment by default")


def run(options: argparse.Namespace, repositories: Mapping[str, OciLayout]) -> int:
    """Serve repositories until a signal ends it, and return the exit status.

    Raises:
        UsageError: If the options don't fit together.
        PortError: If the port can't be listened on.
    """
    if not options.edge and (options.token or options.public or options.trust_rules):
        raise UsageError("Pull tokens, public repositories and trust rules need the edge: --edge; with make, EDGE=1.")
    for scope in (options.token or (), options.public or ()):
        check_scope(scope, ["*"], options.registries)
    try:
        with _running(options, repositories) as (service, edge):
            print(f"Listening on {edge.running.url if edge else service.url}", flush=True)
            print(_advice(service, repositories, edge), flush=True)
            threading.Event().wait()
    except httpx.HTTPError as error:
        print(f"The function does not start ({type(error).__name__}); what it wrote stands above.", file=sys.stderr)
        return 1
    return 0


@dataclass(frozen=True, slots=True)
class _Edge:
    """A running edge with its first pull token, `NAME:PASSWORD`, and the endpoint of its operator's commands."""

    running: "RunningEdge"
    token: str
    operator_url: str
    exchanges_tokens: bool


@contextmanager
def _running(
    options: argparse.Namespace, repositories: Mapping[str, OciLayout]
) -> Iterator[tuple[Service, "_Edge | None"]]:
    edge = _edge_module() if options.edge else None
    function_url = FunctionUrl(
        0 if edge else options.port,
        renames_headers=options.rename_headers or options.edge,
        caller=edge.CALLER if edge else None,
        caller_arn=edge.CALLER_ARN if edge else LOCAL_CALLER_ARN,
        has_docs_page=not edge,
        edge_serves_layers=options.edge,
        registries=options.registries,
    )
    log = FunctionLog()

    def write_log(line: str) -> None:
        log.append(line)
        _print_log(line)

    with ExitStack() as stack:
        service = stack.enter_context(
            local_service(
                repositories,
                function_url=function_url,
                ecr_latency_ms=options.ecr_latency_ms,
                opted_into=_opted_into(options) | ({"EDGE_DISTRIBUTION_ARN": edge.DISTRIBUTION_ARN} if edge else {}),
                write_log=write_log,
            )
        )
        if edge is None:
            yield service, None
            return
        exchange = stack.enter_context(_token_exchange(options.trust_rules)) if options.trust_rules else None
        configuration = edge.EdgeConfiguration(
            public_repositories=options.public or (),
            cache_seconds=options.edge_cache_seconds,
            layers_origin=service.aws.s3_url,
            exchange_origin=exchange.url if exchange else None,
        )
        running_edge = stack.enter_context(edge.local_edge(service.url, configuration, port=options.port))
        outputs = {
            "FunctionArn": service.function_arn,
            "RegistryDomain": running_edge.url.removeprefix("http://"),
            "TokenStoreArn": running_edge.store.arn,
        }
        if exchange:
            exchange.rotate_keys(running_edge.store)
            outputs["SigningKeySecret"] = exchange.secret.arn
        settings = {"repositories": ["*"], "registries": list(options.registries)}
        deployed = Stack("EcrLayerResolver", outputs, settings)
        api = OperatorApi(deployed, running_edge.store, log, exchange.secret if exchange else None)
        operator_url = stack.enter_context(running(api.app(), host=LOCALHOST))
        token = _add_token(running_edge, options.token or ("*",))
        yield service, _Edge(running_edge, token, operator_url, exchanges_tokens=exchange is not None)


def _token_exchange(file: Path) -> AbstractContextManager["TokenExchange"]:
    try:
        rules = json.dumps(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} can't be read as JSON: {error}.") from None
    exchange: AbstractContextManager[TokenExchange] = importlib.import_module(
        "local.token_exchange"
    ).local_token_exchange(rules, _print_log)
    return exchange


def _edge_module() -> Any:
    """Return the module of the edge, which needs Node."""
    try:
        return importlib.import_module("local.edge")
    except ImportError:
        raise UsageError("The edge needs Node, which `make serve EDGE=1` installs.") from None


def _opted_into(options: argparse.Namespace) -> dict[str, str]:
    left_out = {"IMAGE_PULL": options.no_image_pull, "LIST_TAGS": options.no_list_tags}
    return {name: value for name, value in EVERYTHING.items() if not left_out[name]}


def _print_log(line: str) -> None:
    # The service goes on when nobody reads its log any more.
    with suppress(BrokenPipeError):
        print(line, file=sys.stderr, flush=True)


def _advice(service: Service, repositories: Mapping[str, OciLayout], edge: "_Edge | None") -> str:
    repository, layout = next(iter(repositories.items()))
    digest = next(iter(layout.referenced_blobs), "sha256:…")
    url, user, before, after = service.url, "", "", f"\nor {service.url}{DOCS_PAGE} in a browser."
    if edge is not None:
        url, user, before = edge.running.url, '-u "$TOKEN" ', f"  TOKEN={edge.token}  # not shown again\n"
        host = url.removeprefix("http://")
        after = f"""\
  skopeo login --tls-verify=false -u {TOKEN_NAME} -p "${{TOKEN#*:}}" {host}
{_advice_on_oidc(host) if edge.exchanges_tokens else ""}
Manage its pull tokens, also in another terminal:

  export AWS_ENDPOINT_URL={edge.operator_url} AWS_REGION={REGION} AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local
  {Path(sys.executable).with_name("ecr-layers")} token list"""
    return f"""
Repositories: {", ".join(repositories)}
Try, in another terminal:

{before}  curl {user}'{url}/download-url?repositoryName={repository}&layerDigest={digest}'
  curl {user}'{url}/openapi.json'
{after}

The local ECR is at {service.aws.ecr_url}, S3 at {service.aws.s3_url}, Lambda's Invoke action at {service.lambda_url}.
What the function logs goes to standard error. Ctrl-C stops everything."""


def _advice_on_oidc(host: str) -> str:
    return f"""
With an OIDC token of an issuer in the trust rules, for the audience {host}:

  curl -u "oidc:$OIDC_TOKEN" 'http://{host}/token'  # a short token
  skopeo login --tls-verify=false -u oidc -p "$OIDC_TOKEN" {host}
"""


def _add_token(edge: "RunningEdge", scope: tuple[str, ...]) -> str:
    """Add a token that is valid for a day, and return it: `NAME:PASSWORD`."""
    now, password = datetime.now(UTC), new_password()
    token = PullToken(TOKEN_NAME, scope, now + timedelta(days=1), now)
    edge.store.put(token.name, token.value(password))
    return f"{token.name}:{password}"


def _patterns(text: str) -> tuple[str, ...]:
    if not (patterns := tuple(text.replace(",", " ").split())):
        raise argparse.ArgumentTypeError("name repositories, such as 'team/*'")
    return patterns


def _accounts(text: str) -> tuple[str, ...]:
    accounts = _patterns(text)
    if not all(re.fullmatch("[0-9]{12}", each) for each in accounts):
        raise argparse.ArgumentTypeError("an account has twelve digits")
    return accounts


def _port(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)
