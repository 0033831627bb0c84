"""alibabacloud_ecs20140526 and alibabacloud_sts20150401 (ACS3-HMAC-SHA256) against a simulated region."""

import os

from alibabacloud_ecs20140526 import models as ecs
from alibabacloud_ecs20140526.client import Client as Ecs
from alibabacloud_sts20150401 import models as sts
from alibabacloud_sts20150401.client import Client as Sts
from alibabacloud_tea_openapi.models import Config

from region import ADMIN, INSTANCE, REGION, REGION_ID, ZONE, endpoint, run, wait_for


def config(service, access_key_id=ADMIN["accessKeyId"], access_key_secret=ADMIN["accessKeySecret"], token=None):
    return Config(
        access_key_id=access_key_id,
        access_key_secret=access_key_secret,
        security_token=token,
        endpoint=endpoint(service),
        region_id=REGION_ID,
        protocol="http",
    )


CLIENT = Ecs(config("ecs"))
ROLE = f"acs:ram::{REGION['account']}:role/disk"


def refused(call, status, code):
    """The call must fail, with this status and code as the SDK sees them."""
    try:
        call()
    except Exception as error:  # The SDK has one class per kind of failure; what counts is in the fields.
        assert (getattr(error, "statusCode", None) or getattr(error, "status_code", None), error.code) == (status, code), repr(error)
        return
    raise AssertionError(f"not refused: {code}")


def disk(disk_id, client=CLIENT):
    found = client.describe_disks(ecs.DescribeDisksRequest(region_id=REGION_ID, disk_ids=f'["{disk_id}"]')).body.disks.disk
    return found[0] if found else None


def create(**changes):
    asked = dict(region_id=REGION_ID, zone_id=ZONE, size=20, disk_category="cloud_essd") | changes
    disk_id = CLIENT.create_disk(ecs.CreateDiskRequest(**asked)).body.disk_id
    wait_for("the disk is available", lambda: disk(disk_id).status == "Available")
    return disk_id


def a_disk_lives_its_life():
    disk_id = create(
        disk_name="sdk-disk",
        performance_level="PL1",
        multi_attach="Disabled",
        encrypted=True,
        client_token="sdk-1",
        tag=[ecs.CreateDiskRequestTag(key="k8s.aliyun.com", value="true"), ecs.CreateDiskRequestTag(key="Käse & co", value="a+b/c *~")],
    )
    found = disk(disk_id)
    assert (found.size, found.category, found.performance_level, found.encrypted) == (20, "cloud_essd", "PL1", True)
    assert {tag.tag_key: tag.tag_value for tag in found.tags.tag} == {"k8s.aliyun.com": "true", "Käse & co": "a+b/c *~"}
    on = dict(instance_id=INSTANCE["id"], disk_id=disk_id)
    CLIENT.attach_disk(ecs.AttachDiskRequest(**on))
    wait_for("it is attached", lambda: disk(disk_id).status == "In_use")
    found = disk(disk_id)
    assert [attachment.instance_id for attachment in found.attachments.attachment] == [INSTANCE["id"]]
    link = os.path.join(INSTANCE["by_id"], f"virtio-{found.serial_number}")
    wait_for("the node sees it", lambda: os.path.islink(link))
    with open(link, "r+b") as device:
        device.write(b"wharf")
        assert device.seek(0, os.SEEK_END) == 20 << 30
        CLIENT.resize_disk(ecs.ResizeDiskRequest(disk_id=disk_id, new_size=40, type="online"))
        assert device.seek(0, os.SEEK_END) == 40 << 30
    refused(lambda: CLIENT.delete_disk(ecs.DeleteDiskRequest(disk_id=disk_id)), 403, "IncorrectDiskStatus")
    snapshot = CLIENT.create_snapshot(ecs.CreateSnapshotRequest(disk_id=disk_id, snapshot_name="sdk-snapshot")).body.snapshot_id
    describe = ecs.DescribeSnapshotsRequest(region_id=REGION_ID, snapshot_ids=f'["{snapshot}"]')
    wait_for("the snapshot is made", lambda: CLIENT.describe_snapshots(describe).body.snapshots.snapshot[0].status == "accomplished")
    CLIENT.delete_snapshot(ecs.DeleteSnapshotRequest(snapshot_id=snapshot, force=True))
    CLIENT.detach_disk(ecs.DetachDiskRequest(**on))
    wait_for("it is detached", lambda: disk(disk_id).status == "Available")
    assert not os.path.lexists(link)
    CLIENT.delete_disk(ecs.DeleteDiskRequest(disk_id=disk_id))
    assert disk(disk_id) is None


