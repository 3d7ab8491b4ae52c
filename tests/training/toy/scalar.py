import sys

from tests.training.toy.distil import run
from training.engine.job import main

if __name__ == "__main__":
    sys.exit(
        main("scalar", {"model": str, "sft": dict, "examples": str, "score_range": list}, {"adapt": "all", "probe": None, "device_batch": None}, run)
    )
