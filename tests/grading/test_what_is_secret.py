"""Secrets are told by the names they go under, and hidden wherever their values stand."""

from __future__ import annotations

import html
import json
import os

import pytest

from grading.errors import GraderError, Retry
from grading.models.base import Secret
from grading.secrecy import clean, hiding, hush, is_secret, without_secrets
from grading.types import Verdict

KEY = "sk-live-4f'<9&\"a7"
SECRETS = "key api_key API_KEY apikey apiKey X-Api-Key HF_TOKEN accessToken client_secret clientSecret DB_PASSWORD AWS_SECRET_ACCESS_KEY"
SECRETS += " credentials Authorization Proxy-Authorization auth passwd"
OTHERS = "model max_tokens monkey keyboard keys api_key_env author tokenizer passage base_url"


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch):
    for name in list(os.environ):
        if is_secret(name) or name.endswith("_URL"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("name", SECRETS.split())
def test_names_of_secrets(name):
    assert is_secret(name)


@pytest.mark.parametrize("name", OTHERS.split())
def test_names_of_what_is_none(name):
    assert not is_secret(name)


def test_options_are_kept_without_them_at_any_depth_and_without_a_key_in_the_place_of_a_name():
    options = {"model": {"api_key_env": "MY_KEY", "api_key": KEY}, "servers": [{"headers": {"X-Api-Key": KEY}}, {"key_env": KEY}], "n": 2}
    assert without_secrets(options) == {"model": {"api_key_env": "MY_KEY"}, "servers": [{"headers": {}}, {}], "n": 2}


@pytest.mark.parametrize("form", [KEY, html.escape(KEY), json.dumps(KEY), repr(KEY), f"Bearer {KEY}", "sk-live-4f%27%3C9%26%22a7"])
@pytest.mark.parametrize("options", [{"api_key": KEY}, {"model": [{"headers": {"Authorization": {"scheme": KEY}}}]}, {"key_env": KEY}])
def test_their_values_are_hidden_in_any_text(form, options):
    assert "4f" not in hiding(options)(f"401: {form} is not valid")


def test_what_options_name_and_what_the_environment_holds_is_secret_too(monkeypatch):
    environment = {"ACCESS": "access-1234", "SOME_TOKEN": "token-5678", "DATABASE_URL": "postgresql://me:pass-9012@host/db", "WHERE": "/home/me-3456"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    text = "access-1234 token-5678 pass-9012 /home/me-3456"
    assert hiding({"api_key_env": "ACCESS"})(text) == "*** *** *** /home/me-3456"
    assert hiding({"api_key_env": "ACCESS"}, environment=False)(text) == "*** token-5678 pass-9012 /home/me-3456"


def test_short_values_and_plain_words_of_the_environment_are_left_in_texts(monkeypatch):
    monkeypatch.setenv("POSTGRES_PASSWORD", "touchstone")
    monkeypatch.setenv("A_KEY", "k1")
    assert hiding({"token": "abc"})("touchstone k1 abc") == "touchstone k1 abc"


def test_exceptions_and_all_that_led_to_them_lose_them_from_their_words():
    hide = hiding({"api_key": KEY})
    try:
        try:
            raise KeyError(KEY)
        except KeyError:
            raise ExceptionGroup("several", [ValueError(KEY), ConnectionError(KEY)]) from RuntimeError(KEY)
    except ExceptionGroup as exc:
        wrapped = GraderError(f"no: {KEY}", retry=Retry.never())
        wrapped.__cause__ = exc
        wrapped.__cause__.__context__.__context__ = wrapped  # a ring does no harm
    hush(wrapped, hide)
    chain = [wrapped, wrapped.__cause__, *wrapped.__cause__.exceptions, wrapped.__cause__.__cause__, wrapped.__cause__.__context__]
    assert ["4f" in f"{exc} {exc!r}" for exc in chain] == [False] * 6
    assert str(wrapped) == "no: ***"
    assert wrapped.retry == Retry.never()


def test_verdicts_and_their_samples_lose_them_from_their_words():
    words = {"critique": KEY, "deliberation": KEY, "raw": KEY, "models": (KEY,)}
    verdict = Verdict(5.0, **words, samples=(Verdict(None, unscored_reason=KEY, **words),))
    assert "4f" not in repr(clean(verdict, hiding({"api_key": KEY})))
    assert clean(verdict, hiding({})) == verdict


@pytest.mark.parametrize("value", ["sk-1\nX-Other: 2", "sk 1", "sk-\u00e9", "sk-\x07"])
def test_what_cannot_be_a_key_is_refused_without_repeating_it(value, monkeypatch):
    monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(ValueError, match="MY_KEY holds no key") as raised:
        Secret.read("MY_KEY")
    assert value not in str(raised.value)


def test_a_key_that_looks_like_a_name_is_not_repeated_either():
    with pytest.raises(ValueError, match="that api_key_env names is not set") as raised:
        Secret.read("sk_live_4f9a7")
    assert "4f9a7" not in str(raised.value)
