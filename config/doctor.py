"""What `manage.py doctor` looks at. Each look gives findings: what was seen and, where something is amiss, how to mend it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

FINE, WARNING, BROKEN = "fine", "warning", "broken"
OLDEST_POSTGRES = 15  # UNIQUE NULLS NOT DISTINCT
GIB = 1024**3
LOCK = "requirements/constraints.txt"
DEVICE = (
    "import json, torch; print(json.dumps({'torch': torch.__version__, 'gpus': "
    "[[torch.cuda.get_device_name(i), torch.cuda.get_device_properties(i).total_memory] for i in range(torch.cuda.device_count())]}))"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """`state` is fine, warning (works, but less) or broken (essential). `mend` says what to do; empty where all is fine."""

    what: str
    state: str
    seen: str
    mend: str = ""


def python() -> Iterator[Finding]:
    found = sys.version.split()[0]
    fits = sys.version_info[:2] == (3, 11)
    yield Finding("Python", FINE if fits else BROKEN, found, "" if fits else "Make the environment with Python 3.11: make clean, then make demo.")


def packages() -> Iterator[Finding]:
    lock = _pins(settings.BASE_DIR / LOCK)
    wanted = {name for part in ("base", "training") for name in _pins(settings.BASE_DIR / "requirements" / f"{part}.txt")}
    installed = {name: _installed(name) for name in lock}
    missing = sorted(name for name in wanted if not installed.get(name))
    other = sorted(f"{name} {found} (tested: {lock[name]})" for name, found in installed.items() if found and found != lock[name])
    mend = f"pip install -c {LOCK} -r requirements/base.txt -r requirements/training.txt (torch first, see there)"
    if missing:
        yield Finding("Packages", BROKEN, f"missing: {', '.join(missing)}", mend)
    if other:
        yield Finding("Packages", WARNING, f"not as tested: {', '.join(other)}", mend)
    if not missing and not other:
        yield Finding("Packages", FINE, f"{sum(map(bool, installed.values()))} as in {LOCK}")


def environment() -> Iterator[Finding]:
    for p in settings.ENVIRONMENT.problems:
        yield Finding("Environment", BROKEN, f"{p.name} {p.wrong}", p.mend)
    if not settings.ENVIRONMENT.problems:
        yield Finding("Environment", FINE, "local" if settings.LOCAL else "production")


def database() -> Iterator[Finding]:
    where = f"embedded, in {settings.HOME}" if settings.DATABASE_IS_EMBEDDED else "from DATABASE_URL"
    try:
        with connection.cursor() as cursor:
            cursor.execute("show server_version")
            found = str(cursor.fetchone()[0])
        waiting = MigrationExecutor(connection)
        plan = waiting.migration_plan(waiting.loader.graph.leaf_nodes())
    except DatabaseError as exc:
        mend = (
            f"Read {settings.HOME}/services.log."
            if settings.DATABASE_IS_EMBEDDED
            else "Check DATABASE_URL, and that the server runs and lets this machine in."
        )
        yield Finding("PostgreSQL", BROKEN, f"does not answer ({where}): {' '.join(str(exc).split())}", mend)
        return
    new_enough = int(found.split(".")[0]) >= OLDEST_POSTGRES
    yield Finding(
        "PostgreSQL", FINE if new_enough else BROKEN, f"{found} ({where})", "" if new_enough else f"Use PostgreSQL {OLDEST_POSTGRES} or newer."
    )
    if plan:
        yield Finding("Tables", BROKEN, f"{len(plan)} migrations are not applied", "manage.py migrate")
    else:
        yield Finding("Tables", FINE, "all migrations are applied")


def ledger() -> Iterator[Finding]:
    from annotation.actions.ledger import mismatched
    from annotation.models import Budget

    try:
        # Verdicts come in while it looks: wrong is what is wrong twice.
        wrong = [str(budget) for budget in mismatched() if budget in mismatched()]
        count = Budget.objects.filter(ended=None).count()
    except DatabaseError:
        return  # said above
    if wrong:
        mend = "End them on the page Budgets and set them anew: a new one counts from its making on. The ledger itself stays as it is."
        yield Finding("Budgets", BROKEN, f"what is spent is not the sum of the charges: {'; '.join(wrong)}", mend)
    else:
        yield Finding("Budgets", FINE, f"{count} in force, each the sum of its charges")


def queue() -> Iterator[Finding]:
    where = f"embedded, in {settings.HOME}" if settings.REDIS_IS_EMBEDDED else "from REDIS_URL"
    try:
        if settings.REDIS_IS_EMBEDDED:
            from config import embedded

            embedded.start(settings.HOME)
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5) as client:
            info = client.info("server")
    except Exception as exc:  # wrong URLs and embedded homes raise more kinds than Redis's own
        mend = (
            f"Read {settings.HOME}/services.log."
            if settings.REDIS_IS_EMBEDDED
            else "Check REDIS_URL, and that the server runs and lets this machine in."
        )
        yield Finding("Redis", BROKEN, f"does not answer ({where}): {exc}", mend)
        return
    name, found = ("Valkey", info["valkey_version"]) if "valkey_version" in info else ("Redis", info["redis_version"])
    yield Finding("Redis", FINE, f"{name} {found} ({where})")
    yield from workers()


def workers() -> Iterator[Finding]:
    from config.celery import app

    busy = app.control.inspect(timeout=1.5).active_queues() or {}
    served = {entry["name"] for entries in busy.values() for entry in entries}
    for name in ("default", "training"):
        if name in served:
            yield Finding("Workers", FINE, f"the queue {name} is served")
        else:
            yield Finding(
                "Workers", WARNING, f"nobody serves the queue {name}", f"celery -A config worker -Q {name} --pool threads (make demo starts its own)"
            )


def accelerator() -> Iterator[Finding]:
    """Asks torch in a process of its own: the web process never loads it."""
    done = subprocess.run([sys.executable, "-c", DEVICE], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        yield Finding("torch", BROKEN, f"cannot be loaded: {last}", "Install requirements/training.txt, torch first.")
        return
    seen = json.loads(done.stdout.splitlines()[-1])
    gpus = [f"{name}, {memory / GIB:.0f} GiB" for name, memory in seen["gpus"]]
    mend = "" if gpus else "Fine for the pocket models. For real ones: a GPU, its driver, and a torch built for CUDA."
    yield Finding("torch", FINE if gpus else WARNING, f"{seen['torch']}, {'; '.join(gpus) or 'no GPU'}", mend)


def disk() -> Iterator[Finding]:
    folder: Path = settings.JOBS_DIR
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as exc:
        yield Finding("Jobs", BROKEN, f"cannot write to {folder}: {exc.strerror}", "Make it writable, or set TOUCHSTONE_JOBS.")
        return
    free = shutil.disk_usage(folder).free / GIB
    state = BROKEN if free < 1 else WARNING if free < 10 else FINE
    yield Finding("Jobs", state, f"{folder}, {free:.0f} GiB free", "" if state == FINE else "Make room, or set TOUCHSTONE_JOBS to a larger disk.")


def pocket() -> Iterator[Finding]:
    ready = (settings.POCKET_BASE / "model.safetensors").exists()
    yield Finding("Pocket base", FINE if ready else WARNING, str(settings.POCKET_BASE), "" if ready else "python -m training.pocket.pretrain")


def chromium() -> Iterator[Finding]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    yield Finding("Chromium", FINE if path else WARNING, path or "not found", "" if path else "Needed by browser tests alone: apt install chromium")


LOOKS: list[Callable[[], Iterator[Finding]]] = [python, packages, environment, database, ledger, queue, accelerator, disk, pocket, chromium]


def _pins(path: Path) -> dict[str, str]:
    """{package: version} of a requirements file."""
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    pairs = (line.split("==", 1) for line in lines if "==" in line)
    return {name.split("[")[0].lower().replace("_", "-"): pin for name, pin in pairs}


def _installed(name: str) -> str:
    """Without a local part such as +cpu; empty where it is not installed."""
    try:
        return version(name).split("+")[0]
    except PackageNotFoundError:
        return ""
