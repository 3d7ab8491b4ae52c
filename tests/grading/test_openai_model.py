"""The real openai client against a server on this machine that speaks its protocol as vLLM does."""

from __future__ import annotations

import asyncio
import logging
import sys

import pytest

from grading.backends import load
from grading.errors import ConfigurationError, GraderError
from grading.graders import Grader
from grading.models.base import repeatable
from grading.models.openai import OpenAIModel
from grading.testing import ModelConformance, ask, generate
from grading.types import Case, Message, Sampling, Usage
from tests.grading.servers.http import HANG_UP, SLOW, Reply
from tests.grading.servers.openai import ScriptedOpenAI, error
from tests.grading.watched import Watched

KEY = "sk-very-secret-4711"
PATH = "/v1/chat/completions"


@pytest.fixture
def server():
    with ScriptedOpenAI().running() as running:
        yield running


def model(at, **options):
    return OpenAIModel(**{"base_url": f"{at.url}/v1", "model": "tiny", "timeout": 5.0, "max_retries": 0} | options)


def body(server, place=-1):
    return server.bodies(PATH)[place]


class TestOpenAIModel(ModelConformance):
    @pytest.fixture
    def model(self, server):
        return model(server)


class TestAnotherServer(ModelConformance):
    @pytest.fixture
    def model(self, server):
        server.ignores_n = True
        return model(server, server="other", max_concurrency=2)


class TestAServerThatIsToldWhatItCannotDo(ModelConformance):
    @pytest.fixture
    def model(self, server):
        return model(server, capabilities=[])


class TestWhatIsSent:
    @pytest.mark.parametrize("ignores_n", [False, True])
    def test_a_request_of_work_that_may_be_repeated_carries_the_same_key_each_time(self, server, ignores_n):
        server.ignores_n = ignores_n

        def keys(work):
            server.seen.clear()
            with repeatable(work):
                generate(model(server, server="other"), ask("a", "b", "a"), Sampling(n=2))
            return sorted(request.headers["idempotency-key"] for request in server.seen)

        first = keys("batch 1")
        assert len(set(first)) == len(first) == (6 if ignores_n else 3)
        assert keys("batch 1") == first
        assert not set(keys("batch 2")) & set(first)
        server.seen.clear()
        generate(model(server), ask("a"), Sampling())
        assert "idempotency-key" not in server.seen[0].headers

    def test_all_samples_are_asked_for_at_once_with_seed_and_temperature(self, server):
        generate(model(server), ask("a", "b"), Sampling(0.7, 9, n=3))
        first, second = sorted(server.bodies(PATH), key=lambda sent: sent["messages"][0]["content"])
        assert (first["n"], first["temperature"], first["max_tokens"], first["model"]) == (3, 0.7, 9, "tiny")
        assert 0 <= first["seed"] < 2**31
        assert first["seed"] != second["seed"]

    def test_vllm_samples_plainly_whatever_the_checkpoint_recommends(self, server):
        generate(model(server), ask("a"), Sampling())
        assert {name: body(server)[name] for name in ("top_p", "top_k", "min_p", "repetition_penalty")} == {
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
        }
        generate(model(server, server="other"), ask("a"), Sampling())
        assert set(body(server)) == {"model", "messages", "max_tokens", "temperature"}

    def test_extra_goes_into_every_request_and_wins_over_what_is_plain(self, server):
        generate(model(server, extra={"top_p": 0.9, "chat_template_kwargs": {"enable_thinking": False}}), ask("a"), Sampling())
        assert (body(server)["top_p"], body(server)["chat_template_kwargs"]) == (0.9, {"enable_thinking": False})

    def test_the_limit_may_have_another_name(self, server):
        generate(model(server, server="other", max_tokens_field="max_completion_tokens"), ask("a"), Sampling(max_tokens=7))
        assert body(server)["max_completion_tokens"] == 7
        assert "max_tokens" not in body(server)

    def test_a_turn_that_was_begun_is_gone_on_with(self, server):
        generate(model(server), [[Message("user", "a"), Message("assistant", "<critique>")]], Sampling())
        assert (body(server)["continue_final_message"], body(server)["add_generation_prompt"]) == (True, False)
        assert body(server)["messages"][-1] == {"role": "assistant", "content": "<critique>"}

    def test_a_turn_begun_without_words_is_yet_to_begin(self, server):
        generate(model(server), [[Message("user", "a"), Message("assistant", " \n")]], Sampling())
        assert body(server)["messages"] == [{"role": "user", "content": "a"}]
        assert "continue_final_message" not in body(server)

    def test_greedy_samples_are_asked_for_once_since_vllm_takes_no_more(self, server):
        (completions,) = generate(model(server), ask("a"), Sampling(0.0, n=3))
        assert [sent.get("n", 1) for sent in server.bodies(PATH)] == [1]
        assert len(completions) == 3
        assert len({completion.text for completion in completions}) == 1
        assert [bool(completion.usage.output_tokens) for completion in completions] == [True, False, False]

    @pytest.mark.parametrize(
        "token", ["<|im_end|>", "<|eot_id|>", "<\uff5cAssistant\uff5c>", "</s>", "<end_of_turn>", "[/INST]", "<|start_header_id|>"]
    )
    def test_no_text_ends_its_turn(self, server, token):
        generate(model(server), ask(f"good{token}\nassistant"), Sampling())
        assert body(server)["messages"][0]["content"] == f"good{token[0]} {token[1:]}\nassistant"

    def test_tags_and_other_marks_are_left_alone(self, server):
        text = "<score>1</score> a<|b <b>bold</b> [1] x < y |> z <|two words|>"
        generate(model(server), ask(text), Sampling())
        assert body(server)["messages"][0]["content"] == text

    def test_a_lora_is_a_model_by_its_name(self, server):
        ((completion,),) = generate(model(server, model="tiny-lora-3"), ask("a"), Sampling())
        assert completion.model == "tiny-lora-3@2026-11"  # as the server resolves it

    def test_what_a_request_needs_and_the_model_does_not_promise_is_never_sent(self, server):
        for sampling in (Sampling(0.5), Sampling(n=2), Sampling(logprobs=True)):
            with pytest.raises(ConfigurationError, match="does not promise"):
                generate(model(server, capabilities=["seed"]), ask("a"), sampling)
        assert not server.seen

    def test_requests_are_written_out_when_their_turn_comes(self, server):
        requests = Watched(*map(str, range(200)))
        answers = generate(model(server, max_concurrency=3), requests, Sampling())
        assert len(answers) == 200
        assert requests.most < 10

    def test_no_more_requests_are_under_way_than_allowed(self, server):
        answers = generate(model(server, max_concurrency=3), ask(*map(str, range(20))), Sampling())
        assert len(answers) == 20
        assert server.most_open == 3


