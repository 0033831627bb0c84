"""alibabacloud_nas20170626 (ACS3-HMAC-SHA256) against a simulated region whose file systems are directories of this machine."""

import os

from alibabacloud_nas20170626 import models as nas
from alibabacloud_nas20170626.client import Client as Nas
from alibabacloud_tea_openapi.models import Config

from region import ADMIN, REGION, REGION_ID, ZONE, endpoint, run, wait_for

ALL_USERS = dict(user_type="AllUsers")
NETWORK = dict(vpc_id="vpc-wharf")


def client(access_key_secret=ADMIN["accessKeySecret"]):
    return Nas(
        Config(
            access_key_id=ADMIN["accessKeyId"],
            access_key_secret=access_key_secret,
            endpoint=endpoint("nas"),
            region_id=REGION_ID,
            protocol="http",
        )
    )


CLIENT = client()


def refused(call, status, code):
    """The call must fail, with this status and code as the SDK sees them."""
    try:
        call()
    except Exception as error:  # The SDK has one class per kind of failure; what counts is in the fields.
        assert (getattr(error, "statusCode", None) or getattr(error, "status_code", None), error.code) == (status, code), repr(error)
        return
    raise AssertionError(f"not refused: {code}")


def create(**changes):
    asked = dict(protocol_type="NFS", storage_type="Performance") | changes
    return CLIENT.create_file_system(nas.CreateFileSystemRequest(**asked)).body.file_system_id


def described(file_system):
    asked = nas.DescribeFileSystemsRequest(file_system_id=file_system)
    return CLIENT.describe_file_systems(asked).body.file_systems.file_system[0]


def targets(file_system):
    asked = nas.DescribeMountTargetsRequest(file_system_id=file_system)
    return CLIENT.describe_mount_targets(asked).body.mount_targets.mount_target


def delete(file_system):
    CLIENT.delete_file_system(nas.DeleteFileSystemRequest(file_system_id=file_system))
    listed = lambda: CLIENT.describe_file_systems(nas.DescribeFileSystemsRequest()).body.file_systems.file_system
    wait_for("it is gone", lambda: file_system not in [found.file_system_id for found in listed()])


def on_this_machine(file_system):
    """Where its files are."""
    return os.path.join(os.path.dirname(os.environ["WHARF_REGION"]), "nas", file_system)


def a_file_system_lives_its_life():
    file_system = create(
        description="pvc-1",
        client_token="nas-1",
        zone_id=ZONE,
        tag=[nas.CreateFileSystemRequestTag(key="Käse & co", value="a+b/c *~")],
    )
    found = described(file_system)
    assert (found.status, found.description, found.storage_type) == ("Running", "pvc-1", "Performance")
    assert [(tag.key, tag.value) for tag in found.tags.tag] == [("Käse & co", "a+b/c *~")]
    CLIENT.modify_file_system(nas.ModifyFileSystemRequest(file_system_id=file_system, description="renamed"))
    assert described(file_system).description == "renamed"
    target = nas.CreateMountTargetRequest(
        file_system_id=file_system, network_type="Vpc", v_switch_id="vsw-wharf", access_group_name="DEFAULT_VPC_GROUP_NAME", **NETWORK
    )
    domain = CLIENT.create_mount_target(target).body.mount_target_domain
    assert domain.endswith(f".{REGION_ID}.nas.aliyuncs.com"), domain
    wait_for("the mount target is active", lambda: targets(file_system)[0].status == "Active")
    assert [(found.mount_target_domain, found.access_group) for found in targets(file_system)] == [(domain, "DEFAULT_VPC_GROUP_NAME")]
    on = dict(file_system_id=file_system, mount_target_domain=domain)
    CLIENT.modify_mount_target(nas.ModifyMountTargetRequest(**on, status="Inactive"))
    assert targets(file_system)[0].status == "Inactive"
    refused(lambda: CLIENT.delete_file_system(nas.DeleteFileSystemRequest(file_system_id=file_system)), 403, "FileSystem.HasMountTarget")
    CLIENT.delete_mount_target(nas.DeleteMountTargetRequest(**on))
    wait_for("the mount target is gone", lambda: not targets(file_system))
    delete(file_system)
    assert not os.path.exists(on_this_machine(file_system))


def an_extreme_file_system_comes_later():
    file_system = create(file_system_type="extreme", storage_type="advance", capacity=100, zone_id=ZONE)
    listed = lambda: CLIENT.describe_file_systems(nas.DescribeFileSystemsRequest(file_system_type="extreme")).body.file_systems
    wait_for("it is running", lambda: listed().file_system[0].status == "Running")
    assert described(file_system).capacity == 100
    delete(file_system)


def equal_client_tokens_make_one_file_system():
    first = create(client_token="nas-2")
    assert create(client_token="nas-2") == first
    refused(lambda: create(client_token="nas-2", storage_type="Capacity"), 400, "IdempotentParameterMismatch")
    delete(first)


