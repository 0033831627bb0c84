"""What both scripts share: the region's description, a table of checks, and waiting."""

import json
import os
import socket
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


def found_by_host(domain):
    """The base URL of object storage under a name of its own, which here leads to the region, buckets before it included."""
    real = socket.getaddrinfo

    def found(host, *rest, **more):
        is_own = isinstance(host, str) and (host == domain or host.endswith("." + domain))
        return real("127.0.0.1" if is_own else host, *rest, **more)

    socket.getaddrinfo = found
    return f"http://{domain}:{endpoint('oss').rsplit(':', 1)[1]}"


def temporary_keys():
    """Access key id, secret and token of a role."""
    from aliyunsdkcore.client import AcsClient
    from aliyunsdkcore.request import CommonRequest

    request = CommonRequest(endpoint("sts"), "2015-04-01", "AssumeRole")
    request.set_protocol_type("http")
    request.set_method("POST")
    request.add_query_param("RoleArn", f"acs:ram::{REGION['account']}:role/oss")
    request.add_query_param("RoleSessionName", "oss-sdk")
    client = AcsClient(ADMIN["accessKeyId"], ADMIN["accessKeySecret"], REGION_ID)
    keys = json.loads(client.do_action_with_exception(request))["Credentials"]
    return keys["AccessKeyId"], keys["AccessKeySecret"], keys["SecurityToken"]


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
