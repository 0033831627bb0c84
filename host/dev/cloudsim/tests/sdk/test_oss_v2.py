"""alibabacloud_oss_v2 (signatures V1 and V4, in headers and in URLs) against a simulated region."""

import os

import alibabacloud_oss_v2 as oss
import requests

from region import ADMIN, REGION_ID, endpoint, found_by_host, run, temporary_keys

PATH_STYLE = f"http://{endpoint('oss')}"
HOST_STYLE = found_by_host(f"oss-{REGION_ID}.aliyuncs.com")


def client(version="v4", base=PATH_STYLE, keys=(ADMIN["accessKeyId"], ADMIN["accessKeySecret"]), **changes):
    config = oss.config.load_default()
    config.credentials_provider = oss.credentials.StaticCredentialsProvider(*keys)
    config.region = REGION_ID
    config.endpoint = base
    config.signature_version = version
    config.retry_max_attempts = 1
    for name, value in changes.items():
        setattr(config, name, value)
    return oss.Client(config)


def refused(call, status, code):
    """The call must fail, with this status and code as the SDK sees them."""
    try:
        call()
    except oss.exceptions.OperationError as error:
        service = error.unwrap()
        assert isinstance(service, oss.exceptions.ServiceError), repr(error)
        assert (service.status_code, service.code) == (status, code), repr(error)
        assert service.request_id, repr(error)
        return
    raise AssertionError(f"not refused: {code}")


def each_signature_and_style(test):
    """Runs a test in a bucket of its own for each."""
    for version, base, style in [("v1", PATH_STYLE, "path"), ("v4", PATH_STYLE, "path"), ("v1", HOST_STYLE, "host"), ("v4", HOST_STYLE, "host")]:
        one, name = client(version, base), f"v2-{version}-{style}"
        one.put_bucket(oss.PutBucketRequest(bucket=name, acl="private", create_bucket_configuration=oss.CreateBucketConfiguration(storage_class="IA")))
        test(one, name)
        one.delete_bucket(oss.DeleteBucketRequest(bucket=name))


def a_bucket_is_made_described_and_deleted():
    def test(one, name):
        info = one.get_bucket_info(oss.GetBucketInfoRequest(bucket=name)).bucket_info
        assert (info.name, info.storage_class, info.location, info.acl) == (name, "IA", f"oss-{REGION_ID}", "private"), info
        assert one.get_bucket_location(oss.GetBucketLocationRequest(bucket=name)).location == f"oss-{REGION_ID}"
        one.put_bucket_acl(oss.PutBucketAclRequest(bucket=name, acl="public-read"))
        assert one.get_bucket_acl(oss.GetBucketAclRequest(bucket=name)).acl == "public-read"
        assert one.is_bucket_exist(name) and not one.is_bucket_exist("v2-none-there")
        assert one.get_bucket_stat(oss.GetBucketStatRequest(bucket=name)).object_count == 0
        listed = [found.name for page in one.list_buckets_paginator().iter_page(oss.ListBucketsRequest(prefix="v2-", max_keys=1)) for found in page.buckets]
        assert name in listed

    each_signature_and_style(test)


def an_object_is_written_read_described_and_deleted():
    def test(one, name):
        key = "a b/ü+&?#%/*~'.txt"
        content = os.urandom(300_000)
        one.put_object(oss.PutObjectRequest(bucket=name, key=key, body=content, metadata={"mode": "33188"}, content_type="text/x-wharf"))
        got = one.get_object(oss.GetObjectRequest(bucket=name, key=key))
        assert got.body.read() == content and got.metadata["mode"] == "33188" and got.content_type == "text/x-wharf"
        part = oss.GetObjectRequest(bucket=name, key=key, range_header="bytes=299990-300050", range_behavior="standard")
        assert one.get_object(part).body.read() == content[299_990:]
        beyond = oss.GetObjectRequest(bucket=name, key=key, range_header="bytes=300000-", range_behavior="standard")
        refused(lambda: one.get_object(beyond), 416, "InvalidRange")
        assert one.head_object(oss.HeadObjectRequest(bucket=name, key=key)).content_length == len(content)
        one.copy_object(oss.CopyObjectRequest(bucket=name, key="copy", source_key=key))
        assert one.head_object(oss.HeadObjectRequest(bucket=name, key="copy")).metadata["mode"] == "33188"
        assert one.append_object(oss.AppendObjectRequest(bucket=name, key="log", position=0, body=b"one")).next_position == 3
        assert one.append_object(oss.AppendObjectRequest(bucket=name, key="log", position=3, body=b"two")).next_position == 6
        url = one.presign(oss.GetObjectRequest(bucket=name, key=key)).url
        assert requests.get(url).content == content
        assert requests.get(url + "x").status_code == 403
        keys = [found.key for page in one.list_objects_v2_paginator().iter_page(oss.ListObjectsV2Request(bucket=name, max_keys=2)) for found in page.contents]
        assert keys == sorted([key, "copy", "log"])
        objects = [oss.DeleteObject(key=key) for key in keys]
        deleted = one.delete_multiple_objects(oss.DeleteMultipleObjectsRequest(bucket=name, encoding_type="url", objects=objects))
        assert [found.key for found in deleted.deleted_objects] == keys
        assert not one.is_object_exist(name, key)

    each_signature_and_style(test)


