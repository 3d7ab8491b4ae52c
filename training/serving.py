"""The proxies' language models where a vLLM has them: what jobs are told instead of a folder to load."""

from __future__ import annotations

from typing import Any

from django.conf import settings

SERVED = "grading.serving.ServedModel"


def served_model(path: str, adapter: str = "", name: str = "") -> dict[str, Any]:
    """The base model in folder `path`, or the LoRA adapter in folder `adapter` on it, on the vLLM at settings.VLLM_PROXY_URL.

    An adapter must have been trained on these very weights, and `name` must be new for each state of it: put the digest of its weights in. Jobs
    publish it when they first ask, so nothing here waits for a server, and one that was started again gets it again. Where there is a key, job
    folders hold the name of its variable alone.
    """
    options = {"base_url": f"{settings.VLLM_PROXY_URL.rstrip('/')}/v1", "path": path}
    options |= {"adapter": adapter, "name": name} if adapter else {}
    options |= {"api_key_env": settings.VLLM_KEY_ENV} if settings.VLLM_KEY_ENV else {}
    return {"backend": SERVED, "options": options}
