//! The proto file against the specification's own, which a Go module carries: every name, number,
//! option and their order. And against what follows from it here: what must never be logged.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests, outside of a test function"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use prost_reflect::{DescriptorPool, DynamicMessage};
use wharf_testing::requirement;

/// The specification's proto file and the code that its makers generate from it.
const MODULE: &str = "github.com/container-storage-interface/spec@v1.12.0";

fn pool(directory: &Path) -> DescriptorPool {
    let mut compiler = protox::Compiler::new([directory]).unwrap();
    compiler.open_file("csi.proto").unwrap();
    compiler.descriptor_pool()
}

fn ours() -> DescriptorPool {
    pool(&Path::new(env!("CARGO_MANIFEST_DIR")).join("proto"))
}

/// The module's directory, through Go's own client.
fn specification() -> Result<PathBuf, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let download = Command::new("go")
        .args(["mod", "download", "-json", MODULE])
        .current_dir(&directory)
        .env("GOFLAGS", "-mod=mod")
        .output()
        .map_err(|error| format!("no Go ({error})"))?;
    let told = String::from_utf8_lossy(&download.stdout).into_owned();
    let dir = told.lines().find_map(|line| line.trim().strip_prefix("\"Dir\": \""));
    dir.and_then(|rest| rest.split('"').next()).map(PathBuf::from).ok_or_else(|| {
        format!("{MODULE} cannot be had: {}", String::from_utf8_lossy(&download.stderr))
    })
}

/// The file as one message, with its options, which are extensions that the file itself declares,
/// and without its comments.
fn file(pool: &DescriptorPool) -> DynamicMessage {
    let file = pool.get_file_by_name("csi.proto").unwrap();
    let kind = pool.get_message_by_name("google.protobuf.FileDescriptorProto").unwrap();
    let mut message = DynamicMessage::decode(kind, file.encode_to_vec().as_slice()).unwrap();
    message.clear_field_by_name("source_code_info");
    message
}

#[test]
fn every_name_number_and_option_stands_where_the_specification_has_it() {
    let test = "every_name_number_and_option_stands_where_the_specification_has_it";
    let specification = match specification() {
        Ok(directory) => directory,
        Err(missing) => {
            assert!(!requirement::is_met(test, &[missing]));
            return;
        }
    };
    let (ours, theirs) = (file(&ours()), file(&pool(&specification)));
    // Part by part, so that a difference is shown with its surroundings and not with the whole.
    for (field, own) in ours.fields() {
        let other = theirs.get_field(&field);
        match (own.as_list(), other.as_list()) {
            (Some(own), Some(other)) => {
                for (own, other) in own.iter().zip(other) {
                    assert_eq!(own.to_string(), other.to_string());
                }
                assert_eq!(own.len(), other.len(), "{}", field.name());
            }
            _ => assert_eq!(own.to_string(), other.to_string(), "{}", field.name()),
        }
    }
    assert_eq!(ours.to_string(), theirs.to_string());
}

#[test]
fn messages_with_secrets_cannot_be_printed() {
    let pool = ours();
    let secret = pool.get_extension_by_name("csi.v1.csi_secret").unwrap();
    let is_marked = |field: &prost_reflect::FieldDescriptor| {
        field.options().get_extension(&secret).as_bool() == Some(true)
    };
    let build = include_str!("../build.rs");
    let holders: Vec<String> = pool
        .all_messages()
        .filter(|message| message.fields().any(|field| is_marked(&field)))
        .map(|message| message.full_name().to_owned())
        .collect();
    assert!(holders.len() > 15, "{holders:?}");
    for name in holders {
        assert!(build.contains(&format!("\".{name}\"")), "{name} is missing from build.rs");
    }
}
