"""The embedded services: shared, ended with their last user however that ends, and never at the cost of anybody's folders."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from config import embedded
from config.embedded import EmbeddedError, Places

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
HOLD = """
import sys, time
from pathlib import Path
from config import embedded
embedded.start(Path(sys.argv[1]))
print("up", flush=True)
time.sleep(600)
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the services as somebody else")


def holder(home: Path) -> subprocess.Popen[str]:
    """A process that uses the services until it is killed."""
    return subprocess.Popen([sys.executable, "-c", HOLD, str(home)], stdout=subprocess.PIPE, text=True, cwd=ROOT)


def up(process: subprocess.Popen[str]) -> bool:
    assert process.stdout
    return process.stdout.readline() == "up\n"


def eventually(holds: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return False


def query(home: Path, statement: str) -> object:
    with psycopg.connect(Places(home).database_url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchone() if cursor.description else None


def test_both_services_answer_and_take_no_port(home: Path) -> None:
    places = embedded.start(home)
    assert query(home, "select 1") == (1,)
    assert redis.Redis.from_url(places.redis_url).ping()
    state = embedded.read_state(places)
    listening = [c for name in ("postgres", "valkey") for c in psutil.Process(state[name]).net_connections(kind="inet")]
    assert listening == []


def test_starting_twice_is_one_service(home: Path) -> None:
    first = embedded.read_state(embedded.start(home))
    assert embedded.read_state(embedded.start(home)) == first


@pytest.mark.slow
def test_two_processes_that_start_at_once_share_one_service(home: Path) -> None:
    processes = [holder(home) for _ in range(4)]
    try:
        assert all(up(process) for process in processes)
        servers = [p for p in psutil.process_iter(["cmdline"]) if str(Places(home).postgres) in (p.info["cmdline"] or [])]
        assert len(servers) == 1
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_services_stay_for_a_second_user_and_end_with_the_last(home: Path) -> None:
    first, second = holder(home), holder(home)
    assert up(first)
    assert up(second)
    first.kill()
    first.wait()
    time.sleep(1)
    assert query(home, "select 1") == (1,)
    second.kill()  # kill -9: nothing of it can clean up
    second.wait()
    assert embedded.wait_until_stopped(home)
    assert not psutil.pid_exists(embedded.read_state(Places(home)).get("postgres", 2**22))


@pytest.mark.slow
def test_rows_survive_a_restart(home: Path) -> None:
    embedded.start(home)
    query(home, "create table kept (n int)")
    query(home, "insert into kept values (7)")
    embedded.let_go(home)
    assert embedded.wait_until_stopped(home)
    embedded.start(home)
    assert query(home, "select n from kept") == (7,)


@pytest.mark.slow
def test_a_keeper_that_is_killed_takes_the_services_along_and_the_next_start_works(home: Path) -> None:
    process = holder(home)
    assert up(process)
    query(home, "create table kept (n int)")
    state = embedded.read_state(Places(home))
    os.kill(state["keeper"], signal.SIGKILL)
    if sys.platform == "linux":
        assert eventually(lambda: not psutil.pid_exists(state["postgres"]))
    process.kill()
    process.wait()
    embedded.start(home)
    assert query(home, "select count(*) from kept") == (0,)


@pytest.mark.slow
def test_a_server_that_was_killed_leaves_nothing_that_blocks_the_next_start(home: Path) -> None:
    process = holder(home)
    assert up(process)
    query(home, "create table kept (n int)")
    state = embedded.read_state(Places(home))
    for name in ("keeper", "postgres", "valkey"):
        os.kill(state[name], signal.SIGKILL)
    process.kill()
    process.wait()
    assert eventually(lambda: embedded.keeper_is_gone(Places(home))), "a signal takes a moment, and until then all of it is still there"
    # As after a crash of the machine: the pid file names a process that is somebody else's now.
    pid_file = Places(home).postgres / "postmaster.pid"
    if pid_file.exists():
        pid_file.write_text(pid_file.read_text().replace(str(state["postgres"]), str(os.getpid()), 1))
    embedded.start(home)
    assert query(home, "select count(*) from kept") == (0,)


def test_no_parent_folder_changes_its_mode(home: Path) -> None:
    before = {folder: folder.stat().st_mode for folder in home.parents}
    embedded.start(home)
    assert {folder: folder.stat().st_mode for folder in home.parents} == before


def test_nobody_else_gets_into_the_data_or_the_sockets(home: Path) -> None:
    places = embedded.start(home)
    for folder in (places.postgres, places.sockets, places.valkey):
        assert folder.stat().st_mode & 0o077 == 0


@needs_root
def test_root_is_refused_a_home_that_others_cannot_enter(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match=r"cannot enter .*closed|cannot enter /"):
        embedded.start(closed / "home")
    assert closed.stat().st_mode & 0o777 == 0o700
    assert not (closed / "home").exists()


@needs_root
def test_services_of_root_run_as_another_user(home: Path) -> None:
    state = embedded.read_state(embedded.start(home))
    assert [psutil.Process(state[name]).username() for name in ("postgres", "valkey")] == [embedded.SYSTEM_USER] * 2


@needs_root
def test_programs_in_a_private_checkout_are_copied_rather_than_opened(tmp_path: Path, home: Path) -> None:
    from config.services import reachable, service_account

    top = tmp_path / "private" / "install"
    (top / "bin").mkdir(parents=True)
    (tmp_path / "private").chmod(0o700)
    program = top / "bin" / "tool"
    program.write_text("#!/bin/sh\necho 1\n")
    program.chmod(0o700)
    embedded.make_home(home)
    copy = reachable(program, Places(home), service_account())
    assert copy.is_relative_to(home)
    assert copy.stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o700


def test_a_home_too_long_for_a_socket_keeps_its_sockets_elsewhere() -> None:
    places = Places(Path("/") / ("long" * 30))
    assert len(str(places.sockets / ".s.PGSQL.5432")) < 100
    assert places.sockets != Places(Path("/") / ("other" * 30)).sockets


def test_a_home_that_cannot_be_made_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedError, match="TOUCHSTONE_HOME"):
        embedded.make_home(tmp_path / "file" / "home")
