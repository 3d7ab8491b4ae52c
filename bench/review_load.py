"""Reviewers who claim a text and submit a verdict at once, in a closed loop, over HTTP: cycles a second and latencies, beside a floor of bare SQL.

    python bench/review_load.py [--reviewers 32] [--seconds 15] [--repeats 3] [--workers 2] [--only NAME ...] [--app MODULE:NAME]

Makes a PostgreSQL (with fsync) and a Valkey of its own in a folder that goes away, and three databases: `queue` with 10,000 items, `leases`
with the same and 2,000 leases that were left behind, `million` with 1,000,000 items. Each repeat starts a web server (uvicorn) on each of them in
turn and drives it from a process of its own. Texts have 1,000 words; in `million` those beyond the first 20,000 are one line each, which no
run comes to. The batch belongs to an experiment that waits for its panel. The floor does the least that a claim and a submit need, by psycopg, with
as many connections as there are reviewers, on a batch of its own, right after each run. Prints Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SCENARIOS = {"queue": (10_000, 0), "leases": (10_000, 2_000), "million": (1_000_000, 0)}
TITLES = {"queue": "10,000 items", "leases": "with 2,000 abandoned leases", "million": "1,000,000 items"}
WARM_UP = 3  # cycles of each reviewer
LONG = 20_000  # rollouts with a text of 1,000 words; the others have one line
WORD = "The keeper wrote in the ledger what the office wanted to read and the sea was quiet that night. "  # 19 words
TEXT = "\n\n".join((WORD * 53)[i : i + 700] for i in range(0, 5000, 700))
CRITIQUE = "The last line answers the first, and the ledger is more than a prop; the boatman is a type, and the middle explains what it shows. " * 3


# Set-up ------------------------------------------------------------------------------------------------------------------------


def environment(home: Path, name: str) -> dict[str, str]:
    """For a process that works on the database `name` of the services in `home`."""
    from config.embedded import Places

    sockets = Places(home).sockets
    env = {key: value for key, value in os.environ.items() if not key.startswith("TOUCHSTONE_")}
    return env | {
        "TOUCHSTONE_HOME": str(home),
        "DATABASE_URL": f"postgresql://postgres@/{name}?host={sockets}",
        "REDIS_URL": f"unix://{sockets / 'valkey.sock'}?db={list(SCENARIOS).index(name)}",
        "TOUCHSTONE_LOCAL": "yes",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }


FILL = """
INSERT INTO annotation_rollout (prompt_id, run, checkpoint, step, index, completion, content, finished, tokens, sampling, created)
SELECT %(prompt)s, 'bench', '', 0, n, CASE WHEN n < %(long)s THEN n || ' ' || %(text)s ELSE 'One line.' END,
    CASE WHEN n < %(long)s THEN n || ' ' || %(text)s ELSE 'One line.' END, true, 1300, '{}', now() FROM generate_series(0, %(items)s - 1) n;
