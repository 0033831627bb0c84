"""oss2 (signatures V1 and V4, in headers and in URLs) against a simulated region."""

import io
import os
import time

import oss2
import requests
from oss2.credentials import StaticCredentialsProvider

from region import ADMIN, REGION_ID, endpoint, found_by_host, run, temporary_keys

PATH_STYLE = f"http://{endpoint('oss')}"
HOST_STYLE = found_by_host(f"oss-{REGION_ID}.aliyuncs.com")


def provider(access_key_id=ADMIN["accessKeyId"], access_key_secret=ADMIN["accessKeySecret"], token=None):
    return StaticCredentialsProvider(access_key_id, access_key_secret, token)


V1 = oss2.ProviderAuth(provider())
V4 = oss2.ProviderAuthV4(provider())


def bucket(name, auth=V4, base=PATH_STYLE):
    return oss2.Bucket(auth, base, name, region=REGION_ID, connect_timeout=10)


def refused(call, status, code):
    """The call must fail, with this status and code as the SDK sees them."""
    try:
        call()
    except oss2.exceptions.ServerError as error:
        assert (error.status, error.code) == (status, code), repr(error)
        assert error.request_id, repr(error)
        return error
    raise AssertionError(f"not refused: {code}")


def each_signature_and_style(test):
    """Runs a test in a bucket of its own for each."""
    for name, auth, base in [("v1-path", V1, PATH_STYLE), ("v4-path", V4, PATH_STYLE), ("v1-host", V1, HOST_STYLE), ("v4-host", V4, HOST_STYLE)]:
        one = bucket(f"oss2-{name}", auth, base)
        one.create_bucket(oss2.BUCKET_ACL_PRIVATE, oss2.models.BucketCreateConfig(oss2.BUCKET_STORAGE_CLASS_IA))
        test(one)
        one.delete_bucket()


def a_bucket_is_made_described_and_deleted():
    def test(one):
        info = one.get_bucket_info()
        assert (info.name, info.storage_class, info.location) == (one.bucket_name, "IA", f"oss-{REGION_ID}"), info.__dict__
        assert info.acl.grant == "private" and info.extranet_endpoint == f"oss-{REGION_ID}.aliyuncs.com"
        assert one.get_bucket_location().location == f"oss-{REGION_ID}"
        one.put_bucket_acl(oss2.BUCKET_ACL_PUBLIC_READ)
        assert one.get_bucket_acl().acl == oss2.BUCKET_ACL_PUBLIC_READ
        tagging = oss2.models.Tagging(oss2.models.TaggingRule())
        tagging.tag_set.add("k8s & co", "a/b <c>")
        one.put_bucket_tagging(tagging)
        assert one.get_bucket_tagging().tag_set.tagging_rule == {"k8s & co": "a/b <c>"}
        one.delete_bucket_tagging()
        assert one.get_bucket_tagging().tag_set.tagging_rule == {}
        service = oss2.Service(one.auth, PATH_STYLE, region=REGION_ID)
        assert one.bucket_name in [found.name for found in service.list_buckets(prefix="oss2-").buckets]

    each_signature_and_style(test)


def an_object_is_written_read_described_and_deleted():
    def test(one):
        key = "a b/ü+&?#%/*~'.txt"
        content = os.urandom(300_000)
        headers = {"x-oss-meta-Mode": "33188", "Content-Type": "text/x-wharf", "Cache-Control": "no-cache"}
        put = one.put_object(key, content, headers=headers)
        assert put.etag and put.crc is not None
        got = one.get_object(key)
        assert got.read() == content and got.headers["x-oss-meta-mode"] == "33188"
        assert got.content_type == "text/x-wharf" and got.headers["Cache-Control"] == "no-cache"
        assert one.get_object(key, byte_range=(10, 19)).read() == content[10:20]
        assert one.get_object(key, byte_range=(None, 5)).read() == content[-5:]
        head = one.head_object(key)
        assert (head.content_length, head.object_type, head.etag) == (len(content), "Normal", put.etag)
        assert one.get_object_meta(key).content_length == len(content)
        assert one.object_exists(key) and not one.object_exists("none")
        refused(lambda: one.get_object(key, headers={"If-None-Match": f'"{put.etag}"'}), 304, "")
        one.put_object("from-a-stream", io.BytesIO(content))
        assert one.get_object("from-a-stream").read() == content
        one.copy_object(one.bucket_name, key, "copy")
        assert one.head_object("copy").headers["x-oss-meta-mode"] == "33188"
        one.update_object_meta("copy", {"x-oss-meta-mode": "33024"})
        assert one.head_object("copy").headers["x-oss-meta-mode"] == "33024"
        url = one.sign_url("GET", key, 60, slash_safe=True)
        assert requests.get(url).content == content
        assert requests.get(url + "x").status_code == 403
        assert one.append_object("log", 0, "one").next_position == 3
        assert one.append_object("log", 3, "two").next_position == 6
        refused(lambda: one.append_object("log", 3, "two"), 409, "PositionNotEqualToLength")
        assert one.get_object("log").read() == b"onetwo"
        keys = [found.key for found in oss2.ObjectIterator(one)]
        assert keys == sorted([key, "copy", "from-a-stream", "log"])
        assert one.batch_delete_objects(keys).deleted_keys == keys
        assert not one.object_exists(key)

    each_signature_and_style(test)


