"""A local AWS for the function: ECR, S3 and Lambda on the loopback interface, without an account."""
