"""What AWS charges in us-east-1, in US dollars, as of November 2026, without free tiers."""

# Lambda on arm64, first tier. https://aws.amazon.com/lambda/pricing/
LAMBDA_MILLION_REQUESTS = 0.20
LAMBDA_GIGABYTE_SECOND = 0.0000133334
SNAPSHOT_GIGABYTE_SECOND = 0.0000015046
RESTORED_GIGABYTE = 0.0001397998

# CloudWatch; the metric, alarm and dashboard are for a month. https://aws.amazon.com/cloudwatch/pricing/
METRIC = 0.30
ALARM = 0.10
DASHBOARD = 3.00
LOG_GIGABYTE = 0.50

# Custom events of up to 64 KB. https://aws.amazon.com/eventbridge/pricing/
MILLION_EVENTS = 1.00

# In the United States and Europe. https://aws.amazon.com/cloudfront/pricing/
EDGE_MILLION_REQUESTS = 1.00
EDGE_MILLION_FUNCTION_RUNS = 0.10
EDGE_MILLION_STORE_READS = 0.03
EDGE_GIGABYTE = 0.085

# https://aws.amazon.com/vpc/pricing/ and https://aws.amazon.com/privatelink/pricing/
NAT_HOUR = 0.045
NAT_GIGABYTE = 0.045
ENDPOINT_HOUR = 0.01

# To the internet; free within the region. https://aws.amazon.com/ecr/pricing/
ECR_GIGABYTE = 0.09
