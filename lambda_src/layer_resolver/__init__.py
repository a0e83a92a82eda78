"""ECR Layer Resolver: Amazon ECR's GetDownloadUrlForLayer behind a Lambda function URL."""

__version__ = "2.0.0"
"""The version of the whole project, by Semantic Versioning; CHANGELOG.md says what each one changes.

It stands here and nowhere else: importlib.metadata would have to find and parse a file at each cold start.
"""