class TestWhatComesBack:
    def test_a_server_that_ignores_n_is_asked_again_with_other_seeds(self, server):
        server.ignores_n = True
        one_by_one = model(server)
        (completions,) = generate(one_by_one, ask("a"), Sampling(n=4))
        assert len(completions) == 4
        assert len({sent["seed"] for sent in server.bodies(PATH)}) == 4
        assert [sent.get("n", 1) for sent in server.bodies(PATH)] == [4, 1, 1, 1]
        generate(one_by_one, ask("b"), Sampling(n=2))
        assert body(server, -2).get("n", 1) == 1  # it remembers

    def test_choices_are_put_in_order_and_usage_adds_up(self, server):
        server.script = lambda body, index: {"message": {"role": "assistant", "content": f"choice {index} of three"}, "finish_reason": "stop"}
        (completions,) = generate(model(server), ask("a b c"), Sampling(n=3))
        assert [completion.text for completion in completions] == ["choice 0 of three", "choice 1 of three", "choice 2 of three"]
        # read: 3 words + 1 for the turn, once; written: 3 x 4 words
        assert sum((completion.usage for completion in completions), Usage()) == Usage(4, 12)
        assert [completion.usage for completion in completions] == [Usage(4, 4), Usage(0, 4), Usage(0, 4)]

    def test_cached_tokens_are_counted_apart(self, server):
        server.counts_cached = True
        ((completion,),) = generate(model(server), ask("a b c"), Sampling())
        assert (completion.usage.input_tokens, completion.usage.cache_read_tokens, completion.usage.read_tokens) == (1, 3, 4)

    def test_log_probabilities_are_those_of_the_chosen_tokens(self, server):
        ((completion,),) = generate(model(server), ask("a"), Sampling(logprobs=True))
        assert completion.logprobs == tuple((word, -1.5) for word in completion.text.split())

    def test_reasoning_is_not_part_of_the_text(self, server):
        message = {"role": "assistant", "content": None, "reasoning": "<score>9</score>"}
        server.script = lambda body, index: {"message": message, "finish_reason": "length"}
        ((completion,),) = generate(model(server), ask("a"), Sampling())
        assert (completion.text, completion.finished, completion.stop) == ("", False, "length")

    @pytest.mark.parametrize(
        "choice",
        [
            {"finish_reason": "content_filter", "message": {"role": "assistant", "content": ""}},
            {"finish_reason": "stop", "message": {"role": "assistant", "content": None, "refusal": "I would rather not."}},
        ],
    )
    def test_a_refusal_is_of_its_request_alone(self, server, choice):
        server.script = lambda body, index: choice if "bad" in body["messages"][0]["content"] else {}
        (good,), (bad,) = generate(model(server), ask("good", "bad"), Sampling())
        assert not good.failure
        assert bad.failure.startswith("declined: ")
        assert bad.stop == "refused"

    def test_a_text_too_long_for_the_model_is_answered_by_saying_so(self, server):
        (long,), (short,) = generate(model(server), ask("x" * 60_000, "x"), Sampling())
        assert long.failure.startswith("too long for the model: This model's maximum context length is 8192 tokens")
        assert not short.failure
        (alone,) = generate(model(server), ask("x" * 60_000), Sampling(n=2))
        assert len(alone) == 2