def directories_and_their_quotas():
    file_system = create()
    directory = nas.CreateDirRequest(
        file_system_id=file_system, root_directory="/csi/pvc-1", owner_user_id=123, owner_group_id=12, permission="0750"
    )
    CLIENT.create_dir(directory)
    made = os.stat(os.path.join(on_this_machine(file_system), "csi/pvc-1"))
    assert (made.st_uid, made.st_gid, made.st_mode & 0o7777) == (123, 12, 0o750)
    on = dict(file_system_id=file_system, path="/csi/pvc-1")
    quota = nas.SetDirQuotaRequest(**on, **ALL_USERS, quota_type="Enforcement", size_limit=20)
    assert CLIENT.set_dir_quota(quota).body.success
    told = lambda: CLIENT.describe_dir_quotas(nas.DescribeDirQuotasRequest(file_system_id=file_system)).body.dir_quota_infos
    wait_for("the quota is set", lambda: told()[0].status == "Normal")
    assert [(info.path, info.user_quota_infos[0].size_limit) for info in told()] == [("/csi/pvc-1", 20)]
    assert CLIENT.cancel_dir_quota(nas.CancelDirQuotaRequest(**on, **ALL_USERS)).body.success
    refused(
        lambda: CLIENT.cancel_dir_quota(nas.CancelDirQuotaRequest(**on, **ALL_USERS)), 404, "InvalidParameter.QuotaNotExistOnPath"
    )
    quota.path = "/none"
    refused(lambda: CLIENT.set_dir_quota(quota), 404, "InvalidParameter.DirPathNotExist")
    delete(file_system)


def access_points_come_and_go():
    file_system = create()
    asked = nas.CreateAccessPointRequest(
        file_system_id=file_system,
        access_group="DEFAULT_VPC_GROUP_NAME",
        access_point_name="pvc-1",
        root_directory="/ap/pvc-1",
        owner_user_id=0,
        owner_group_id=0,
        posix_user_id=123,
        posix_group_id=12,
        vsw_id="vsw-wharf",
        **NETWORK,
    )
    made = CLIENT.create_access_point(asked).body.access_point
    on = dict(file_system_id=file_system, access_point_id=made.access_point_id)
    describe = nas.DescribeAccessPointRequest(**on)
    told = lambda: CLIENT.describe_access_point(describe).body.access_point
    wait_for("it is active", lambda: told().status == "Active")
    assert (told().domain_name, told().root_path, told().posix_user.posix_user_id) == (made.access_point_domain, "/ap/pvc-1", 123)
    listed = CLIENT.describe_access_points(nas.DescribeAccessPointsRequest(file_system_id=file_system)).body
    assert [point.access_point_id for point in listed.access_points] == [made.access_point_id]
    CLIENT.delete_access_point(nas.DeleteAccessPointRequest(**on))
    try:
        wait_for("it is gone", lambda: told().status != "Deleting")
    except Exception as error:
        assert error.code == "NotFound", repr(error)
    refused(lambda: CLIENT.delete_access_point(nas.DeleteAccessPointRequest(**on)), 404, "NotFound")
    delete(file_system)


def tags_zones_and_recycle_bins():
    file_system = create()
    on = dict(resource_type="filesystem", resource_id=[file_system])
    CLIENT.tag_resources(nas.TagResourcesRequest(**on, tag=[nas.TagResourcesRequestTag(key=f"t{n}", value=str(n)) for n in range(3)]))
    CLIENT.untag_resources(nas.UntagResourcesRequest(**on, tag_key=["t1"]))
    listed = CLIENT.list_tag_resources(nas.ListTagResourcesRequest(**on)).body.tag_resources.tag_resource
    assert {tag.tag_key: tag.tag_value for tag in listed} == {"t0": "0", "t2": "2"}
    zones = CLIENT.describe_zones(nas.DescribeZonesRequest(region_id=REGION_ID)).body.zones.zone
    assert [zone.zone_id for zone in zones] == REGION["zones"]
    recycle_bin = CLIENT.get_recycle_bin_attribute(nas.GetRecycleBinAttributeRequest(file_system_id=file_system)).body
    assert recycle_bin.recycle_bin_attribute.status == "Disable"
    delete(file_system)


def errors_carry_status_and_code():
    refused(lambda: described("none"), 404, "InvalidFileSystem.NotFound")
    refused(lambda: create(storage_type="floppy"), 400, "InvalidParameter.StorageType")
    refused(
        lambda: client("not the secret").describe_file_systems(nas.DescribeFileSystemsRequest()), 400, "SignatureDoesNotMatch"
    )


run(
    a_file_system_lives_its_life,
    an_extreme_file_system_comes_later,
    equal_client_tokens_make_one_file_system,
    directories_and_their_quotas,
    access_points_come_and_go,
    tags_zones_and_recycle_bins,
    errors_carry_status_and_code,
)
