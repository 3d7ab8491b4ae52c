"""What holds of the settings as a production site runs them."""

from __future__ import annotations

import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def production(process_free_env: dict[str, str]) -> dict[str, str]:
    return process_free_env | {
        "DATABASE_URL": "postgresql://touchstone:secret@db.invalid/touchstone",
        "REDIS_URL": "redis://redis.invalid:6379/0",
        "TOUCHSTONE_SECRET_KEY": secrets.token_urlsafe(64),
        "TOUCHSTONE_HOSTS": "touchstone.example.org",
    }


def manage(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "manage.py", *arguments], capture_output=True, text=True, cwd=ROOT, env=env)


def test_the_deployment_check_finds_nothing(production: dict[str, str]) -> None:
    done = manage("check", "--deploy", "--fail-level", "DEBUG", env=production)
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


def test_a_site_without_secret_and_hosts_is_refused_with_what_to_do(production: dict[str, str]) -> None:
    del production["TOUCHSTONE_SECRET_KEY"], production["TOUCHSTONE_HOSTS"]
    done = manage("check", env=production)
    assert done.returncode == 1
    assert "(config.E002) TOUCHSTONE_SECRET_KEY is not set." in done.stderr
    assert "(config.E003) TOUCHSTONE_HOSTS is not set." in done.stderr


def test_every_value_that_cannot_be_read_is_named_at_once(production: dict[str, str]) -> None:
    production |= {"TOUCHSTONE_DEBUG": "perhaps", "TOUCHSTONE_TRAINING_SLOTS": "0", "REDIS_URL": "http://x", "TOUCHSTONE_JOBS": "jobs"}
    done = manage("check", env=production)
    assert done.returncode == 1
    for name in ("TOUCHSTONE_DEBUG is 'perhaps'", "TOUCHSTONE_TRAINING_SLOTS is 0", "REDIS_URL is not a URL", "TOUCHSTONE_JOBS is 'jobs'"):
        assert f"(config.E001) {name}" in done.stderr


def test_the_web_process_does_not_start_on_values_it_cannot_read(production: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import config.asgi"], capture_output=True, text=True, cwd=ROOT, env=production | {"TOUCHSTONE_DEBUG": "x"}
    )
    assert done.returncode == 1
    assert "TOUCHSTONE_DEBUG is 'x'" in done.stderr


def test_a_database_password_is_not_repeated_in_a_problem(production: dict[str, str]) -> None:
    done = manage("check", env=production | {"DATABASE_URL": "mysql://touchstone:hunter2@db.invalid/x"})
    assert done.returncode == 1
    assert "DATABASE_URL" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


def test_a_debug_site_does_not_pass_the_deployment_check(production: dict[str, str]) -> None:
    assert manage("check", "--deploy", "--fail-level", "WARNING", env=production | {"TOUCHSTONE_DEBUG": "yes"}).returncode == 1


@pytest.mark.django_db
def test_the_models_have_no_change_without_a_migration() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_pages_forbid_inline_scripts_and_styles(settings) -> None:
    directives = settings.CONTENT_SECURITY_POLICY["DIRECTIVES"]
    assert directives["default-src"] == ["'none'"]
    assert not [word for words in directives.values() for word in words if "unsafe" in word]
