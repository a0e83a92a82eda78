"""The deployment: settings in, a CloudFormation stack out."""
