"""The one door to ECR: the client, how long a call may take, and what each of its failures means.

Knows nothing of layers, images, HTTP or events. One instance serves a process, and several threads at once.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any, NamedTuple, Protocol, cast
from urllib.parse import urlsplit

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.credentials import ContainerProvider, Credentials, ReadOnlyCredentials, create_credential_resolver
from botocore.exceptions import BotoCoreError, CredentialRetrievalError
from botocore.handlers import BUILTIN_HANDLERS
from botocore.loaders import Loader
from botocore.session import Session
from botocore.utils import ContainerMetadataFetcher

from layer_resolver import __version__
from layer_resolver.errors import (
    CREDENTIALS_REFUSED,
    SERVER_ERROR,
    THROTTLED,
    TIMED_OUT,
    OutOfTimeError,
    ResolverError,
    Subject,
    error_kind,
)
from layer_resolver.invocation import EcrCall, Invocation
from layer_resolver.network import Deadline, HttpClient, RequestFailedError

CONNECTIONS = 32
"""How many calls to ECR are under way at once."""

ATTEMPTS = 3
"""How often one call is tried, as in botocore's standard mode."""

ATTEMPT_SECONDS = 4.0
"""How long one attempt may take."""

MINIMUM_SECONDS = 0.05
"""How much time must be left before the deadline for an attempt to start."""

JITTER = random.SystemRandom()
"""The random part of waits. It has no state that a snapshot of the environment could give to others."""

# Many of these are under way at once, and each has a URL of 16 KB at most.
_MOST_BYTES_OF_URL = 64 * 1024
# BatchGetImage gives a manifest, at most 4 MB of JSON, as a string in JSON: each quotation mark takes two bytes there.
_MOST_BYTES = 9 * 1024 * 1024
_MOST_BYTES_OF_CREDENTIALS = 64 * 1024
_RETRIED = frozenset({THROTTLED.code, SERVER_ERROR.code, TIMED_OUT.code})

# Reading and parsing the service models is most of what making a client costs, so clients share them.
_SERVICE_MODELS = Loader()


class ClientMeta(Protocol):
    """The metadata of a client."""

    @property
    def partition(self) -> str:
        """The partition of AWS that its region is in, such as `aws`."""

    @property
    def endpoint_url(self) -> str:
        """Where it sends requests."""


class EcrClient(Protocol):
    """The part of botocore's ECR client that is used."""

    @property
    def meta(self) -> ClientMeta:
        """Its metadata."""

    def get_download_url_for_layer(self, **parameters: str) -> Any:
        """Ask ECR; see https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetDownloadUrlForLayer.html."""

    def batch_get_image(self, **parameters: Any) -> Any:
        """Ask ECR; see https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchGetImage.html."""

    def list_images(self, **parameters: Any) -> Any:
        """Ask ECR; see https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ListImages.html."""

    def list_image_referrers(self, **parameters: Any) -> Any:
        """Ask ECR; see https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ListImageReferrers.html."""


@dataclass(slots=True)
class _Attempt:
    """One attempt of a call: when it ends, how large its answer may be, and the status of that, once there is one."""

    deadline: Deadline
    most_bytes: int = _MOST_BYTES
    status: int | None = None


_attempt: ContextVar[_Attempt] = ContextVar("attempt")


class _CredentialsSession:
    """The part of botocore's HTTP session that fetches credentials, bounded by the attempt that needs them."""

    def __init__(self) -> None:
        self._http = HttpClient(1)

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        """Send a request."""
        deadline = _attempt.get().deadline
        answer = self._http.request(
            request.method, request.url, _headers(request), deadline, most_bytes=_MOST_BYTES_OF_CREDENTIALS
        )
        return AWSResponse(request.url, answer.status, cast("Any", answer.headers), _Content(answer.content))


def _sleep_within_attempt(seconds: float) -> None:
    time.sleep(min(seconds, _attempt.get().deadline.remaining()))


