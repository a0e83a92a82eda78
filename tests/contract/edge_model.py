"""An independent Python model of the edge's decisions, to compare `infra/edge/viewer_request.js` with.

`python -m tests.contract.edge_model --cases 300000 --seed 1` compares both on random requests, tokens and stores.
"""

import argparse
import base64
import hashlib
import hmac
import json
import random
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from infra.edge import configuration
from infra.edge_functions import edge_function
from local.viewer_function import ViewerFunction
from tests.contract.edge import REGISTRY, SETTINGS, basic, cloudfront_event, token
from tests.infra.templates import settings_of

HOST = "registry.example.com"
PUBLIC: tuple[str, ...] = tuple(SETTINGS["publicRepositories"])
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
INVALID = ("", "")
_NAME = re.compile(rf"(?=..){_PART}(?:/{_PART})*")


Repository = tuple[str, str]
Store = Mapping[str, str]


class Decision(NamedTuple):
    """What the edge does: the status of its own answer, or None and the headers that name the caller."""

    status: int | None
    caller: tuple[str | None, str | None, str | None] = (None, None, None)


def decide(method: str, path: str, authorization: str, store: Store, now: float) -> Decision:
    """Return the decision about a request without a query."""
    if method not in {"GET", "HEAD"}:
        return Decision(405)
    path = re.sub("%3a", ":", path, flags=re.IGNORECASE)
    repository = target(path)
    if repository == INVALID:
        return Decision(400)
    if repository and covers(PUBLIC, repository):
        return Decision(None)
    who = identify(authorization, store, now)
    return Decision(401) if who is None else scoped(path, repository, authorization, who)


def target(path: str) -> Repository | None:
    """Return the repository of a path, None if it has none."""
    if re.search(r"[^A-Za-z0-9._:/-]|/[/.]", path) or not path.startswith("/"):
        return INVALID
    routed = re.fullmatch(r"/v2/(.+)/(?:(?:blobs|manifests|referrers)/[^/]+|tags/list)", path)
    if not routed:
        return None
    account, name = re.fullmatch(r"(?:([0-9]{12})/)?(.+)", routed[1]).groups()  # type: ignore[union-attr]
    return (account or "", name) if _NAME.fullmatch(name) and len(name) <= 256 else INVALID


def scoped(path: str, repository: Repository | None, authorization: str, who: tuple[Any, Sequence[Any]]) -> Decision:
    """Return the decision about a caller whose credentials count."""
    caller, scopes = who
    if not repository and path not in {"/v2/", "/v2", "/healthz", "/openapi.json"}:
        return Decision(404)
    if repository and not all(covers(scope, repository) for scope in scopes):
        return Decision(401 if authorization.lower().startswith("bearer") else 403)
    return Decision(None, caller)


def identify(authorization: str, store: Store, now: float) -> tuple[Any, Sequence[Any]] | None:
    """Return the caller and the scopes that have to cover a repository; None for credentials that don't count."""
    scheme, _, rest = authorization.partition(" ")
    name, password = "", rest
    if scheme.lower() == "basic":
        try:
            name, _, password = base64.b64decode(rest, validate=True).decode().partition(":")
        except ValueError:
            return None
        if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?", name):
            return None
    payload, dot, signature = password.partition(".")
    if dot and re.fullmatch(r"[\w-]+", payload, re.ASCII) and re.fullmatch(r"[\w-]{43}", signature, re.ASCII):
        return of_short_token(payload, signature, store, now)
    if scheme.lower() != "basic":
        return None
    entry = valid_entry(name, hashlib.sha256(password.encode()).hexdigest(), store, now)
    return None if entry is None else ((name, None, None), [entry.get("repositories")])


def valid_entry(name: str, sha256: str, store: Store, now: float) -> dict[str, Any] | None:
    """Return a pull token's entry if the hash, or its beginning, is that of a password that counts now."""
    entry = json.loads(store.get(name, "{}"))
    previous = entry.get("previous", {})
    hashes = [entry.get("sha256")] + ([previous["sha256"]] if previous and moment(previous["notAfter"]) > now else [])
    if not any(isinstance(each, str) and each[: len(sha256)] == sha256 for each in hashes):
        return None
    if entry.get("paused") or moment(entry["notAfter"]) <= now or moment(entry.get("notBefore", "1970-01-01")) > now:
        return None
    return dict(entry)


def of_short_token(payload: str, signature: str, store: Store, now: float) -> tuple[Any, Sequence[Any]] | None:
    """Return what a short token is for."""
    signing = json.loads(store.get("_signing", '{"keys": []}'))
    for key in signing["keys"]:
        mac = hmac.new(decoded(key["key"]), payload.encode(), hashlib.sha256).digest()
        if (key["notAfter"] is None or key["notAfter"] > now) and encoded(mac) == signature:
            break
    else:
        return None
    claims = json.loads(decoded(payload))
    if claims["exp"] <= now:
        return None
    if "token" in claims:
        entry = valid_entry(claims["token"], claims["password"], store, now)
        scopes = [claims["repositories"], entry.get("repositories")] if entry else []
        return ((claims["token"], None, claims["id"]), scopes) if entry else None
    if "rule" in claims and claims["iat"] <= signing["notBefore"].get(claims["rule"], -1):
        return None
    return (claims.get("sub"), claims.get("rule"), claims["id"]), [claims["repositories"]]