INSERT INTO annotation_item (batch_id, expert_id, rollout_id, slot, position, state, control)
SELECT %(batch)s, %(expert)s, id, 0, index, 'ready', '' FROM annotation_rollout ORDER BY id;
INSERT INTO annotation_item (batch_id, expert_id, rollout_id, slot, position, state, control)
SELECT %(floor)s, %(expert)s, id, slot, index + 10000 * slot, 'ready', '' FROM annotation_rollout, generate_series(0, 5) slot
WHERE index < 10000 ORDER BY slot, id;
"""
ABANDON = """
WITH people AS (
    INSERT INTO auth_user (password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined)
    SELECT '', false, 'gone' || n, '', '', '', false, true, now() FROM generate_series(1, %(leases)s) n RETURNING id
), members AS (
    INSERT INTO annotation_expert_members (expert_id, user_id) SELECT %(expert)s, id FROM people
), held AS (
    UPDATE annotation_item SET state = 'claimed' WHERE batch_id = %(batch)s AND position < %(leases)s RETURNING id
)
INSERT INTO annotation_claim (token, item_id, user_id, started, opened, expires, outcome, declined, reason)
SELECT gen_random_uuid(), i.id, p.id, now() - interval '2 hours', now() - interval '2 hours', now() - interval '1 hour', '', '', ''
FROM (SELECT id, row_number() OVER () AS n FROM held) i JOIN (SELECT id, row_number() OVER () AS n FROM people) p USING (n);
"""


def fill(name: str, reviewers: int) -> dict[str, Any]:
    """In a process of its own, with the environment of the database: rows. The reviewers' tokens, and what the floor needs."""
    import django

    django.setup()
    from django.contrib.auth.models import Group, User
    from django.core.management import call_command
    from django.db import connection
    from django.utils import timezone

    from annotation import roles, tokens
    from annotation.models import Batch, Domain, Expert, Prompt
    from training import presets
    from training.models import Experiment

    items, leases = SCENARIOS[name]
    call_command("migrate", verbosity=0)
    words = {"generation_prompt": "Write.", "grading_prompt": "Judge {CONTENT}.", "guidelines": "Read the whole story before you write. " * 20}
    domain = Domain.objects.create(slug="stories", name="Stories", **words)
    expert = Expert.objects.create(alias="panel", name="The panel", kind=Expert.Kind.HUMAN)
    prompt = Prompt.objects.create(domain=domain, split="train", text="Write a story about the lighthouse ledger.", digest="bench")
    people = [User.objects.create(username=f"reviewer{n}") for n in range(reviewers)]
    Group.objects.get(name=roles.EXPERT).user_set.set(people)
    expert.members.set(people)
    plan = {"plan": presets.PRESETS["pocket-full-trace"].to_dict()}
    Experiment.objects.create(
        name="bench",
        title="Bench",
        domain=domain,
        expert=expert,
        policy="/nowhere",
        seed=1,
        sample_budget=1,
        config=plan,
        owner=people[0],
        state="waiting",
    )
    options = {"key": "bench", "title": "Bench", "purpose": "update", "experiment": "bench", "lease_seconds": 300}
    batch = Batch.objects.create(domain=domain, expert=expert, **options)
    batch.experts.set([expert])
    apart = Batch.objects.create(domain=domain, expert=expert, closed=timezone.now(), **options | {"key": "floor"})  # the server passes it over
    with connection.cursor() as cursor:
        for statement in (FILL if not leases else FILL + ABANDON).split(";\n"):
            if statement.strip():
                cursor.execute(
                    statement,
                    {
                        "prompt": prompt.pk,
                        "batch": batch.pk,
                        "floor": apart.pk,
                        "items": items,
                        "long": LONG,
                        "text": TEXT,
                        "leases": leases,
                        "expert": expert.pk,
                    },
                )
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")
    made = [tokens.make_token(user) for user in people]
    return {"tokens": made, "batch": apart.pk, "expert": expert.pk, "users": [user.pk for user in people]}


def queries(token: str) -> dict[str, int]:
    """Statements of one claim and one submit with a token, counted in this process; without BEGIN, COMMIT and savepoints."""
    import django

    django.setup()
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client(headers={"authorization": f"Bearer {token}", "host": "localhost"})

    def count(path: str, body: Any) -> tuple[int, Any]:
        with CaptureQueriesContext(connection) as seen:
            answer = client.post(f"/api/v1/{path}", body, content_type="application/json")
        assert answer.status_code == 201, answer.content
        free = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")
        return sum(not query["sql"].startswith(free) for query in seen.captured_queries), answer.json()

    claims, claim = count("claims/", {})
    submits, _ = count(f"claims/{claim['token']}/submit/", {"key": str(uuid.uuid4()), "critique": CRITIQUE, "score": 50})
    return {"claim": claims, "submit": submits}


# The server --------------------------------------------------------------------------------------------------------------------


@contextmanager
def server(env: dict[str, str], workers: int, app: str) -> Iterator[int]:
    """A web server; its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--workers", str(workers), "--no-access-log", "--log-level", "warning"]
    process = subprocess.Popen(command, cwd=ROOT, env=env)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/sign-in/", timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait(30)


# The load ----------------------------------------------------------------------------------------------------------------------

Work = Callable[[], Awaitable[None]]


async def closed_loop(workers: list[tuple[Work, Work]], seconds: float) -> dict[str, Any]:
    """Each worker claims and submits without a pause; the first `WARM_UP` cycles of each are not counted."""
    claims: list[float] = []
    submits: list[float] = []

    async def cycle(claim: Work, submit: Work) -> tuple[float, float]:
        start = time.perf_counter()
        await claim()
        between = time.perf_counter()
        await submit()
        return between - start, time.perf_counter() - between

    async def warm(claim: Work, submit: Work) -> None:
        for _ in range(WARM_UP):
            await cycle(claim, submit)

    async def one(claim: Work, submit: Work) -> None:
        while True:
            took = await cycle(claim, submit)
            if time.perf_counter() >= end:
                return
            claims.append(took[0])
            submits.append(took[1])

    await asyncio.gather(*(warm(*worker) for worker in workers))
    end = time.perf_counter() + seconds
    await asyncio.gather(*(one(*worker) for worker in workers))
    return {"rate": len(claims) / seconds, "claim": quantiles(claims), "submit": quantiles(submits)}


def quantiles(seconds: list[float]) -> list[float]:
    """The 50th, 95th and 99th percentile, in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return [1000 * cuts[at] for at in (49, 94, 98)]