def an_object_is_brought_in_parts():
    def test(one, name):
        content = os.urandom(450_000)
        named = dict(bucket=name, key="big")
        upload = one.initiate_multipart_upload(oss.InitiateMultipartUploadRequest(**named)).upload_id
        parts = []
        for number, start in enumerate(range(0, len(content), 200_000), 1):
            body = content[start : start + 200_000]
            part = one.upload_part(oss.UploadPartRequest(**named, upload_id=upload, part_number=number, body=body))
            parts.append(oss.UploadPart(part_number=number, etag=part.etag))

        def complete(parts):
            whole = oss.CompleteMultipartUpload(parts=parts)
            return one.complete_multipart_upload(oss.CompleteMultipartUploadRequest(**named, upload_id=upload, complete_multipart_upload=whole))

        refused(lambda: complete([oss.UploadPart(part_number=9, etag=parts[0].etag)]), 400, "InvalidPart")
        assert len(one.list_parts(oss.ListPartsRequest(**named, upload_id=upload)).parts) == 3
        assert complete(parts).key == "big"
        assert one.get_object(oss.GetObjectRequest(**named)).body.read() == content
        refused(lambda: complete(parts), 404, "NoSuchUpload")
        one.uploader(part_size=100 * 1024, parallel_num=2).upload_file(oss.PutObjectRequest(bucket=name, key="uploaded"), __file__)
        with open(__file__, "rb") as file:
            assert one.get_object(oss.GetObjectRequest(bucket=name, key="uploaded")).body.read() == file.read()
        one.copier(part_size=100 * 1024, multipart_copy_threshold=100 * 1024).copy(oss.CopyObjectRequest(bucket=name, key="copied", source_key="big"))
        assert one.get_object(oss.GetObjectRequest(bucket=name, key="copied")).body.read() == content
        for key in ["big", "copied", "uploaded"]:
            one.delete_object(oss.DeleteObjectRequest(bucket=name, key=key))

    each_signature_and_style(test)


def errors_carry_status_code_and_request_id():
    for version in ["v1", "v4"]:
        one = client(version)
        refused(lambda: one.get_bucket_info(oss.GetBucketInfoRequest(bucket="v2-none-there")), 404, "NoSuchBucket")
        refused(lambda: one.put_bucket(oss.PutBucketRequest(bucket="of-another")), 409, "BucketAlreadyExists")
        refused(lambda: one.head_object(oss.HeadObjectRequest(bucket="v2-none-there", key="key")), 404, "NoSuchBucket")
        wrong = client(version, keys=(ADMIN["accessKeyId"], "wrong"))
        refused(lambda: wrong.list_buckets(oss.ListBucketsRequest()), 403, "SignatureDoesNotMatch")
        nobody = client(version, keys=("LTAInobody", "wrong"))
        refused(lambda: nobody.list_buckets(oss.ListBucketsRequest()), 403, "InvalidAccessKeyId")
    elsewhere = client(region="cn-elsewhere")
    refused(lambda: elsewhere.list_buckets(oss.ListBucketsRequest()), 400, "InvalidArgument")


def temporary_keys_and_signed_headers_work():
    keys = temporary_keys()
    for version in ["v1", "v4"]:
        one = client(version, keys=keys, additional_headers=["user-agent"])
        one.put_bucket(oss.PutBucketRequest(bucket="v2-sts"))
        one.put_object(oss.PutObjectRequest(bucket="v2-sts", key="key", body=b"content"))
        assert requests.get(one.presign(oss.GetObjectRequest(bucket="v2-sts", key="key")).url).content == b"content"
        without = client(version, keys=keys[:2])
        refused(lambda: without.get_object(oss.GetObjectRequest(bucket="v2-sts", key="key")), 403, "InvalidAccessKeyId")
        one.delete_object(oss.DeleteObjectRequest(bucket="v2-sts", key="key"))
        one.delete_bucket(oss.DeleteBucketRequest(bucket="v2-sts"))


run(
    a_bucket_is_made_described_and_deleted,
    an_object_is_written_read_described_and_deleted,
    an_object_is_brought_in_parts,
    errors_carry_status_code_and_request_id,
    temporary_keys_and_signed_headers_work,
)
