"""A process that asks a model under limits that it shares with others: `python -m tests.annotation.asker URL VALKEY PREFIX NAME OPTIONS COUNT`."""

from __future__ import annotations

import asyncio
import json
import sys

from annotation.meter import ValkeyMeter
from grading import limits
from grading.models.openai import OpenAIModel
from grading.types import Message, Sampling

WINDOW = 2.5  # seconds: what stands for a minute, with what requests are under way

if __name__ == "__main__":
    url, valkey, prefix, name, options, count = sys.argv[1:]
    limits.share(ValkeyMeter(valkey, prefix, WINDOW))
    model = OpenAIModel(f"{url}/v1", "tiny", server="other", extra={"user": name}, max_concurrency=8, max_retries=0, **json.loads(options))
    requests = [[Message("user", f"{name} asks {i}")] for i in range(int(count))]
    asyncio.run(model.generate(requests, Sampling(max_tokens=16), seed=1))