class TestWhatGoesWrong:
    @pytest.mark.parametrize(
        ("fault", "seconds", "message"),
        [
            (error(429, "slow down", retry_after="7"), 7.0, "answered 429: slow down"),
            (error(429, "slow down"), 30.0, "answered 429"),
            (error(429, "slow down", retry_after="soon"), 30.0, "answered 429"),
            (error(429, "slow down", retry_after="Wed, 25 Nov 2020 00:00:00 GMT"), 0.0, "answered 429"),
            (error(529, "overloaded", retry_after="12.5"), 12.5, "answered 529"),
            (error(529, "overloaded"), 30.0, "answered 529"),
            (error(500, "the engine is dead"), 10.0, "answered 500: the engine is dead"),
            (error(503, "starting"), 10.0, "answered 503"),
            (HANG_UP, 10.0, "hung up"),
            (Reply(body={"choices": [1, 2, 3]}, hang_up=10), 10.0, "hung up"),
            (SLOW, 10.0, "did not answer in time"),
            (Reply(body=b"<html>a proxy", headers={"content-type": "text/html"}), 10.0, "without a choice"),
            (Reply(body={"choices": [1, 2, 3]}), 10.0, "no chat completion"),
            (Reply(body={"choices": [{"index": 0}]}), 10.0, "no chat completion"),
            (Reply(body=b"{not json"), 10.0, "no answer"),
        ],
    )
    def test_what_passes_may_be_tried_again_and_says_when(self, server, fault, seconds, message):
        server.faults = [fault]
        with pytest.raises(GraderError, match=message) as raised:
            generate(model(server, timeout=0.5), ask("a"), Sampling())
        assert (raised.value.retry.allowed, raised.value.retry.after_seconds) == (True, seconds)

    @pytest.mark.parametrize("fault", [error(429, retry_after_ms="1", message="slow"), error(503, retry_after_ms="1", message="down"), HANG_UP])
    def test_the_client_tries_again_by_itself_first(self, server, fault):
        server.faults = [fault]
        assert len(generate(model(server, max_retries=2), ask("a"), Sampling())) == 1
        assert len(server.seen) == 2

    @pytest.mark.parametrize(
        "fault", [error(401, "no"), error(403, "no"), error(404, "no"), error(429, "you ran out of money", "insufficient_quota")]
    )
    def test_what_is_set_up_wrongly_is_not_tried_again(self, server, fault):
        server.faults = [fault]
        with pytest.raises(ConfigurationError, match=f"answered {fault.status}"):
            generate(model(server), ask("a"), Sampling())

    def test_an_unknown_model_is_named(self, server):
        with pytest.raises(ConfigurationError, match="The model `huge` does not exist"):
            generate(model(server, model="huge"), ask("a"), Sampling())

    def test_a_request_that_is_not_taken_is_at_fault_alone_if_others_are(self, server):
        server.faults = [error(400, "odd characters")]
        (odd,), (fine,) = generate(model(server, max_concurrency=1), ask("a", "b"), Sampling())
        assert odd.failure.startswith("not taken: ")
        assert odd.failure.endswith("answered 400: odd characters")
        assert not fine.failure

    def test_if_none_is_taken_the_set_up_is_wrong_and_few_are_sent(self, server):
        server.faults = [error(400, "unknown parameter top_k")] * 100
        with pytest.raises(ConfigurationError, match="unknown parameter top_k"):
            generate(model(server, max_concurrency=4), ask(*map(str, range(100))), Sampling())
        assert len(server.seen) < 20

    def test_what_was_answered_before_a_failure_is_kept(self, server):
        alone = model(server, max_concurrency=1)
        server.faults = [Reply(body=server_answer("first")), error(529, "overloaded")]
        with pytest.raises(GraderError) as raised:
            generate(alone, ask("a", "b", "c"), Sampling())
        first, *others = raised.value.partial
        assert ([completion.text for completion in first], others) == (["first"], [None, None])
        assert len(server.seen) == 2  # the third is not begun

    def test_rejections_alone_are_nothing_to_keep(self, server):
        server.faults = [error(400, "odd"), error(529, "overloaded")]
        with pytest.raises(GraderError) as raised:
            generate(model(server, max_concurrency=1), ask("a", "b", "c"), Sampling())
        assert raised.value.partial == []

    def test_nobody_at_the_address(self):
        with pytest.raises(GraderError, match="could not be reached") as raised:
            generate(OpenAIModel("http://127.0.0.1:9/v1", "tiny", max_retries=0), ask("a"), Sampling())
        assert raised.value.retry.allowed


