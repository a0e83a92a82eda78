"""The function's own ECR client against the local ECR: it stops in time."""

import time
from pathlib import Path

import pytest

from layer_resolver.download_urls import Hosts
from layer_resolver.ecr import Ecr
from layer_resolver.errors import TIMED_OUT, ResolverError
from layer_resolver.invocation import Invocation
from layer_resolver.models import LayerBatch, Repository
from layer_resolver.network import Deadline
from layer_resolver.resolver import LayerUrlResolver
from local.aws import local_aws
from local.faults import Fault
from local.oci_layout import OciLayout
from local.sample_image import write_sample_image


def batch_of(digest: str) -> LayerBatch:
    return LayerBatch.of_digests(Repository(repository_name="team/app"), [digest])


def test_a_call_ends_at_the_deadline_and_is_not_tried_again_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sample_image(tmp_path)
    layout = OciLayout(tmp_path)
    digest = next(iter(layout.referenced_blobs))
    with local_aws({"team/app": layout}) as aws:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        resolver = LayerUrlResolver(Ecr(), Hosts(is_local=True))
        resolved = resolver.resolve_one(batch_of(digest), Invocation(Deadline.after(5)))
        assert resolved.layer.digest == digest
        aws.ecr.calls.clear()
        aws.ecr.faults.put(Fault(error="ServerException", delay_seconds=2, times=10))
        started = time.monotonic()
        with pytest.raises(ResolverError) as caught:
            resolver.resolve_one(batch_of(f"sha256:{'0' * 64}"), Invocation(Deadline.after(0.3)))
        assert caught.value.kind is TIMED_OUT
        assert time.monotonic() - started < 1.5
        # Longer than the wait before a second attempt can be.
        time.sleep(1.2)
        assert len(aws.ecr.calls) == 1
