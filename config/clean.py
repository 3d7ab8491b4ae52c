"""Stop the embedded services of this machine's installation and delete what they hold: `python -m config.clean [--force]`.

Uses the standard library alone, so that it works when the environment is broken or gone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path

from config.embedded import Places, default_home, read_state, wait_until_stopped

# Only what Touchstone makes: a home may have been pointed at a folder that holds other things.
OURS = ("postgresql-18", "valkey", "run", "programs", "jobs", "secret-key", "logs", "demo.lock", "users.lock", "start.lock", "keeper.lock")
OURS_BY_PATTERN = ("services.*", "beat-schedule*")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--force", action="store_true", help="do not ask first")
    force = parser.parse_args().force
    home = Path(os.environ.get("TOUCHSTONE_HOME") or default_home()).expanduser()
    jobs = Path(os.environ.get("TOUCHSTONE_JOBS") or home / "jobs").expanduser()
    doomed = found(home, jobs)
    if not doomed:
        print(f"Nothing to delete in {home}.")
        return 0
    print(f"This deletes the database, the queue and all jobs of {home}:")
    print("\n".join(f"  {path}" for path in doomed))
    if not force and not _agreed():
        print("Nothing was deleted.")
        return 1
    if not stop(home):
        print("The embedded services did not stop within 30 s; nothing was deleted. See services.log there.", file=sys.stderr)
        return 1
    for path in found(home, jobs):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    if home.exists() and not any(home.iterdir()):
        home.rmdir()
    print("Deleted.")
    return 0


def found(home: Path, jobs: Path) -> list[Path]:
    names = [home / name for name in OURS] + [path for pattern in OURS_BY_PATTERN for path in sorted(home.glob(pattern))] + [jobs]
    places = Places(home).sockets
    return [path for path in dict.fromkeys([*names, places]) if path.exists() or path.is_symlink()]


def stop(home: Path) -> bool:
    """End a running demo, then the services. True once nothing runs."""
    if not home.exists():
        return True
    try:
        os.kill(int((home / "demo.lock").read_text()), signal.SIGTERM)
    except (OSError, ValueError):
        pass
    else:
        if wait_until_stopped(home, 20):
            return True
    if keeper := read_state(Places(home)).get("keeper"):
        os.kill(keeper, signal.SIGTERM)
    return wait_until_stopped(home)


def _agreed() -> bool:
    try:
        return input("Delete it? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


if __name__ == "__main__":
    sys.exit(main())