def equal_client_tokens_make_one_disk():
    asked = ecs.CreateDiskRequest(region_id=REGION_ID, zone_id=ZONE, size=20, disk_category="cloud_essd", client_token="sdk-2")
    first = CLIENT.create_disk(asked).body.disk_id
    assert CLIENT.create_disk(asked).body.disk_id == first
    asked.size = 21
    refused(lambda: CLIENT.create_disk(asked), 400, "IdempotentParameterMismatch")
    wait_for("it is available", lambda: disk(first).status == "Available")
    CLIENT.delete_disk(ecs.DeleteDiskRequest(disk_id=first))


def tags_are_set_listed_and_taken_away():
    disk_id = create()
    on = dict(region_id=REGION_ID, resource_type="disk", resource_id=[disk_id])
    CLIENT.tag_resources(ecs.TagResourcesRequest(**on, tag=[ecs.TagResourcesRequestTag(key=f"t{n}", value=str(n)) for n in range(3)]))
    CLIENT.untag_resources(ecs.UntagResourcesRequest(**on, tag_key=["t1"]))
    listed = CLIENT.list_tag_resources(ecs.ListTagResourcesRequest(**on)).body.tag_resources.tag_resource
    assert {tag.tag_key: tag.tag_value for tag in listed} == {"t0": "0", "t2": "2"}
    by_tag = ecs.DescribeDisksRequest(region_id=REGION_ID, tag=[ecs.DescribeDisksRequestTag(key="t2", value="2")])
    assert [found.disk_id for found in CLIENT.describe_disks(by_tag).body.disks.disk] == [disk_id]
    CLIENT.delete_disk(ecs.DeleteDiskRequest(disk_id=disk_id))


def a_change_of_kind_is_a_task():
    disk_id = create(size=500)
    change = dict(disk_id=disk_id, performance_level="PL2")
    refused(lambda: CLIENT.modify_disk_spec(ecs.ModifyDiskSpecRequest(**change, dry_run=True)), 400, "DryRunOperation")
    task = CLIENT.modify_disk_spec(ecs.ModifyDiskSpecRequest(**change)).body.task_id
    tasks = ecs.DescribeTasksRequest(region_id=REGION_ID, task_ids=task)
    wait_for("the task is finished", lambda: CLIENT.describe_tasks(tasks).body.task_set.task[0].task_status == "Finished")
    assert disk(disk_id).performance_level == "PL2"
    CLIENT.modify_disk_attribute(ecs.ModifyDiskAttributeRequest(disk_id=disk_id, disk_name="renamed"))
    assert disk(disk_id).disk_name == "renamed"
    CLIENT.delete_disk(ecs.DeleteDiskRequest(disk_id=disk_id))


def snapshots_are_taken_together_and_usable_at_once():
    disks = [create(tag=[ecs.CreateDiskRequestTag(key="together", value="true")]) for _ in range(2)]
    asked = ecs.CreateSnapshotGroupRequest(region_id=REGION_ID, name="together", disk_id=disks, client_token="sdk-group")
    group = CLIENT.create_snapshot_group(asked).body.snapshot_group_id
    describe = ecs.DescribeSnapshotGroupsRequest(region_id=REGION_ID, snapshot_group_id=[group])
    told = lambda: CLIENT.describe_snapshot_groups(describe).body.snapshot_groups.snapshot_group[0]
    assert sorted(one.source_disk_id for one in told().snapshots.snapshot) == sorted(disks)
    assert all(one.available for one in told().snapshots.snapshot)
    copy = create(size=None, snapshot_id=told().snapshots.snapshot[0].snapshot_id)
    wait_for("the group is made", lambda: told().status == "accomplished")
    tags = CLIENT.describe_tags(ecs.DescribeTagsRequest(region_id=REGION_ID, tag=[ecs.DescribeTagsRequestTag(key="together")])).body.tags.tag
    assert [(tag.tag_value, tag.resource_type_count.disk) for tag in tags] == [("true", 2)]
    CLIENT.delete_snapshot_group(ecs.DeleteSnapshotGroupRequest(region_id=REGION_ID, snapshot_group_id=group))
    for disk_id in [*disks, copy]:
        CLIENT.delete_disk(ecs.DeleteDiskRequest(disk_id=disk_id))


