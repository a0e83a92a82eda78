"""The CDK app that the deployment test deploys to an emulator.

It is the real one; but the package is built for this machine, whose processor runs it, the function's ECR is the local
one, because the emulator's answers a placeholder, and its EventBridge is the emulator's.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import app
from infra.bundling import bundled_code
from infra.package import Target

app.main(
    bundled_code(Target.host()),
    AWS_ENDPOINT_URL_ECR=os.environ["LOCAL_ECR_URL"],
    AWS_ENDPOINT_URL_EVENTBRIDGE=os.environ["AWS_ENDPOINT_URL"],
)
