"""What every language model must do. Subclass `ModelConformance` and give it a `model` fixture."""

from __future__ import annotations

from grading.types import Message, Sampling


def ask(*texts: str) -> list[list[Message]]:
    return [[Message("user", text)] for text in texts]


class ModelConformance:
    async def test_it_answers_every_request_n_times_in_order(self, model):
        answers = await model.generate(ask("a", "bb", "ccc"), Sampling(1.0, 8, n=4), seed=1)
        assert [len(completions) for completions in answers] == [4, 4, 4]

    async def test_no_requests_have_no_answers(self, model):
        assert await model.generate([], Sampling(), seed=1) == []

    async def test_the_same_seed_gives_the_same_words_and_another_seed_others(self, model):
        requests, sampling = ask("tell me a story", "and another"), Sampling(1.0, 12, n=3)
        first = await model.generate(requests, sampling, seed=1)
        assert await model.generate(requests, sampling, seed=1) == first
        assert await model.generate(requests, sampling, seed=2) != first

    async def test_samples_of_one_request_differ_at_temperature_1(self, model):
        (completions,) = await model.generate(ask("tell me a story"), Sampling(1.0, 12, n=8), seed=1)
        assert len({completion.text for completion in completions}) > 1

    async def test_temperature_0_is_greedy_whatever_the_seed(self, model):
        requests = ask("tell me a story")
        (first,) = await model.generate(requests, Sampling(0.0, 12, n=2), seed=1)
        (second,) = await model.generate(requests, Sampling(0.0, 12, n=2), seed=2)
        assert len({completion.text for completion in (*first, *second)}) == 1

    async def test_it_stops_at_max_tokens_and_says_so(self, model):
        answers = await model.generate(ask("a", "tell me"), Sampling(1.0, 3, n=16), seed=3)
        completions = [completion for some in answers for completion in some]
        assert all(completion.usage.output_tokens <= 3 for completion in completions)
        assert any(not completion.finished for completion in completions)
        assert all(completion.usage.output_tokens == 3 for completion in completions if not completion.finished)

    async def test_it_counts_what_it_read(self, model):
        (short,), (long,) = await model.generate(ask("a", "a b c d e f"), Sampling(0.0, 2), seed=1)
        assert 0 < short.usage.input_tokens < long.usage.input_tokens

    async def test_a_conversation_may_have_several_turns_and_any_characters(self, model):
        messages = [Message("system", "be kind"), Message("user", "\u00e4\U0001f600\x00"), Message("assistant", "yes"), Message("user", "")]
        (completions,) = await model.generate([messages], Sampling(1.0, 4), seed=1)
        assert isinstance(completions[0].text, str)