def server_answer(text):
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "tiny",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


class TestTheKey:
    @pytest.fixture
    def server(self):
        with ScriptedOpenAI(KEY).running() as running:
            yield running

    def test_it_comes_from_the_variable_that_is_named(self, server, monkeypatch):
        monkeypatch.setenv("MY_KEY", KEY)
        assert len(generate(model(server, api_key_env="MY_KEY"), ask("a"), Sampling())) == 1

    def test_a_wrong_one_is_a_fault_of_the_set_up_and_is_not_shown(self, server, monkeypatch, caplog):
        caplog.set_level(logging.DEBUG)
        monkeypatch.setenv("MY_KEY", "sk-wrong-0815")
        wrong = model(server, api_key_env="MY_KEY")
        with pytest.raises(ConfigurationError, match=r"answered 401: Incorrect API key provided: Bearer \*\*\*") as raised:
            generate(wrong, ask("a"), Sampling())
        shown = [caplog.text, str(raised.value), repr(raised.value), repr(wrong), repr(vars(wrong))]
        assert not any("sk-wrong-0815" in text for text in shown)
        assert raised.value.__context__ is None  # an error report does not go into the client's frames

    def test_a_key_for_another_server_is_not_sent(self, server, monkeypatch):
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        with pytest.raises(ConfigurationError, match="401"):
            generate(model(server), ask("a"), Sampling())
        assert KEY not in server.seen[0].headers["authorization"]

    def test_a_variable_that_is_not_set_is_named(self, server, monkeypatch):
        monkeypatch.delenv("MY_KEY", raising=False)
        with pytest.raises(ConfigurationError, match="MY_KEY is not set"):
            model(server, api_key_env="MY_KEY")

    def test_the_key_itself_in_the_options_is_refused_without_repeating_it(self, server):
        with pytest.raises(ConfigurationError, match="name of an environment variable") as raised:
            model(server, api_key_env=KEY)
        assert KEY not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_url": "127.0.0.1:8000"}, "http or https"),
        ({"base_url": "https://me:secret@host/v1"}, "without user, password"),
        ({"server": "sglang"}, "one of vllm, other"),
        ({"capabilities": ["batch"]}, "not batch"),
        ({"capabilities": ["telepathy"]}, "not telepathy"),
        ({"extra": {"temperature": 0.3}}, "must not hold temperature"),
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"timeout": 0}, "timeout"),
        ({"max_retries": -1}, "max_retries"),
        ({"api_key": "x"}, "does not take these options"),
    ],
)
def test_options_that_will_not_do_are_named(options, message):
    with pytest.raises(ConfigurationError, match=message):
        load({"backend": "grading.models.openai.OpenAIModel", "options": {"base_url": "http://127.0.0.1:9/v1", "model": "m"} | options})


def test_a_package_that_is_not_installed_is_named_with_its_requirements(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ConfigurationError, match=r"requirements/base\.txt"):
        generate(OpenAIModel("http://127.0.0.1:9/v1", "m"), ask("a"), Sampling())


def test_a_grader_keeps_refusals_and_cut_traces_apart_and_grades_the_rest(server):
    texts = {"good": "<critique>ok</critique><score>7</score>", "long": "<critique>ok</critique><score"}

    def script(body, index):
        word = body["messages"][0]["content"].split()[-1]
        if word == "bad":
            return {"finish_reason": "content_filter", "message": {"role": "assistant", "content": ""}}
        return {"finish_reason": "length" if word == "long" else "stop", "message": {"role": "assistant", "content": texts[word]}}

    server.script = script
    verdicts = asyncio.run(Grader(["Grade {CONTENT}"], model(server)).grade([Case("", word) for word in ("good", "bad", "long")]))
    assert [(verdict.score, verdict.unscored_reason) for verdict in verdicts] == [
        (7, ""),
        (None, "declined: the content filter stopped the answer"),
        (None, "cut off before the score"),
    ]
    assert {verdict.models for verdict in verdicts} == {("tiny@2026-11",)}
    assert all(verdict.usage.read_tokens for verdict in verdicts)
