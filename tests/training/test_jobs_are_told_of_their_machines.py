"""What the operator says of GPUs and servers gets into job folders; keys do not."""

from __future__ import annotations

import json

from grading.backends import load
from training.serving import served_model


def spec(experiment, key):
    return json.loads((experiment.jobs.get(key=key).path / "job.json").read_text())


def test_a_job_that_trains_is_told_how_much_fits_and_who_writes_its_rollouts(run, settings):
    settings.DEVICE_BATCH, settings.VLLM_POLICY_URL, settings.VLLM_COMMAND = 2, "http://policy:8000", ["/opt/vllm", "serve"]
    experiment = run("full-trace", steps=2)
    rl = spec(experiment, "train-0")
    assert (rl["device_batch"], rl["vllm"]) == (2, {"base_url": "http://policy:8000"})
    assert spec(experiment, "realign-0")["device_batch"] == 2
    sample = spec(experiment, "sample-0")
    assert (sample["serve"], {"device_batch", "vllm"} & set(sample), "serve" in rl) == (["/opt/vllm", "serve"], set(), False)


def test_one_process_alone_is_told_nothing(run):
    experiment = run("full-trace", steps=2)
    assert not {"device_batch", "vllm", "serve"} & {*spec(experiment, "train-0"), *spec(experiment, "sample-0")}


def test_a_model_behind_the_proxies_server_is_told_by_its_weights_and_the_name_of_the_key(settings, monkeypatch):
    settings.VLLM_PROXY_URL = "http://proxies:8001/"
    assert served_model("/models/base")["options"] == {"base_url": "http://proxies:8001/v1", "path": "/models/base"}
    settings.VLLM_KEY_ENV = "VLLM_API_KEY"
    monkeypatch.setenv("VLLM_API_KEY", "a-key-nobody-knows")
    config = served_model("/models/base", "/jobs/stories/realign-0/adapter", "stories-2-0a1b2c")
    assert "a-key-nobody-knows" not in json.dumps(config)
    model = load(config)
    assert (model.model, model.adapter, model.secret.value) == ("stories-2-0a1b2c", "/jobs/stories/realign-0/adapter", "a-key-nobody-knows")
