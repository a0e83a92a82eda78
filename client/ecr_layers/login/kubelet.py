"""kubelet's credential provider plugin: logs in with the service account of the pod that an image is pulled for.

Sources: https://kubernetes.io/docs/reference/config-api/kubelet-credentialprovider.v1/ and
https://github.com/kubernetes/enhancements/tree/master/keps/sig-auth/4412-projected-service-account-tokens-for-kubelet-image-credential-providers
"""

import json
from collections.abc import Mapping

from ecr_layers.errors import UsageError
from ecr_layers.login.exchange import USER_NAME
from ecr_layers.login.job import Job
from ecr_layers.oci.documents import read_object, text
from ecr_layers.registry.addresses import local_or_https

API_VERSION = "credentialprovider.kubelet.k8s.io/v1"
"""The version of requests and responses; earlier ones have no tokens."""


def respond(request: bytes, environment: Mapping[str, str]) -> str:
    """Return the response to a request of kubelet, a JSON document.

    Args:
        request: The request, a JSON document.
        environment: The environment variables.

    Raises:
        ClientError: If the request is malformed or has no token, or the service refuses the token.
    """
    document = read_object(request, "kubelet's request")
    if (document.get("apiVersion"), document.get("kind")) != (API_VERSION, "CredentialProviderRequest"):
        raise UsageError(f"Expected a CredentialProviderRequest. Set apiVersion to {API_VERSION} in its configuration.")
    id_token, image = text(document.get("serviceAccountToken")), text(document.get("image"))
    if id_token is None or image is None:
        raise UsageError("kubelet sent no service account token. Set tokenAttributes in its configuration.")
    host = image.partition("/")[0]
    with Job(local_or_https(host), environment) as job:
        token = job.log_in(id_token)
    response = {
        "apiVersion": API_VERSION,
        "kind": "CredentialProviderResponse",
        "cacheKeyType": "Registry",
        "cacheDuration": f"{token.usable_seconds}s",
        "auth": {host: {"username": USER_NAME, "password": token.text}},
    }
    return json.dumps(response)
