"""ECR Layer Resolver: Amazon ECR's GetDownloadUrlForLayer behind a Lambda function URL."""