class _Credentials:
    """The environment's credentials, loaded when a request is first signed.

    So a snapshot that SnapStart takes has none, and each environment that is restored from it loads its own. It is both
    what botocore calls a provider and what it signs with.
    """

    def __init__(self, session: Session) -> None:
        self._provider = create_credential_resolver(session)
        # SnapStart's environments get theirs over HTTP from Lambda; botocore's own way there knows no deadline. Source:
        # https://docs.aws.amazon.com/lambda/latest/dg/snapstart-activate.html#snapstart-credentials
        fetcher: Any = ContainerMetadataFetcher(_CredentialsSession(), _sleep_within_attempt)
        self._provider.insert_before(ContainerProvider.METHOD, ContainerProvider(fetcher=fetcher))
        self._lock = Lock()

    def load_credentials(self) -> "_Credentials":
        """Return what clients sign with."""
        return self

    @cached_property
    def _loaded(self) -> Credentials | None:
        return self._provider.load_credentials()

    def get_frozen_credentials(self) -> ReadOnlyCredentials | None:
        """Return the current credentials, None if there are none, which botocore then reports.

        Raises:
            CredentialRetrievalError: If the answer is not credentials.
            RequestFailedError: If they do not come in time.
        """
        try:
            with self._lock:
                loaded = self._loaded
            return loaded.get_frozen_credentials() if loaded is not None else None
        except (BotoCoreError, RequestFailedError):
            raise
        except Exception as cause:
            # botocore reads what it gets without looking at it first.
            raise CredentialRetrievalError(provider="environment", error_msg=type(cause).__name__) from cause

    def get_deferred_property(self, name: str) -> Callable[[], Any]:
        """Return what gives a property of the credentials, which endpoints of some services depend on."""
        return lambda: getattr(self._loaded, name, None)


def create_ecr_client() -> EcrClient:
    """Return an ECR client: boto3's, which is botocore's, made without what boto3 loads for other services.

    It tries each call once and sends it over connections of its own, so that `Ecr` decides how long a call takes.
    Region and endpoint come from the environment, as boto3 reads it, anew for each client, and so do credentials, when
    the first call is signed.

    Raises:
        botocore.exceptions.NoRegionError: If the environment names no region.
    """
    return cast("EcrClient", create_client("ecr", CONNECTIONS))


def create_client(service: str, connections: int) -> Any:
    """Return botocore's client of a service, whose calls are made within an attempt.

    Args:
        service: The service, as botocore calls it.
        connections: How many connections are kept for further calls.
    """
    session = _create_session()
    session.register_component("credential_provider", _Credentials(session))
    http = HttpClient(connections)
    return _create_client(session, lambda request, **_: _send(http, request), service)


@contextmanager
def within(deadline: Deadline) -> Iterator[None]:
    """End whatever a client waits for at the deadline, as long as the context lasts."""
    token = _attempt.set(_Attempt(deadline))
    try:
        yield
    finally:
        _attempt.reset(token)


def rehearse() -> None:
    """Make one call without sending it, so that everything that botocore loads on first use is loaded."""
    session = _create_session()
    session.set_credentials("rehearsal", "rehearsal")
    answer = _Content(b"{}")
    client = _create_client(session, lambda request, **_: AWSResponse(request.url, 200, cast("Any", {}), answer))
    client.get_download_url_for_layer(repositoryName="rehearsal", layerDigest="rehearsal")


def _create_session() -> Session:
    """Return a session that has those of botocore's own handlers that are for any service.

    The others are for single services, none of which is used here, or for documentation, and ten times as many:
    registering them is a third of what making a client takes.
    """
    session = Session(include_builtin_handlers=False)
    for event, handler, *_ in BUILTIN_HANDLERS:
        if "." not in event:
            session.register(event, handler)
    return session


def _create_client(session: Session, send: Callable[..., AWSResponse], service: str = "ecr") -> EcrClient:
    session.register_component("data_loader", _SERVICE_MODELS)
    client = session.create_client(
        service,
        config=Config(
            retries={"mode": "standard", "total_max_attempts": 1},
            # Parameters have been checked already, by rules as strict as botocore's.
            parameter_validation=False,
            # Otherwise botocore composes its user agent anew, twice for each call.
            user_agent=f"{session.user_agent()} ecr-layer-resolver/{__version__}",
        ),
    )
    client.meta.events.register(f"before-send.{service}", cast("Any", send))
    return cast("EcrClient", client)


