"""Readers of the environment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.env import Environment


def test_what_is_not_set_or_empty_is_the_default() -> None:
    env = Environment({"A": "", "B": "  "})
    assert [env.flag("A", True), env.whole("B", 3), env.text("C", "x"), env.words("A", ("h",))] == [True, 3, "x", ["h"]]
    assert not env.given("B")
    assert env.problems == []


@pytest.mark.parametrize(("word", "value"), [("1", True), ("YES", True), ("on", True), ("0", False), ("False", False), ("off", False)])
def test_a_flag_takes_the_usual_words(word: str, value: bool) -> None:
    assert Environment({"A": word}).flag("A", not value) is value


def test_a_flag_that_is_neither_is_a_problem_and_the_default() -> None:
    env = Environment({"A": "maybe"})
    assert env.flag("A", True) is True
    assert [(p.name, p.id) for p in env.problems] == [("A", "config.E001")]


@pytest.mark.parametrize("value", ["x", "1.5", "-1", "65", "nan", "99999999999999999999"])
def test_a_number_out_of_range_or_none_at_all_is_a_problem_and_the_default(value: str) -> None:
    env = Environment({"A": value})
    assert env.whole("A", 2, least=0, most=64) == 2
    assert len(env.problems) == 1


def test_words_are_split_at_commas_and_trimmed() -> None:
    assert Environment({"A": " a, b ,,c"}).words("A") == ["a", "b", "c"]


@pytest.mark.parametrize("value", ["http://x", "x", "redis", "redis://[::1"])
def test_a_url_of_another_kind_is_a_problem_that_does_not_repeat_it(value: str) -> None:
    env = Environment({"A": value})
    assert env.url("A", "redis://default", ("redis",)) == "redis://default"
    assert value not in env.problems[0].wrong.replace("is not a URL that can be used here", "")


def test_a_path_knows_the_home_folder_and_must_be_absolute() -> None:
    env = Environment({"A": "~/x", "B": "x/y"})
    assert env.path("A", Path("/d")) == Path.home() / "x"
    assert env.path("B", Path("/d")) == Path("/d")
    assert len(env.problems) == 1


def test_a_command_begins_with_a_program() -> None:
    env = Environment({"A": "/bin/sh -c 'echo a b'", "B": "sh -c ls", "C": "/bin/sh 'half", "E": "/nowhere/vllm serve", "F": "/bin/"})
    assert env.command("A") == ["/bin/sh", "-c", "echo a b"]
    assert [env.command(name) for name in "BCDEF"] == [[], [], [], [], []]
    assert [problem.name for problem in env.problems] == ["B", "C", "E", "F"]


def test_require_names_every_problem() -> None:
    env = Environment({"A": "x", "B": "y"})
    env.flag("A", False)
    env.whole("B", 1)
    with pytest.raises(ImproperlyConfigured, match=r"(?s)A is 'x'.*B is 'y'"):
        env.require()


def test_every_variable_that_is_read_is_documented() -> None:
    root = Path(__file__).parent.parent.parent
    sources = "".join(path.read_text() for path in (root / "config").rglob("*.py"))
    read = set(re.findall(r"""(?:env\.\w+|environ\.get)\(\s*"(TOUCHSTONE_\w+|DATABASE_URL|REDIS_URL|VLLM_API_KEY)\"""", sources))
    documented = set(re.findall(r"^#?([A-Z_]+)=", (root / ".env.example").read_text(), re.MULTILINE))
    assert len(read) > 10
    assert read <= documented
    assert documented - read <= {"FORWARDED_ALLOW_IPS"}  # uvicorn's own