def an_object_is_brought_in_parts():
    def test(one):
        content = os.urandom(450_000)
        upload = one.init_multipart_upload("big", headers={"x-oss-meta-a": "1"}).upload_id
        parts = []
        for number, start in enumerate(range(0, len(content), 200_000), 1):
            part = one.upload_part("big", upload, number, content[start : start + 200_000])
            parts.append(oss2.models.PartInfo(number, part.etag, size=min(200_000, len(content) - start)))
        assert [part.part_number for part in one.list_parts("big", upload).parts] == [1, 2, 3]
        assert [found.upload_id for found in one.list_multipart_uploads().upload_list] == [upload]
        wrong = [oss2.models.PartInfo(1, "0" * 32)] + parts[1:]
        refused(lambda: one.complete_multipart_upload("big", upload, wrong), 400, "InvalidPart")
        refused(lambda: one.delete_bucket(), 409, "BucketNotEmpty")
        one.complete_multipart_upload("big", upload, parts)
        head = one.head_object("big")
        assert head.object_type == "Multipart" and head.headers["x-oss-meta-a"] == "1"
        assert one.get_object("big").read() == content
        refused(lambda: one.upload_part("big", upload, 1, b"x"), 404, "NoSuchUpload")
        upload = one.init_multipart_upload("copied").upload_id
        part = one.upload_part_copy(one.bucket_name, "big", (0, 199_999), "copied", upload, 1)
        one.complete_multipart_upload("copied", upload, [oss2.models.PartInfo(1, part.etag)])
        assert one.get_object("copied").read() == content[:200_000]
        upload = one.init_multipart_upload("dropped").upload_id
        one.upload_part("dropped", upload, 1, b"x")
        one.abort_multipart_upload("dropped", upload)
        refused(lambda: one.abort_multipart_upload("dropped", upload), 404, "NoSuchUpload")
        oss2.resumable_upload(one, "resumed", __file__, multipart_threshold=0, part_size=100 * 1024, num_threads=2)
        with open(__file__, "rb") as file:
            assert one.get_object("resumed").read() == file.read()
        stat = one.get_bucket_stat()
        assert (stat.object_count, stat.multi_part_upload_count) == (3, 0)
        one.batch_delete_objects(["big", "copied", "resumed"])

    each_signature_and_style(test)


def lists_are_paged_and_grouped():
    def test(one):
        keys = [f"dir-{n % 3}/file {n:02}" for n in range(25)] + ["top", "ü"]
        for key in keys:
            one.put_object(key, key)
        assert [found.key for found in oss2.ObjectIterator(one, max_keys=4)] == sorted(keys)
        assert [found.key for found in oss2.ObjectIteratorV2(one, max_keys=4)] == sorted(keys)
        page = one.list_objects(delimiter="/")
        assert (page.prefix_list, [found.key for found in page.object_list]) == (["dir-0/", "dir-1/", "dir-2/"], ["top", "ü"])
        page = one.list_objects_v2(prefix="dir-1/", start_after="dir-1/file 10", fetch_owner=True)
        assert [found.key for found in page.object_list] == sorted(key for key in keys if "dir-1/file 10" < key < "dir-2")
        assert page.object_list[0].owner.id
        one.batch_delete_objects(keys)

    each_signature_and_style(test)