class Ecr:
    """Calls ECR.

    Args:
        create_client: Makes the client; called again when AWS refuses the credentials of the previous one.
    """

    def __init__(self, create_client: Callable[[], EcrClient] = create_ecr_client) -> None:
        self._create_client = create_client
        self._client = create_client()
        self._lock = Lock()

    @property
    def partition(self) -> str:
        """The partition of AWS that the client's region is in, such as `aws`."""
        return self._client.meta.partition

    @property
    def is_local(self) -> bool:
        """Whether the endpoint is on this machine, as it is in tests."""
        return urlsplit(self._client.meta.endpoint_url).hostname in {"localhost", "127.0.0.1", "::1"}

    def call(self, action: str, subject: Subject, invocation: Invocation, **parameters: Any) -> dict[str, Any]:
        """Return ECR's answer to one call, and record how long it took.

        Args:
            action: The action, as botocore's method is called.
            subject: What the call is about, for the errors.
            invocation: Whose deadline bounds the call, its retries and the waiting between them.
            parameters: The action's parameters, in addition to those that name the subject's repository.

        Raises:
            ResolverError: The row of the error table, about `subject`; what was raised is its cause.
        """
        made = EcrCall(action)
        invocation.ecr_calls.append(made)
        invocation.repository = subject.repository
        started = time.monotonic()
        try:
            return self._retry(made, {**subject.repository.parameters(), **parameters}, subject, invocation.deadline)
        except ResolverError as error:
            made.outcome = error.kind.code
            raise
        finally:
            made.seconds = time.monotonic() - started

    def _retry(self, made: EcrCall, parameters: dict[str, Any], subject: Subject, deadline: Deadline) -> dict[str, Any]:
        while True:
            made.attempts += 1
            client = self._client
            try:
                return _try(client, made.action, parameters, subject, deadline)
            except ResolverError as error:
                if error.kind is CREDENTIALS_REFUSED and made.attempts == 1:
                    self._renew(client)
                elif error.kind.code not in _RETRIED or not _has_waited(made.attempts, deadline):
                    raise

    def _renew(self, refused: EcrClient) -> None:
        """Make the client anew, unless another thread has done so since."""
        with self._lock:
            if self._client is refused:
                self._client = self._create_client()


def _try(
    client: EcrClient, action: str, parameters: dict[str, Any], subject: Subject, deadline: Deadline
) -> dict[str, Any]:
    most_bytes = _MOST_BYTES_OF_URL if action == "get_download_url_for_layer" else _MOST_BYTES
    attempt = _Attempt(deadline.within(ATTEMPT_SECONDS), most_bytes)
    token = _attempt.set(attempt)
    try:
        _check_time(deadline)
        answer: dict[str, Any] = getattr(client, action)(**parameters)
    except Exception as cause:
        raise ResolverError.about(subject, error_kind(cause, attempt.status), cause) from cause
    finally:
        _attempt.reset(token)
    return answer


def _check_time(deadline: Deadline) -> None:
    if deadline.remaining() < MINIMUM_SECONDS:
        raise OutOfTimeError


def _has_waited(tries: int, deadline: Deadline) -> bool:
    """Wait before the next attempt, and tell whether there is one.

    The wait is random and its limit doubles, as in botocore's standard mode; source:
    https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
    """
    seconds = JITTER.uniform(0, 2 ** (tries - 1))
    if tries >= ATTEMPTS or deadline.remaining() < seconds + MINIMUM_SECONDS:
        return False
    time.sleep(seconds)
    return True


def _send(http: HttpClient, request: AWSPreparedRequest) -> AWSResponse:
    """Send what botocore has prepared and signed; it takes what this returns for the answer."""
    attempt = _attempt.get()
    body = cast("bytes", request.body)
    answer = http.request(
        request.method, request.url, _headers(request), attempt.deadline, body=body, most_bytes=attempt.most_bytes
    )
    attempt.status = answer.status
    return AWSResponse(request.url, answer.status, cast("Any", answer.headers), _Content(answer.content))


def _headers(request: AWSPreparedRequest) -> dict[str, str]:
    """Return the headers of a request but Host, which signers of awscrt add; the values of signed ones are bytes."""
    headers = cast("Mapping[str, str | bytes]", request.headers)
    given = {name: value.decode() if isinstance(value, bytes) else value for name, value in headers.items()}
    return {name: value for name, value in given.items() if name.lower() != "host"}


class _Content(NamedTuple):
    """The part of urllib3's response that botocore reads."""

    content: bytes

    def stream(self) -> tuple[bytes]:
        """Return the body in parts."""
        return (self.content,)
