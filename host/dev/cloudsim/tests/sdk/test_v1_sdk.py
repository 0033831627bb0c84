"""aliyun-python-sdk-core and -ecs (RPC HMAC-SHA1) against a simulated region. Their endpoint is a host name; the port goes with it."""

import json

from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.auth.credentials import StsTokenCredential
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest
from aliyunsdkecs.request.v20140526 import (
    AttachDiskRequest,
    CreateDiskRequest,
    DeleteDiskRequest,
    DescribeDisksRequest,
    DetachDiskRequest,
    TagResourcesRequest,
)

from region import ADMIN, INSTANCE, REGION, REGION_ID, ZONE, endpoint, run, wait_for

CLIENT = AcsClient(ADMIN["accessKeyId"], ADMIN["accessKeySecret"], REGION_ID)


def ask(request, client=CLIENT, **params):
    request.set_endpoint(endpoint("ecs"))
    request.set_protocol_type("http")
    request.set_accept_format("json")
    for name, value in params.items():
        getattr(request, f"set_{name}")(value)
    return json.loads(client.do_action_with_exception(request))


def refused(call, status, code):
    try:
        call()
    except ServerException as error:
        assert (error.get_http_status(), error.get_error_code()) == (status, code), repr(error)
        return
    raise AssertionError(f"not refused: {code}")


def disk(disk_id):
    found = ask(DescribeDisksRequest.DescribeDisksRequest(), DiskIds=json.dumps([disk_id]))["Disks"]["Disk"]
    return found[0] if found else None


def a_disk_lives_its_life():
    tags = [{"Key": "Käse & co", "Value": "a+b/c *~"}]
    disk_id = ask(CreateDiskRequest.CreateDiskRequest(), ZoneId=ZONE, Size=20, DiskCategory="cloud_essd", Tags=tags)["DiskId"]
    wait_for("it is available", lambda: disk(disk_id)["Status"] == "Available")
    assert disk(disk_id)["Tags"]["Tag"] == [{"TagKey": "Käse & co", "TagValue": "a+b/c *~"}]
    on = dict(InstanceId=INSTANCE["id"], DiskId=disk_id)
    ask(AttachDiskRequest.AttachDiskRequest(), **on)
    wait_for("it is attached", lambda: disk(disk_id)["Status"] == "In_use")
    ask(TagResourcesRequest.TagResourcesRequest(), ResourceType="disk", ResourceIds=[disk_id], Tags=[{"Key": "old", "Value": "sdk"}])
    assert {"TagKey": "old", "TagValue": "sdk"} in disk(disk_id)["Tags"]["Tag"]
    ask(DetachDiskRequest.DetachDiskRequest(), **on)
    wait_for("it is detached", lambda: disk(disk_id)["Status"] == "Available")
    ask(DeleteDiskRequest.DeleteDiskRequest(), DiskId=disk_id)
    assert disk(disk_id) is None


def errors_carry_status_and_code():
    refused(lambda: ask(DeleteDiskRequest.DeleteDiskRequest(), DiskId="d-none"), 404, "InvalidDiskId.NotFound")


def a_wrong_secret_is_refused():
    wrong = AcsClient(ADMIN["accessKeyId"], "not the secret", REGION_ID)
    try:
        ask(DescribeDisksRequest.DescribeDisksRequest(), wrong)
    except ServerException as error:
        # This SDK compares the server's string to sign with its own: equal strings mean that the secret is wrong.
        assert error.get_http_status() == 400 and error.get_error_code() in ("SignatureDoesNotMatch", "InvalidAccessKeySecret"), repr(error)
        return
    raise AssertionError("not refused")


def forms_and_temporary_keys_are_signed_too():
    request = CommonRequest(endpoint("sts"), "2015-04-01", "AssumeRole")
    request.set_protocol_type("http")
    request.set_method("POST")
    request.add_query_param("RoleArn", f"acs:ram::{REGION['account']}:role/disk")
    request.add_body_params("RoleSessionName", "old-sdk")
    keys = json.loads(CLIENT.do_action_with_exception(request))["Credentials"]
    credential = StsTokenCredential(keys["AccessKeyId"], keys["AccessKeySecret"], keys["SecurityToken"])
    temporary = AcsClient(region_id=REGION_ID, credential=credential)
    ask(DescribeDisksRequest.DescribeDisksRequest(), temporary)


run(a_disk_lives_its_life, errors_carry_status_and_code, a_wrong_secret_is_refused, forms_and_temporary_keys_are_signed_too)
