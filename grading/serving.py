"""What a vLLM serves, told by its weights: its base model by the folder, and LoRA adapters that are published while it serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grading.errors import ConfigurationError, GraderError
from grading.models.base import NotThere, Secret, ask, check_address
from grading.models.openai import NO_KEY, OpenAIModel, library
from grading.types import Completion, Message, Sampling

NO_SECRET = Secret("")
LOADING = 300.0  # seconds that a server may take to read an adapter
RUNTIME = "Start vLLM with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 in its environment and with --enable-lora."
ADVICE = {  # by words in what the server says
    "max_lora_rank": "Start vLLM with --max-lora-rank of at least the adapter's rank.",
    "not enabled": RUNTIME,
    "adapter": "The server must see the adapter's folder, with adapter_config.json and adapter_model.safetensors in it, under the same path.",
}


@dataclass(frozen=True, slots=True)
class Server:
    """The vLLM at `base_url`, such as http://127.0.0.1:8000/v1. Raises `ConfigurationError` for what is no plain address.

    What its methods raise: `ConfigurationError`, saying what to do, and `GraderError` where it is worth trying again.
    """

    base_url: str
    secret: Secret = NO_SECRET

    def __post_init__(self) -> None:
        check_address(self.base_url)

    async def models(self) -> dict[str, str]:
        """What is served, by name: the folder of the weights, or of the adapter."""
        answer = await self._call("get", "/models", object)
        return {card["id"]: card.get("root") or "" for card in answer["data"]}

    async def name_of(self, path: str) -> str:
        """The name under which the base model in folder `path` is served. Raises `ConfigurationError` where another one is."""
        served = await self.models()
        for name, root in served.items():
            if _same(root, path):
                return name
        raise ConfigurationError(f"{self.base_url} serves {', '.join(served.values())} and not {path}. Start it with: vllm serve {path}")

    async def publish(self, name: str, adapter: str) -> None:
        """Have the LoRA adapter in folder `adapter` served as `name`; nothing happens where it is.

        A name stands for one folder for good, and a folder should have one name for each state of its weights: vLLM keeps what it has computed by
        names. So another adapter under this name raises `ConfigurationError`.
        """
        if await self._has(name, adapter):
            return
        try:
            await self._call("post", "/load_lora_adapter", str, {"lora_name": name, "lora_path": adapter})
        except (ConfigurationError, GraderError) as exc:
            if await self._has(name, adapter):  # somebody else was quicker
                return
            said = str(exc)
            if isinstance(exc, NotThere) and "adapter" not in said.lower():
                raise ConfigurationError(f"{self.base_url} takes no adapters while it serves. {RUNTIME}") from None
            advice = next((advice for words, advice in ADVICE.items() if words in said), "")
            if advice or isinstance(exc, ConfigurationError):
                raise ConfigurationError(f"the adapter in {adapter} cannot be published: {said} {advice}".strip()) from None
            raise
        if not await self._has(name, adapter):
            raise ConfigurationError(f"{self.base_url} took {name} and does not serve it. Several servers behind one address? Give each its own.")

    async def unload(self, name: str) -> None:
        """Have the adapter called `name` served no more; nothing happens where there is none."""
        if name in await self.models():
            await self._call("post", "/unload_lora_adapter", str, {"lora_name": name})

    async def _has(self, name: str, adapter: str) -> bool:
        root = (await self.models()).get(name)
        if root is not None and not _same(root, adapter):
            raise ConfigurationError(f"{self.base_url} serves {root} as {name}, not {adapter}. Publish each adapter under a name of its own.")
        return root is not None

    async def _call(self, method: str, path: str, answer: type, body: dict[str, Any] | None = None) -> Any:
        sdk = library()
        async with sdk.AsyncOpenAI(api_key=self.secret.value or NO_KEY, base_url=self.base_url, timeout=LOADING, max_retries=2) as client:
            more = {} if body is None else {"body": body}
            return await ask(getattr(client, method)(path, cast_to=answer, **more), sdk, self.base_url, self.secret)


class ServedModel(OpenAIModel):
    """The base model in folder `path` on the vLLM at `base_url`, or, served as `name`, the LoRA adapter in folder `adapter` on it.

    Before it is first asked it sees to it that these very weights answer: that the server has `path`, and has the adapter published, also after
    it was started again. Other options are those of `OpenAIModel`.
    """

    def __init__(
        self, base_url: str, path: str, adapter: str | None = None, name: str | None = None, api_key_env: str | None = None, **options: Any
    ) -> None:
        if (adapter is None) != (name is None):
            raise ConfigurationError("an adapter needs a name to be served under, and a name an adapter")
        super().__init__(base_url, name or "", api_key_env, **{"limit_name": f"{base_url.rstrip('/')} {name or path}"} | options)
        self.path, self.adapter, self.found = path, adapter, False

    async def generate(self, requests: Sequence[Sequence[Message]], sampling: Sampling, *, seed: int) -> list[list[Completion]]:
        """See `LanguageModel.generate`."""
        if not self.found:
            await self.find()
        try:
            return await super().generate(requests, sampling, seed=seed)
        except NotThere:  # started again since, a server has forgotten what it was given
            await self.find()
            return await super().generate(requests, sampling, seed=seed)

    async def find(self) -> None:
        """Look for the weights, and publish the adapter. Raises what `Server` does."""
        server = Server(self.base_url, self.secret)
        base = await server.name_of(self.path)
        if self.adapter is None:
            self.model = base
        else:
            await server.publish(self.model, self.adapter)
        self.found = True


def _same(one: str, other: str) -> bool:
    return bool(one) and Path(one).resolve() == Path(other).resolve()