def the_catalog_is_read():
    assert [region.region_id for region in CLIENT.describe_regions(ecs.DescribeRegionsRequest()).body.regions.region] == [REGION_ID]
    zones = CLIENT.describe_zones(ecs.DescribeZonesRequest(region_id=REGION_ID)).body.zones.zone
    assert [zone.zone_id for zone in zones] == REGION["zones"]
    instances = CLIENT.describe_instances(ecs.DescribeInstancesRequest(region_id=REGION_ID)).body.instances.instance
    assert [instance.instance_id for instance in instances] == [instance["id"] for instance in REGION["instances"]]
    types = ecs.DescribeInstanceTypesRequest(instance_types=[instances[0].instance_type])
    assert CLIENT.describe_instance_types(types).body.instance_types.instance_type[0].disk_quantity == 17
    offered = ecs.DescribeAvailableResourceRequest(region_id=REGION_ID, destination_resource="DataDisk", zone_id=ZONE)
    zone = CLIENT.describe_available_resource(offered).body.available_zones.available_zone[0]
    values = [resource.value for resource in zone.available_resources.available_resource[0].supported_resources.supported_resource]
    assert "cloud_essd" in values


def errors_carry_status_and_code():
    refused(lambda: CLIENT.attach_disk(ecs.AttachDiskRequest(instance_id="i-none", disk_id="d-none")), 404, "InvalidInstanceId.NotFound")
    refused(lambda: CLIENT.attach_disk(ecs.AttachDiskRequest(instance_id=INSTANCE["id"], disk_id="d-none")), 404, "InvalidDiskId.NotFound")
    refused(lambda: CLIENT.delete_disk(ecs.DeleteDiskRequest(disk_id="d-none")), 404, "InvalidDiskId.NotFound")
    refused(lambda: create(zone_id="cn-wharf-1z"), 404, "InvalidZoneId.NotFound")
    refused(lambda: create(size=1), 403, "InvalidDiskSize.NotSupported")
    refused(lambda: create(region_id="cn-other"), 404, "InvalidRegionId.NotFound")


def a_wrong_secret_is_refused():
    describe = ecs.DescribeDisksRequest(region_id=REGION_ID)
    wrong = Ecs(config("ecs", access_key_secret="not the secret"))
    refused(lambda: wrong.describe_disks(describe), 400, "SignatureDoesNotMatch")
    nobody = Ecs(config("ecs", access_key_id="LTAInobody"))
    refused(lambda: nobody.describe_disks(describe), 404, "InvalidAccessKeyId.NotFound")
    made_up = Ecs(config("ecs", token="made up"))
    refused(lambda: made_up.describe_disks(describe), 400, "InvalidSecurityToken.Malformed")


def a_role_can_be_assumed():
    client = Sts(config("sts"))
    assert client.get_caller_identity().body.identity_type == "Account"
    node = Sts(config("sts", INSTANCE["accessKeyId"], INSTANCE["accessKeySecret"]))
    assert node.get_caller_identity().body.identity_type == "RAMUser"
    answer = client.assume_role(sts.AssumeRoleRequest(role_arn=ROLE, role_session_name="sdk", duration_seconds=900)).body
    use(answer.credentials)


def a_service_account_can_assume_a_role():
    with open(os.environ["WHARF_OIDC_TOKEN"], encoding="utf-8") as file:
        token = file.read()
    # The SDK signs nothing here, but its constructor wants a client; it may have no keys.
    client = Sts(Config(endpoint=endpoint("sts"), region_id=REGION_ID, protocol="http"))
    asked = dict(oidcprovider_arn=os.environ["WHARF_OIDC_PROVIDER"], role_arn=ROLE, role_session_name="sdk")
    use(client.assume_role_with_oidc(sts.AssumeRoleWithOIDCRequest(**asked, oidctoken=token)).body.credentials)
    wrong = sts.AssumeRoleWithOIDCRequest(**asked, oidctoken="a.b.c")
    refused(lambda: client.assume_role_with_oidc(wrong), 400, "AuthenticationFail.OIDCToken.Invalid")


def use(keys):
    temporary = dict(access_key_id=keys.access_key_id, access_key_secret=keys.access_key_secret, token=keys.security_token)
    Ecs(config("ecs", **temporary)).describe_disks(ecs.DescribeDisksRequest(region_id=REGION_ID))
    assert Sts(config("sts", **temporary)).get_caller_identity().body.identity_type == "AssumedRoleUser"


run(
    a_disk_lives_its_life,
    equal_client_tokens_make_one_disk,
    tags_are_set_listed_and_taken_away,
    a_change_of_kind_is_a_task,
    snapshots_are_taken_together_and_usable_at_once,
    the_catalog_is_read,
    errors_carry_status_and_code,
    a_wrong_secret_is_refused,
    a_role_can_be_assumed,
    a_service_account_can_assume_a_role,
)
