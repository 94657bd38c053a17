"""The AWS SDK for a test in another language: a line `{"service", "call", "args"}` in, a line with the answer out."""

import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

endpoint, region = sys.argv[1], sys.argv[2]
config = Config(retries={"max_attempts": 1}, read_timeout=120)
clients: dict = {}
for line in sys.stdin:
    asked = json.loads(line)
    service = asked["service"]
    if service not in clients:
        clients[service] = boto3.client(service, endpoint_url=endpoint, region_name=region, config=config)
    try:
        answer = {"ok": getattr(clients[service], asked["call"])(**asked["args"])}
    except ClientError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer, default=str), flush=True)
