"""Faults that tests and benchmarks put into the local ECR."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Fault(BaseModel):
    """A fault that the next calls meet instead of their answer, or before it.

    Attributes:
        error: Error code to answer, such as `ThrottlingException`.
        message: The error's message.
        status: HTTP status of the error or body; without it, the one that ECR gives the error.
        body: Body to answer that isn't AWS JSON, such as a load balancer's.
        delay_seconds: How long to wait first.
        close_connection: Close the connection without an answer.
        layer_digest: The only layer that this happens to; without it, every call.
        times: How often it happens.
    """

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid")

    error: str | None = None
    message: str = "An injected fault."
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    body: str | None = None
    delay_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.0
    close_connection: bool = False
    layer_digest: str | None = None
    times: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1


class Faults:
    """The faults that are still to happen. One thread takes them; others can put new ones."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def put(self, *faults: Fault) -> None:
        """Let these faults happen, and forget those that have not happened yet."""
        self._faults = [fault.model_copy() for fault in faults]

    def take(self, layer_digest: str | None) -> Fault | None:
        """Return the fault for a call about a layer, and count it as happened."""
        for fault in self._faults:
            if fault.times and fault.layer_digest in {None, layer_digest}:
                fault.times -= 1
                return fault
        return None