class Reviewer:
    """One keep-alive connection that speaks as much HTTP as this needs."""

    def __init__(self, port: int, token: str) -> None:
        self.port = port
        self.head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"

        self.cycles = 0

    async def connect(self) -> None:
        """Anew in each cycle of the warm-up: whoever is idle then takes it, which spreads the reviewers over the server's processes."""
        if self.cycles:
            self.writer.close()
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def post(self, path: str, body: Any, wanted: tuple[int, ...]) -> Any:
        data = json.dumps(body).encode()
        self.writer.write(f"POST /api/v1/{path} HTTP/1.1\r\n{self.head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        head = await self.reader.readuntil(b"\r\n\r\n")
        number = int(head[9:12])
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        answer = await self.reader.readexactly(int(length or 0))
        if number not in wanted:
            raise SystemExit(f"{path}: {number} {answer[:500]!r}")
        return json.loads(answer)

    async def claim(self) -> None:
        if self.cycles < WARM_UP:
            await self.connect()
        self.cycles += 1
        found = await self.post("claims/", {}, (200, 201))
        assert len(found["content"].split()) >= 900, "the run came to the short texts"
        self.token = found["token"]

    async def submit(self) -> None:
        body = {"key": str(uuid.uuid4()), "critique": CRITIQUE, "score": 50}
        found = await self.post(f"claims/{self.token}/submit/", body, (201,))
        assert found["counted"]


async def drive(port: int, tokens: list[str], seconds: float) -> dict[str, Any]:
    reviewers = [Reviewer(port, token) for token in tokens]
    return await closed_loop([(reviewer.claim, reviewer.submit) for reviewer in reviewers], seconds)


# The floor ---------------------------------------------------------------------------------------------------------------------

LEAST_CLAIM = """
WITH following AS (
    SELECT id, rollout_id FROM annotation_item WHERE batch_id = %s AND expert_id = %s AND state = 'ready'
    ORDER BY position LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
), taken AS (
    UPDATE annotation_item item SET state = 'claimed' FROM following WHERE item.id = following.id
), claim AS (
    INSERT INTO annotation_claim (token, item_id, user_id, started, opened, expires, outcome, declined, reason)
    SELECT gen_random_uuid(), id, %s, now(), now(), now() + interval '5 minutes', '', '', '' FROM following RETURNING id, item_id
)
SELECT claim.id, claim.item_id, rollout.content, prompt.text FROM claim, following, annotation_rollout rollout, annotation_prompt prompt
WHERE rollout.id = following.rollout_id AND prompt.id = rollout.prompt_id
"""
LEAST_SUBMIT = """
WITH claim AS (
    UPDATE annotation_claim SET ended = now(), outcome = 'submitted' WHERE id = %(claim)s AND ended IS NULL RETURNING item_id
), item AS (
    UPDATE annotation_item SET state = 'done' FROM claim WHERE id = claim.item_id
)
INSERT INTO annotation_feedback (item_id, expert_id, author_id, claim_id, key, revision, current, counted, score, critique, deliberation, raw,
    unscored_reason, assisted, reason, usage, expert_options, started, submitted)
SELECT item_id, %(expert)s, %(user)s, %(claim)s, %(key)s, 1, true, true, 50, %(critique)s, '', '', '', false, '', '{}', '{}', now(), now() FROM claim
"""


async def floor(env: dict[str, str], made: dict[str, Any], seconds: float) -> dict[str, Any]:
    import psycopg

    def worker(connection: Any, user: int) -> tuple[Work, Work]:
        held: list[int] = []

        async def claim() -> None:
            cursor = await connection.execute(LEAST_CLAIM, [made["batch"], made["expert"], user])
            held.append((await cursor.fetchone())[0])

        async def submit() -> None:
            values = {"claim": held.pop(), "expert": made["expert"], "user": user, "key": str(uuid.uuid4()), "critique": CRITIQUE}
            await connection.execute(LEAST_SUBMIT, values)

        return claim, submit

    connections = [await psycopg.AsyncConnection.connect(env["DATABASE_URL"], autocommit=True) for _ in made["users"]]
    found = await closed_loop([worker(connection, user) for connection, user in zip(connections, made["users"], strict=True)], seconds)
    for connection in connections:
        await connection.close()
    return found


# The whole ---------------------------------------------------------------------------------------------------------------------


def apart(env: dict[str, str], *arguments: str, data: Any = None) -> Any:
    """This file in a process of its own with `arguments`; what it prints last, read as JSON."""
    command = [sys.executable, __file__, "--part", *arguments]
    done = subprocess.run(command, env=env, cwd=ROOT, input=json.dumps(data), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def part(kind: str, *rest: str) -> Any:
    """What `apart` asks for."""
    import uvloop

    data = json.load(sys.stdin)
    if kind == "fill":
        return fill(rest[0], int(rest[1]))
    if kind == "queries":
        return queries(data["tokens"][0])
    if kind == "drive":
        return uvloop.run(drive(int(rest[0]), data["tokens"], float(rest[1])))
    return uvloop.run(floor(dict(os.environ), data, float(rest[0])))


def spread(values: list[float], digits: int = 0) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(title: str, runs: dict[str, list[dict[str, Any]]]) -> None:
    print(f"\n| {title} | cycles/s | claim p50 | p95 | p99 | submit p50 | p95 | p99 |\n|---|---|---|---|---|---|---|---|")
    for name, found in runs.items():
        latencies = [spread([run[kind][at] for run in found]) for kind in ("claim", "submit") for at in range(3)]
        print(f"| {TITLES[name]} | {spread([run['rate'] for run in found])} | {' | '.join(latencies)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reviewers", type=int, default=32, help="how many review at once (default 32)")
    parser.add_argument("--seconds", type=float, default=15, help="that are counted of each run (default 15)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each scenario (default 3)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the web server (default 2)")
    parser.add_argument("--app", default="config.asgi:application", help="what is served")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), help="scenarios (default: all)")
    options = parser.parse_args()

    from config import embedded

    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))  # so that servers and folders go away
    home = Path(tempfile.mkdtemp(prefix="touchstone-bench-", dir="/tmp"))
    home.chmod(0o755 if os.geteuid() == 0 else 0o700)
    os.environ.pop("TOUCHSTONE_POSTGRES_OPTIONS", None)
    try:
        places = embedded.start(home)
        envs = {name: environment(home, name) for name in options.only}
        made, counted = {}, {}
        for name, env in envs.items():
            began = time.monotonic()
            import psycopg

            with psycopg.connect(host=str(places.sockets), user="postgres", dbname="postgres", autocommit=True) as connection:
                connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[call-overload]
            made[name] = apart(env, "fill", name, str(options.reviewers))
            counted[name] = apart(env, "queries", data=made[name])
            print(f"{TITLES[name]}: made in {time.monotonic() - began:.0f} s", file=sys.stderr)
        ours: dict[str, list[dict[str, Any]]] = {name: [] for name in envs}
        bare: dict[str, list[dict[str, Any]]] = {name: [] for name in envs}
        for _ in range(options.repeats):
            for name, env in envs.items():
                with server(env, options.workers, options.app) as port:
                    ours[name].append(apart(env, "drive", str(port), str(options.seconds), data=made[name]))
                bare[name].append(apart(env, "floor", str(options.seconds / 3), data=made[name]))
                loads = ", ".join(f"{load:.1f}" for load in os.getloadavg())
                print(f"{TITLES[name]}: {ours[name][-1]['rate']:.0f} cycles/s, floor {bare[name][-1]['rate']:.0f}; load {loads}", file=sys.stderr)
    finally:
        embedded.let_go(home)
        embedded.wait_until_stopped(home)
        shutil.rmtree(home, ignore_errors=True)

    print(f"{options.reviewers} reviewers, {options.workers} processes of uvicorn; milliseconds; median of {options.repeats} runs (range)")
    table("over HTTP", ours)
    table("floor: bare SQL", bare)
    print("\n| | queries of a claim | of a submit | cycles/s, of the floor's | of the first row's |\n|---|---|---|---|---|")
    first = next(iter(ours.values()))
    for name in ours:
        to_floor = spread([a["rate"] / b["rate"] for a, b in zip(ours[name], bare[name], strict=True)], 2)
        to_first = spread([a["rate"] / b["rate"] for a, b in zip(ours[name], first, strict=True)], 2)
        print(f"| {TITLES[name]} | {counted[name]['claim']} | {counted[name]['submit']} | {to_floor} | {to_first} |")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if sys.argv[1:2] == ["--part"]:
        print(json.dumps(part(*sys.argv[2:])))
    else:
        main()
