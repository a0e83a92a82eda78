from tests.sample import aws, sample, sample_directory, session_aws

__all__ = ["aws", "sample", "sample_directory", "session_aws"]
