"""Does what act.json in its folder says: print, sleep, exit with a code or raise."""

import json
import os
import sys
import time
from pathlib import Path

act = json.loads((Path(sys.argv[1]) / "act.json").read_text())
print(json.dumps({"arguments": sys.argv[1:], "leads": os.getsid(0) == os.getpid(), "pid": os.getpid()}), flush=True)
time.sleep(act.get("sleep", 0))
if "raise" in act:
    raise ValueError(act["raise"])
sys.exit(act.get("exit"))
