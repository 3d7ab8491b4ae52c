"""The real anthropic client against a server on this machine that speaks Messages and Message Batches. Anthropic itself is never asked."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time

import pytest

from grading.backends import load
from grading.errors import ConfigurationError, GraderError, Retry, StillRunning
from grading.graders import Grader
from grading.models.anthropic import AnthropicModel, Prefix, shared_prefix
from grading.models.base import BatchHandle, repeatable
from grading.models.scripted import ScriptedModel
from grading.testing import ModelConformance, ask, generate
from grading.types import Case, Message, Sampling, Usage
from tests.grading.servers.anthropic import ScriptedAnthropic, error
from tests.grading.servers.http import HANG_UP, SLOW, Reply
from tests.grading.watched import Watched

KEY = "sk-test-secret"
PATH = "/v1/messages"
USED = {"input_tokens": 7, "output_tokens": 30, "cache_read_input_tokens": 900, "cache_creation_input_tokens": 5}
RUBRIC = "Weigh the critique.\n" * 300  # 6,000 characters, 900 words


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with ScriptedAnthropic(KEY).running() as running:
        yield running


def model(at, **options):
    return AnthropicModel(**{"model": "claude-opus-5-5", "base_url": at.url, "timeout": 5.0, "max_retries": 0} | options)


def batch_model(at, **options):
    return model(at, **{"batch": True, "poll_seconds": 0.001} | options)


def resume(made, requests, handle, sampling=None, seed=1):
    return asyncio.run(made.generate(requests, sampling or Sampling(), seed=seed, batches=handle))


class TestAnthropicModel(ModelConformance):
    @pytest.fixture
    def model(self, server):
        return model(server)


class TestMessageBatches(ModelConformance):
    @pytest.fixture
    def model(self, server):
        server.looks, server.not_found = 2, 1
        return batch_model(server)


class TestHowFast:
    @pytest.mark.parametrize("meter", [0.5], indirect=True)
    def test_requests_wait_for_their_turn_and_tokens_from_the_cache_do_not_count(self, server, meter):
        made = model(server, requests_per_minute=3, tokens_per_minute=10**6)
        began = time.monotonic()
        generate(made, ask(RUBRIC + "a", RUBRIC + "b", RUBRIC + "c", RUBRIC + "d"), Sampling())
        assert time.monotonic() - began > 0.5
        assert len(server.bodies(PATH)) == 4

    def test_what_really_was_used_is_counted(self, server, meter):
        server.script = lambda params: {"usage": USED}
        generate(model(server, tokens_per_minute=10**6, limit_name="mine"), ask("a", "b"), Sampling(max_tokens=1000))
        assert meter._windows["mine"].tokens == 2 * (7 + 30 + 5)

    def test_a_batch_is_one_request(self, server, meter):
        generate(batch_model(server, requests_per_minute=3), ask(*"abcdef"), Sampling())
        assert meter._windows[f"{server.url} claude-opus-5-5"].requests == 1


class TestWhatIsSent:
    def test_a_request_of_work_that_may_be_repeated_carries_the_same_key_each_time(self, server):
        def keys(work):
            server.seen.clear()
            with repeatable(work):
                generate(model(server), ask("a", "b"), Sampling(n=2))
            return sorted(request.headers["idempotency-key"] for request in server.seen)

        first = keys("batch 1")
        assert len(set(first)) == 4
        assert keys("batch 1") == first
        assert not set(keys("batch 2")) & set(first)
        server.seen.clear()
        generate(model(server), ask("a"), Sampling())
        assert "idempotency-key" not in server.seen[0].headers

    def test_it_thinks_as_it_sees_fit_and_is_told_how_hard_to_try(self, server):
        generate(model(server, effort="high"), ask("a"), Sampling(max_tokens=99))
        assert server.bodies(PATH) == [
            {
                "model": "claude-opus-5-5",
                "max_tokens": 99,
                "messages": [{"role": "user", "content": "a"}],
                "thinking": {"type": "adaptive"},
                "output_config": {"effort": "high"},
            }
        ]
        generate(model(server, thinking=None), ask("a"), Sampling())
        assert set(server.bodies(PATH)[-1]) == {"model", "max_tokens", "messages"}

    def test_the_system_turn_goes_where_the_api_wants_it_and_earlier_turns_stay(self, server):
        turns = [Message("system", "be kind"), Message("user", "a"), Message("assistant", "b"), Message("user", "c")]
        generate(model(server), [turns], Sampling())
        (sent,) = server.bodies(PATH)
        assert sent["system"] == "be kind"
        assert [(turn["role"], turn["content"]) for turn in sent["messages"]] == [("user", "a"), ("assistant", "b"), ("user", "c")]

    @pytest.mark.parametrize("sampling", [Sampling(0.5), Sampling(0.0), Sampling(logprobs=True), Sampling(max_tokens=30_000)])
    def test_what_the_api_does_not_take_is_refused_before_anything_is_sent(self, server, sampling):
        with pytest.raises(ConfigurationError):
            generate(model(server), ask("a"), sampling)
        assert not server.seen

    def test_long_answers_go_by_batch(self, server):
        assert len(generate(batch_model(server), ask("a"), Sampling(max_tokens=30_000))) == 1

    def test_no_more_requests_are_under_way_than_allowed(self, server):
        assert len(generate(model(server, max_concurrency=3), ask(*map(str, range(20))), Sampling())) == 20
        assert server.most_open == 3

    @pytest.mark.parametrize("batch", [False, True])
    def test_requests_are_written_out_when_their_turn_comes(self, server, batch):
        requests = Watched(*(f"{RUBRIC}Text {number}" for number in range(100)))
        made = batch_model(server, batch_size=20) if batch else model(server, max_concurrency=3)
        assert len(generate(made, requests, Sampling())) == 100
        assert requests.most < 10

    def test_n_samples_are_n_requests(self, server):
        (completions,) = generate(model(server), ask("a"), Sampling(n=5))
        assert (len(completions), len(server.bodies(PATH))) == (5, 5)


class TestTheCache:
    def test_what_all_requests_begin_with_is_written_once_and_read_by_the_others(self, server):
        answers = generate(model(server), ask(*(f"{RUBRIC}Text {word}: much {word}" for word in ("one", "two", "three"))), Sampling())
        usage = [completion.usage for (completion,) in answers]
        # The shared lines are 300 x 3 words; what differs is 4 words each.
        assert [(u.input_tokens, u.cache_write_tokens, u.cache_read_tokens) for u in usage] == [(4, 900, 0), (4, 0, 900), (4, 0, 900)]
        for sent in server.bodies(PATH):
            first, second = sent["messages"][0]["content"]
            assert first == {"type": "text", "text": RUBRIC, "cache_control": {"type": "ephemeral", "ttl": "5m"}}
            assert second["text"].startswith("Text ")
            assert "cache_control" not in second

    def test_the_prompt_of_several_samples_is_read_by_all_but_the_first(self, server):
        (completions,) = generate(model(server, cache="1h"), ask(RUBRIC + "x"), Sampling(n=4))
        assert sum((completion.usage for completion in completions), Usage()).cache_write_tokens == 901
        assert [completion.usage.cache_read_tokens for completion in completions] == [0, 901, 901, 901]
        (block,) = server.bodies(PATH)[0]["messages"][0]["content"]
        assert block["cache_control"]["ttl"] == "1h"

    def test_it_can_be_left_off(self, server):
        generate(model(server, cache=None), ask(RUBRIC + "a", RUBRIC + "b"), Sampling(n=2))
        assert "cache_control" not in str(server.bodies(PATH))

    def test_little_is_not_cached(self, server):
        generate(model(server), ask("the same beginning\na", "the same beginning\nb"), Sampling(n=2))
        assert "cache_control" not in str(server.bodies(PATH))

    @pytest.mark.parametrize(
        ("requests", "prefix"),
        [
            (ask(RUBRIC + "a", RUBRIC + "b"), Prefix(0, 6000)),
            (ask(RUBRIC + "same words a", RUBRIC + "same words b"), Prefix(0, 6000)),  # at the end of a line
            (ask("word " * 1000 + "ab", "word " * 1000 + "ac"), Prefix(0, 5000)),  # or else of a word
            (ask("x" * 5000 + "a", "x" * 5000 + "b"), Prefix()),
            (ask(RUBRIC, RUBRIC), Prefix(1, 0)),
            (ask(RUBRIC + "a"), Prefix()),
            (ask(RUBRIC, RUBRIC + "b"), Prefix()),  # nothing would be left of the first: the API takes no blank text
            ([[Message("system", RUBRIC), *turns] for turns in ask("a", "b")], Prefix(1, 0)),
            ([[Message("system", RUBRIC), *turns] for turns in ask("do it well\na", "do it well\nb")], Prefix(1, 11)),
            ([], Prefix()),
        ],
    )
    def test_the_shared_beginning_ends_where_words_end(self, requests, prefix):
        assert shared_prefix(requests) == prefix


class TestWhatComesBack:
    def test_thoughts_are_not_part_of_the_text(self, server):
        content = [
            {"type": "thinking", "thinking": "<score>9</score>", "signature": "s"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "<score>"},
            {"type": "text", "text": "3</score>"},
        ]
        server.script = lambda params: {"content": content, "stop_reason": "end_turn"}
        ((completion,),) = generate(model(server), ask("a"), Sampling())
        assert (completion.text, completion.finished, completion.stop, completion.model) == (
            "<score>3</score>",
            True,
            "end",
            "claude-opus-5-5-20261101",
        )

    @pytest.mark.parametrize("reason", ["max_tokens", "model_context_window_exceeded"])
    def test_what_was_cut_off_is_unfinished(self, server, reason):
        server.script = lambda params: {"stop_reason": reason}
        ((completion,),) = generate(model(server), ask("a"), Sampling())
        assert (completion.finished, completion.stop, completion.failure) == (False, "length", "")

    @pytest.mark.parametrize("made", [model, batch_model])
    def test_a_refusal_is_of_its_request_alone(self, server, made):
        details = {"type": "refusal", "category": "bio", "explanation": "It could be misused."}
        server.script = lambda params: {"stop_reason": "refusal", "stop_details": details, "content": []} if "bad" in str(params) else {}
        (good,), (bad,) = generate(made(server), ask("good", "bad"), Sampling())
        assert (good.failure, bad.failure, bad.stop, bad.finished) == ("", "declined: It could be misused.", "refused", False)

    @pytest.mark.parametrize("made", [model, batch_model])
    def test_a_text_that_is_too_long_or_not_taken_is_at_fault_alone_if_others_are(self, server, made):
        (long,), (blank,), (fine,) = generate(made(server, max_concurrency=1, cache=None), ask("x" * 1_000_001, " ", "x"), Sampling())
        assert long.failure.startswith("too long for the model: prompt is too long")
        assert blank.failure.startswith("not taken: ")
        assert "must contain non-whitespace text" in blank.failure
        assert not fine.failure

    @pytest.mark.parametrize("made", [model, batch_model])
    def test_if_none_is_taken_the_set_up_is_wrong(self, server, made):
        with pytest.raises(ConfigurationError, match="non-whitespace"):
            generate(made(server), ask(" ", "\n"), Sampling())


class TestWhatGoesWrong:
    @pytest.mark.parametrize(
        ("fault", "seconds", "message"),
        [
            (error(429, "slow down", retry_after="7"), 7.0, "answered 429: slow down"),
            (error(429), 30.0, "answered 429: rate_limit_error"),
            (error(529, "overloaded", retry_after="12.5"), 12.5, "answered 529: overloaded"),
            (error(529), 30.0, "answered 529"),
            (error(500, "sorry"), 10.0, "answered 500: sorry"),
            (HANG_UP, 10.0, "hung up"),
            (Reply(body={"content": "much"}, hang_up=10), 10.0, "hung up"),
            (SLOW, 10.0, "did not answer in time"),
            (Reply(body=b"<html>a proxy", headers={"content-type": "text/html"}), 10.0, "without a message"),
            (Reply(body=b"{not json"), 10.0, "no answer"),
        ],
    )
    def test_what_passes_may_be_tried_again_and_says_when(self, server, fault, seconds, message):
        server.faults = [fault]
        with pytest.raises(GraderError, match=message) as raised:
            generate(model(server, timeout=0.5), ask("a"), Sampling())
        assert raised.value.retry == Retry(True, seconds)

    @pytest.mark.parametrize("fault", [error(429, retry_after_ms="1"), error(529, retry_after_ms="1"), HANG_UP])
    def test_the_client_tries_again_by_itself_first(self, server, fault):
        server.faults = [fault]
        assert len(generate(model(server, max_retries=2), ask("a"), Sampling())) == 1
        assert len(server.seen) == 2

    def test_a_server_that_asks_for_an_hour_is_not_waited_for(self, server):
        server.faults = [error(529, retry_after="3600")] * 3
        with pytest.raises(GraderError) as raised:
            generate(model(server, max_retries=2), ask("a"), Sampling())
        assert (raised.value.retry, len(server.seen)) == (Retry(True, 3600.0), 1)

    @pytest.mark.parametrize("status", [401, 402, 403, 404])
    def test_what_is_set_up_wrongly_is_not_tried_again(self, server, status):
        server.faults = [error(status, "no")]
        with pytest.raises(ConfigurationError, match=f"answered {status}: no"):
            generate(model(server, max_retries=2), ask("a"), Sampling())
        assert len(server.seen) == 1

    def test_what_was_answered_before_a_failure_is_kept(self, server):
        server.script = lambda params: server.faults.append(error(529)) or {}
        with pytest.raises(GraderError) as raised:
            generate(model(server, max_concurrency=1), ask("a", "b", "c"), Sampling())
        first, *others = raised.value.partial
        assert len(first) == 1
        assert others == [None, None]

    def test_a_grader_keeps_the_verdicts_that_are_complete(self, server):
        text = [{"type": "text", "text": "<critique>ok</critique><score>7</score>"}]
        server.script = lambda params: server.faults.append(error(529)) or {"content": text, "stop_reason": "end_turn"}
        with pytest.raises(GraderError) as raised:
            asyncio.run(Grader(["{CONTENT}"], model(server, max_concurrency=1)).grade([Case("", "a"), Case("", "b")]))
        first, second = raised.value.partial
        assert (first.score, first.models, second) == (7, ("claude-opus-5-5-20261101",), None)

    def test_a_wrong_key_is_not_shown(self, server, monkeypatch, caplog):
        caplog.set_level(logging.DEBUG)
        monkeypatch.setenv("MY_KEY", "sk-wrong-0815")
        wrong = model(server, api_key_env="MY_KEY")
        with pytest.raises(ConfigurationError, match=r"answered 401: invalid bearer token Bearer \*\*\*") as raised:
            generate(wrong, ask("a"), Sampling())
        shown = [caplog.text, str(raised.value), repr(raised.value), repr(wrong), repr(vars(wrong))]
        assert not any("sk-wrong-0815" in text for text in shown)
        assert raised.value.__context__ is None


class TestBatches:
    @pytest.mark.parametrize("answer", [{"echo": "hm"}, "hm", [], 7, None])
    def test_an_answer_that_is_no_batch_is_no_answer(self, server, answer):
        server.faults = [Reply(200, answer)] * 2  # to the making, and to the look for what was made
        with pytest.raises(GraderError, match=r"answered (without a batch|what is no answer)") as raised:
            generate(batch_model(server), ask("a"), Sampling())
        assert raised.value.retry.allowed
        server.looks = 2
        handle = BatchHandle()
        server.script = lambda params: server.faults.append(Reply(200, answer)) or {}  # to the first look at it
        ((completion,),) = asyncio.run(batch_model(server, missed_polls=2).generate(ask("a"), Sampling(), seed=1, batches=handle))
        assert completion.finished
        assert len(handle.ids) == 1

    def test_results_are_matched_whatever_their_order_and_however_many_batches(self, server):
        server.looks, server.not_found = 3, 2
        server.script = lambda params: {"content": [{"type": "text", "text": params["messages"][0]["content"]}], "stop_reason": "end_turn"}
        texts = [f"text {i % 7}" for i in range(10)]  # some are the same
        answers = generate(batch_model(server, batch_size=4), ask(*texts), Sampling(n=2))
        assert [[completion.text for completion in completions] for completions in answers] == [[text, text] for text in texts]
        assert [len(batch.entries) for batch in server.batches.values()] == [4, 4, 4, 4, 4]

    def test_only_what_expired_or_failed_at_the_server_is_asked_again(self, server):
        fates = {"a": ["succeeded"], "b": ["expired", "overloaded_error", "succeeded"], "c": ["api_error", "succeeded"]}
        server.fate = lambda entry, number: fates[entry["params"]["messages"][0]["content"]][number if number < 3 else -1]
        answers = generate(batch_model(server), ask("a", "b", "c"), Sampling())
        assert all(completion.text and not completion.failure for (completion,) in answers)
        asked = [[entry["params"]["messages"][0]["content"] for entry in batch.entries] for batch in server.batches.values()]
        assert asked == [["a", "b", "c"], ["b", "c"], ["b"]]

    def test_what_fails_again_and_again_is_left_and_the_rest_is_kept(self, server):
        server.fate = lambda entry, number: "expired" if entry["params"]["messages"][0]["content"] == "b" else "succeeded"
        handle = BatchHandle()
        with pytest.raises(GraderError, match="1 of 2 requests expired or failed") as raised:
            resume(batch_model(server, resubmissions=1), ask("a", "b"), handle)
        assert raised.value.retry.allowed
        assert len(raised.value.partial[0]) == 1
        assert raised.value.partial[1] is None
        assert handle.ids == ["msgbatch_0", "msgbatch_1"]

    def test_what_somebody_cancelled_is_not_asked_again(self, server):
        server.fate = lambda entry, number: "canceled"
        with pytest.raises(GraderError, match="cancelled with their batch") as raised:
            generate(batch_model(server), ask("a"), Sampling())
        assert raised.value.retry == Retry.never()
        assert len(server.batches) == 1

    def test_an_entry_that_fails_for_the_set_up_stops_everything(self, server):
        server.fate = lambda entry, number: "billing_error"
        with pytest.raises(ConfigurationError, match="it is billing_error"):
            generate(batch_model(server), ask("a"), Sampling())
        assert len(server.batches) == 1

    def test_a_worker_that_comes_back_asks_once(self, server):
        server.looks = 2
        made, handle, requests = batch_model(server, max_wait=0), BatchHandle(), ask("a", "b")
        with pytest.raises(StillRunning, match="msgbatch_0 has not ended") as raised:
            resume(made, requests, handle)
        assert raised.value.retry.allowed
        kept = list(handle.ids)  # all that a restarted worker knows
        with pytest.raises(StillRunning):
            resume(made, requests, BatchHandle(kept))
        answers = resume(made, requests[::-1], BatchHandle(kept))  # in another order, too
        assert len(answers) == 2
        assert len(server.batches) == 1
        assert resume(made, requests, BatchHandle(kept)) == answers[::-1]

    def test_what_is_new_is_asked_and_what_is_another_s_noise_is_not_shared(self, server):
        made, handle = batch_model(server), BatchHandle()
        first = resume(made, ask("a"), handle)
        resume(made, ask("a", "b"), handle)
        assert [len(batch.entries) for batch in server.batches.values()] == [1, 1]
        assert resume(made, ask("a"), handle) == first
        resume(made, ask("a"), handle, seed=2)  # a repeated verdict on the same text
        assert len(server.batches) == 3

    def test_an_id_can_be_written_down_before_anything_waits(self, server):
        class WriteThrough(BatchHandle):
            def remember(self, batch_id):
                super().remember(batch_id)
                written.append((batch_id, [request.path for request in server.seen if request.method == "GET"]))

        written: list[tuple[str, list[str]]] = []
        resume(batch_model(server), ask("a"), WriteThrough())
        assert written == [("msgbatch_0", [])]

    def test_of_a_batch_that_a_worker_made_when_it_died_the_id_is_found(self, server):
        class Dies(BatchHandle):
            def changed(self):
                states.append(json.loads(json.dumps(self.state)))

        states: list[dict] = []
        answers = resume(batch_model(server), ask("a", "b"), Dies())
        assert [len(state["unsure"]) for state in states] == [1, 1, 0]  # announced, made, and known
        for state in states:
            again = BatchHandle()
            again.load(state)
            assert resume(batch_model(server), ask("a", "b"), again) == answers
            assert (again.ids, again.unsure) == (["msgbatch_0"], [])
        assert len(server.batches) == 1

    def test_a_batch_that_was_announced_and_never_made_is_made(self, server):
        handle = BatchHandle()
        handle.announce("2026-11-25T12:00:00+00:00", 2)
        assert len(resume(batch_model(server), ask("a", "b"), handle)) == 2
        assert (handle.ids, handle.unsure, len(server.batches)) == (["msgbatch_0"], [], 1)

    def test_where_nobody_can_say_whether_it_was_made_that_stays_open(self, server):
        handle = BatchHandle()
        server.loses_creation = True
        server.after_creation = [error(500)]
        with pytest.raises(GraderError, match="hung up"):
            resume(batch_model(server), ask("a", "b"), handle)
        assert (handle.ids, len(handle.unsure)) == ([], 1)
        assert len(resume(batch_model(server), ask("a", "b"), handle)) == 2
        assert len(server.batches) == 1

    def test_one_who_does_not_wait_is_told_at_once(self, server):
        server.looks = 5
        handle = BatchHandle(patience=0.0)
        with pytest.raises(StillRunning):
            resume(batch_model(server, poll_seconds=600), ask("a"), handle)
        server.faults = [error(529, retry_after="7")]
        with pytest.raises(GraderError, match="529") as raised:
            resume(batch_model(server, poll_seconds=600), ask("a"), handle)
        assert raised.value.retry == Retry(True, 7.0)

    def test_a_batch_whose_creation_was_not_answered_is_found_and_not_paid_twice(self, server):
        server.loses_creation = True
        handle = BatchHandle()
        assert len(resume(batch_model(server, max_retries=2), ask("a", "b"), handle)) == 2
        assert (handle.ids, len(server.batches)) == (["msgbatch_0"], 1)

    def test_a_creation_that_failed_is_for_the_caller_to_try_again(self, server):
        generate(batch_model(server), ask("x"), Sampling())  # another batch, of another size
        server.faults = [error(529, retry_after="5")]
        handle = BatchHandle()
        with pytest.raises(GraderError, match="529") as raised:
            resume(batch_model(server, max_retries=2), ask("a", "b"), handle)
        assert (raised.value.retry, handle.ids, len(server.batches)) == (Retry(True, 5.0), [], 1)

    def test_failures_while_looking_are_put_up_with(self, server):
        server.looks = 1
        made, handle = batch_model(server, missed_polls=3), BatchHandle()
        made.max_wait = 0
        with pytest.raises(StillRunning):
            resume(made, ask("a"), handle)
        made.max_wait = None
        server.faults = [HANG_UP, error(500), error(529)]
        server.cut_results = 2
        assert len(resume(made, ask("a"), handle)) == 1

    def test_an_outage_while_looking_is_for_later_and_loses_nothing(self, server):
        handle = BatchHandle()
        server.looks = 1
        with pytest.raises(StillRunning):
            resume(batch_model(server, max_wait=0), ask("a"), handle)
        server.faults = [error(500)] * 3
        with pytest.raises(GraderError, match="500") as raised:
            resume(batch_model(server, missed_polls=2), ask("a"), handle)
        assert raised.value.retry.allowed
        assert len(resume(batch_model(server), ask("a"), handle)) == 1
        assert len(server.batches) == 1

    def test_a_batch_that_is_gone_is_not_paid_again_unasked(self, server):
        with pytest.raises(ConfigurationError, match="msgbatch_77 is not there"):
            resume(batch_model(server, missed_polls=1), ask("a"), BatchHandle(["msgbatch_77"]))
        assert not server.batches

    def test_results_that_are_no_longer_kept_are_not_paid_again_unasked(self, server):
        handle = BatchHandle()
        resume(batch_model(server), ask("a"), handle)
        server.archived = True
        with pytest.raises(ConfigurationError, match="msgbatch_0 are no longer kept"):
            resume(batch_model(server), ask("a"), handle)
        assert len(server.batches) == 1

    def test_waiting_for_a_while_needs_a_handle_to_come_back_with(self, server):
        with pytest.raises(ConfigurationError, match="BatchHandle"):
            generate(batch_model(server, max_wait=0), ask("a"), Sampling())
        with pytest.raises(ConfigurationError, match="batch=True"):
            resume(model(server), ask("a"), BatchHandle())
        assert not server.seen

    def test_the_shared_beginning_is_marked_in_batches_too(self, server):
        generate(batch_model(server, cache="1h"), ask(RUBRIC + "a", RUBRIC + "b"), Sampling())
        (batch,) = server.batches.values()
        marks = [entry["params"]["messages"][0]["content"][0]["cache_control"] for entry in batch.entries]
        assert marks == [{"type": "ephemeral", "ttl": "1h"}] * 2

    def test_a_grader_hands_the_handle_on_or_refuses_it(self, server):
        handle = BatchHandle()
        asyncio.run(Grader(["{CONTENT}"], batch_model(server)).grade([Case("", "a")], batches=handle))
        assert handle.ids == ["msgbatch_0"]
        with pytest.raises(ConfigurationError, match="'batch'"):
            asyncio.run(Grader(["{CONTENT}"], ScriptedModel(lambda messages, seed: "")).grade([Case("", "a")], batches=handle))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"effort": "extreme"}, "effort must be one of low, medium, high, xhigh, max"),
        ({"thinking": "enabled"}, "thinking must be one of adaptive, disabled"),
        ({"cache": "1d"}, "cache must be one of 5m, 1h"),
        ({"batch_size": 200_000}, "batch_size"),
        ({"max_wait": 5.0}, "max_wait"),
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"temperature": 0.5}, "does not take these options"),
        ({"api_key": "x"}, "does not take these options"),
        ({"api_key_env": "sk-ant-1"}, "name of an environment variable"),
        ({"api_key_env": "NO_SUCH_KEY"}, "NO_SUCH_KEY is not set"),
    ],
)
def test_options_that_will_not_do_are_named(options, message, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with pytest.raises(ConfigurationError, match=message):
        load({"backend": "grading.models.anthropic.AnthropicModel", "options": {"model": "claude"} | options})


def test_a_temperature_in_a_grader_s_sampling_is_refused_when_it_is_made(server):
    with pytest.raises(ConfigurationError, match="takes no temperature"):
        Grader(["{CONTENT}"], model(server), sampling={"temperature": 1.0})


def test_a_package_that_is_not_installed_is_named_with_its_requirements(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "anthropic", None)
    with pytest.raises(ConfigurationError, match=r"requirements/base\.txt"):
        generate(model(server), ask("a"), Sampling())