def errors_carry_status_code_and_request_id():
    for auth in [V1, V4]:
        refused(lambda: bucket("none-there", auth).get_object("key"), 404, "NoSuchBucket")
        refused(lambda: bucket("none-there", auth).delete_bucket(), 404, "NoSuchBucket")
        refused(lambda: bucket("of-another", auth).create_bucket(), 409, "BucketAlreadyExists")
        refused(lambda: bucket("of-another", auth).get_bucket_info(), 403, "AccessDenied")
        one = bucket("oss2-errors", auth)
        one.create_bucket()
        one.create_bucket()  # The account may say it again.
        refused(lambda: one.get_object("none"), 404, "NoSuchKey")
        one.put_object("key", "content")
        refused(lambda: one.put_object("key", "other", headers={"x-oss-forbid-overwrite": "true"}), 409, "FileAlreadyExists")
        refused(lambda: one.put_object("key", "other", headers={"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}), 400, "InvalidDigest")
        refused(lambda: one.delete_bucket(), 409, "BucketNotEmpty")
        one.delete_object("key")
        one.delete_object("key")
        one.delete_bucket()


def wrong_keys_and_times_are_refused():
    for make in [oss2.ProviderAuth, oss2.ProviderAuthV4]:
        wrong = bucket("oss2-wrong", make(provider(access_key_secret="wrong")))
        refused(lambda: wrong.create_bucket(), 403, "SignatureDoesNotMatch")
        nobody = bucket("oss2-wrong", make(provider("LTAInobody")))
        refused(lambda: nobody.create_bucket(), 403, "InvalidAccessKeyId")
    elsewhere = oss2.Bucket(V4, PATH_STYLE, "oss2-wrong", region="cn-elsewhere")
    refused(lambda: elsewhere.create_bucket(), 400, "InvalidArgument")
    real, oss2.utils.http_date = oss2.utils.http_date, lambda: real(int(time.time()) - 1000)
    refused(lambda: bucket("oss2-wrong", V1).create_bucket(), 403, "RequestTimeTooSkewed")
    oss2.utils.http_date = real


def temporary_keys_need_their_token_and_make_no_bucket_twice():
    keys = temporary_keys()
    for make in [oss2.ProviderAuth, oss2.ProviderAuthV4]:
        one = bucket("oss2-sts", make(provider(*keys)))
        one.create_bucket()
        refused(lambda: one.create_bucket(), 409, "BucketAlreadyExists")
        one.put_object("key", "content")
        assert requests.get(one.sign_url("GET", "key", 60)).content == b"content"
        without = bucket("oss2-sts", make(provider(*keys[:2])))
        refused(lambda: without.get_object("key"), 403, "InvalidAccessKeyId")
        forged = bucket("oss2-sts", make(provider(*keys[:2], "forged")))
        refused(lambda: forged.get_object("key"), 403, "InvalidSecurityToken")
        one.delete_object("key")
        one.delete_bucket()


def public_buckets_are_open_as_far_as_they_say():
    owner, anybody = bucket("oss2-public"), bucket("oss2-public", oss2.AnonymousAuth())
    owner.create_bucket()
    owner.put_object("key", "content", headers={"x-oss-meta-a": "1"})
    refused(lambda: anybody.get_object("key"), 403, "AccessDenied")
    owner.put_bucket_acl(oss2.BUCKET_ACL_PUBLIC_READ)
    got = anybody.get_object("key")
    assert got.read() == b"content" and got.headers["x-oss-meta-a"] == "1"
    refused(lambda: anybody.put_object("key", "other"), 403, "AccessDenied")
    refused(lambda: anybody.delete_object("key"), 403, "AccessDenied")
    refused(lambda: anybody.get_bucket_info(), 403, "AccessDenied")
    owner.put_bucket_acl(oss2.BUCKET_ACL_PUBLIC_READ_WRITE)
    anybody.put_object("key", "other")
    assert owner.get_object("key").read() == b"other"
    owner.put_object_acl("key", oss2.OBJECT_ACL_PRIVATE)
    assert owner.get_object_acl("key").acl == oss2.OBJECT_ACL_PRIVATE
    refused(lambda: anybody.get_object("key"), 403, "AccessDenied")
    owner.delete_object("key")
    owner.delete_bucket()


run(
    a_bucket_is_made_described_and_deleted,
    an_object_is_written_read_described_and_deleted,
    an_object_is_brought_in_parts,
    lists_are_paged_and_grouped,
    errors_carry_status_code_and_request_id,
    wrong_keys_and_times_are_refused,
    temporary_keys_need_their_token_and_make_no_bucket_twice,
    public_buckets_are_open_as_far_as_they_say,
)
