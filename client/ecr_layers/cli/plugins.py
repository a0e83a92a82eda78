"""The programs that docker and kubelet run: `docker-credential-ecr-layers` and `ecr-layers-kubelet`."""

import os
import sys
from typing import NoReturn

from ecr_layers.cli.errors import FAILED, tell
from ecr_layers.errors import ClientError
from ecr_layers.login.credential_helper import CredentialHelper
from ecr_layers.login.kubelet import respond

_LARGEST_INPUT = 64 * 1024


def docker() -> NoReturn:
    """Run the credential helper. It writes errors to the standard output, as Docker expects."""
    action = sys.argv[1] if len(sys.argv) == 2 else ""
    has_input = action in {"get", "store", "erase"}
    try:
        print(CredentialHelper(os.environ).run(action, _input().decode(errors="replace") if has_input else ""))
    except ClientError as error:
        print(error)
        sys.exit(FAILED)
    sys.exit(0)


def kubelet() -> NoReturn:
    """Run the credential provider plugin. kubelet logs what it writes to the standard error."""
    try:
        print(respond(_input(), os.environ))
    except ClientError as error:
        tell(str(error), prefix="ecr-layers-kubelet: ")
        sys.exit(FAILED)
    sys.exit(0)


def _input() -> bytes:
    return sys.stdin.buffer.read(_LARGEST_INPUT)
