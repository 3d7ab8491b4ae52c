"""What can be wrong with a server that adapters are published to. How it goes with a real vLLM: test_vllm.py."""

from __future__ import annotations

import pytest

from grading.errors import ConfigurationError, GraderError
from grading.serving import ServedModel, Server
from tests.grading.servers.http import Reply
from tests.grading.servers.openai import ScriptedOpenAI

MODELS = Reply(body={"data": [{"id": "base", "root": "/models/base"}]})


@pytest.fixture
def server():
    with ScriptedOpenAI(key="key-of-the-proxy").running() as running:
        yield running


async def test_one_that_takes_no_adapters_while_it_serves_is_told_how_to_be_started(server):
    server.faults = [MODELS, Reply(404, {"detail": "Not Found"}), MODELS]
    with pytest.raises(ConfigurationError, match=r"VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 .* --enable-lora"):
        await Server(f"{server.url}/v1").publish("proxy-2", "/models/proxy-2")
    assert server.bodies("/v1/load_lora_adapter") == [{"lora_name": "proxy-2", "lora_path": "/models/proxy-2"}]


async def test_one_that_is_busy_may_be_asked_again(server):
    server.faults = [MODELS, *[Reply(503, {"error": {"message": "starting"}}, {"retry-after": "0"})] * 3, MODELS]
    with pytest.raises(GraderError, match="answered 503: starting") as failed:
        await Server(f"{server.url}/v1").publish("proxy-2", "/models/proxy-2")
    assert failed.value.retry.allowed


async def test_an_adapter_is_published_by_whoever_is_quicker(server):
    there = Reply(body={"data": [*MODELS.body["data"], {"id": "proxy-2", "root": "/models/proxy-2"}]})
    server.faults = [MODELS, Reply(400, {"error": {"message": "The lora adapter 'proxy-2' has already been loaded."}}), there]
    await Server(f"{server.url}/v1").publish("proxy-2", "/models/proxy-2")


async def test_the_key_is_sent_and_not_shown(server, monkeypatch):
    monkeypatch.setenv("PROXY_KEY", "a-key-nobody-knows")
    with pytest.raises(ConfigurationError, match="401") as failed:
        await ServedModel(f"{server.url}/v1", "/models/base", api_key_env="PROXY_KEY").generate([], None, seed=0)
    assert server.seen[0].headers["authorization"] == "Bearer a-key-nobody-knows"
    assert "a-key-nobody-knows" not in str(failed.value)


def test_an_adapter_and_its_name_come_together():
    for half in ({"adapter": "/models/proxy-2"}, {"name": "proxy-2"}):
        with pytest.raises(ConfigurationError, match="needs a name to be served under"):
            ServedModel("http://127.0.0.1:1/v1", "/models/base", **half)