def covers(patterns: Any, repository: Repository) -> bool:
    """Tell whether patterns cover a repository."""
    for pattern in patterns if isinstance(patterns, list | tuple) else ():
        account, name = (pattern[:12], pattern[13:]) if re.match("[0-9]{12}/", pattern) else ("", pattern)
        is_prefix = name.endswith("*") and repository[1].startswith(name[:-1])
        if account == repository[0] and (is_prefix or repository[1] == name):
            return True
    return False


def moment(text: str) -> float:
    """Return a time of the store as seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()


def encoded(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """Return what base64url without padding stands for."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Cases:
    """Random requests, many of which are near the border of what is allowed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._now = int(time.time())

    def case(self) -> tuple[str, str, str, dict[str, str]]:
        """Return a method, a path, an Authorization header and a store."""
        pick = self._random.choice
        store = {
            name: token(*self._scope(), not_after=self._time(), password=pick("aaab"), **self._more())
            for name in ("team", "web")
        }
        keys = [
            {"id": f"{number:08x}", "key": encoded(each * 32), "notAfter": pick([None, None, self._seconds()])}
            for number, each in enumerate(pick([[b"k"], [b"k", b"o"], [b"n", b"k"]]))
        ]
        store["_signing"] = json.dumps({"keys": keys, "notBefore": pick([{}, {}, {"ci": self._now + pick([-20, 5])}])})
        password = pick(["a", "a", "b", self._short(), self._short()])
        named = basic(pick(["team", "team", "web", "x", "-"]), password)
        authorization = pick([named, named, named, f"Bearer {password}", f"bearer {self._short()}", "", "Basic !"])
        return pick(["GET"] * 8 + ["HEAD", "POST"]), self._path(), authorization, store

    def _scope(self) -> list[str]:
        every = ["team/*", "team/app", "*", f"{REGISTRY}/*", f"{REGISTRY}/team/*", "web", "t*", "open/app", ""]
        return self._random.sample(every, self._random.randint(0, 6))

    def _seconds(self) -> int:
        return self._now + self._random.choice([-1000, *[100_000] * 9])

    def _time(self) -> str:
        return datetime.fromtimestamp(self._seconds()).astimezone().isoformat()

    def _more(self) -> dict[str, object]:
        previous = {"sha256": hashlib.sha256(self._random.choice([b"a", b"b"])).hexdigest(), "notAfter": self._time()}
        choices: list[dict[str, object]] = [{}, {}, {"paused": True}, {"paused": False}, {"notBefore": self._time()}]
        return self._random.choice([*choices, {"previous": previous}])

    def _short(self) -> str:
        pick = self._random.choice
        claims = {
            "iat": self._now - 10,
            "exp": self._seconds(),
            "id": "0123456789abcdef",
            "repositories": self._scope(),
        }
        of_token = {"token": pick(["team", "web", "gone"]), "password": hashlib.sha256(b"a").hexdigest()[:16]}
        claims |= pick([{"rule": "ci", "sub": "gitlab:a#1"}, {"rule": "x", "sub": "oidc:b"}, of_token, {}])
        payload = encoded(json.dumps(claims).encode())
        signature = encoded(hmac.new(pick([b"k", b"k", b"o"]) * 32, payload.encode(), hashlib.sha256).digest())
        if self._random.random() < 0.1:
            place = self._random.randrange(len(payload))
            payload = payload[:place] + pick("Aa0_") + payload[place + 1 :]
        return f"{payload}.{pick([signature] * 9 + [signature[:-1], signature + 'A', 'A' * 43])}"

    def _path(self) -> str:
        pick = self._random.choice
        account = pick(["", "", f"{REGISTRY}/", "109876543210/", "12345/"])
        name = "/".join(pick(["team", "app", "web", "public", "open", "tags", "blobs", "t", "a__b", "A", "a.b", "-a"])
                        for _ in range(self._random.randint(1, 3)))  # fmt: skip
        digest = f"sha256{pick([':', ':', '%3A', '%3a', '%253A'])}{'0' * 64}"
        end = pick([f"blobs/{digest}", f"manifests/{digest}", "manifests/latest", "tags/list", "tags/x", "blobs/", ""])
        return pick([f"/v2/{account}{name}/{end}"] * 12 + ["/v2/", "/v2", "/healthz", "/", f"//v2/{name}", "/v2/../x"])


def differences(cases: int, seed: int) -> list[str]:
    """Return the requests that both decide differently.

    Args:
        cases: How many to compare.
        seed: The seed of the random requests.
    """
    found = []
    random_cases = Cases(seed)
    with ViewerFunction(edge_function("viewer_request", configuration(settings_of(SETTINGS), HOST))) as function:
        for _ in range(cases):
            method, path, authorization, store = random_cases.case()
            headers = {"host": [HOST]} | ({"authorization": [authorization]} if authorization else {})
            returned = function.call(cloudfront_event(method, path, headers), store)
            expected = decide(method, path, authorization, store, time.time())
            named = (returned.get("headers", {}).get(f"x-ecr-layers-{each}") for each in ("token", "rule", "token-id"))
            status = returned.get("statusCode")
            caller = (None, None, None) if status else tuple(each and each["value"] for each in named)
            if (status, caller) != expected:
                found.append(f"{method} {path} {authorization} {store}: {status} {caller}, expected {expected}")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    different = differences(options.cases, options.seed)
    print(f"{options.cases:,} requests of seed {options.seed}: {len(different)} decided differently")
    print("\n".join(different[:20]))
    raise SystemExit(bool(different))
