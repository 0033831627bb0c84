"""What both scripts share: the region's description, a table of checks, and waiting."""

import json
import os
import sys
import time

with open(os.environ["WHARF_REGION"], encoding="utf-8") as file:
    REGION = json.load(file)

REGION_ID = REGION["region"]
ZONE = REGION["zones"][0]
INSTANCE = REGION["instances"][0]
ADMIN = REGION["admin"]


def endpoint(name):
    """host:port of a listener."""
    return REGION["endpoints"][name].removeprefix("http://")


def wait_for(what, ask, seconds=10):
    """Asks until the answer is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


def run(*checks):
    """Runs the checks in their order and prints each; the first that fails ends the script."""
    for check in checks:
        check()
        print(f"ok {check.__name__}", flush=True)
    print(f"{len(checks)} checks passed", file=sys.stderr)
