"""The function's own ECR client against the local ECR: it stops in time."""

import time
from pathlib import Path

import pytest

from layer_resolver.errors import TIMED_OUT, ResolverError
from layer_resolver.models import Layer, LayerBatch
from layer_resolver.resolver import Deadline, LayerUrlResolver, create_ecr_client
from local.aws import local_aws
from local.faults import Fault
from local.oci_layout import OciLayout
from local.sample_image import write_sample_image


def test_a_call_is_not_tried_again_after_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sample_image(tmp_path)
    layout = OciLayout(tmp_path)
    batch = LayerBatch.of(None, "team/app", [Layer(digest=next(iter(layout.referenced_blobs)))])
    with local_aws({"team/app": layout}) as aws:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        resolver = LayerUrlResolver(create_ecr_client())
        assert resolver.resolve_one(batch, Deadline.after(5)).layer_digest == batch.layers[0].digest
        aws.ecr.calls.clear()
        aws.ecr.faults.put(Fault(error="ServerException", delay_seconds=0.4, times=10))
        absent = LayerBatch.of(None, "team/app", [Layer(digest=f"sha256:{'0' * 64}")])
        with pytest.raises(ResolverError) as caught:
            resolver.resolve_one(absent, Deadline.after(0.2))
        assert caught.value.kind is TIMED_OUT
        # Longer than the botocore waits before its second attempt.
        time.sleep(1.8)
        assert len(aws.ecr.calls) == 1
