//! An image as a directory that `skopeo`, `crane` and container runtimes read: the OCI image
//! layout.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use oci_spec::image::{
    Arch, ConfigBuilder, Descriptor, DescriptorBuilder, Digest, ImageConfigurationBuilder,
    ImageIndexBuilder, ImageManifestBuilder, MediaType, OciLayoutBuilder, Os, PlatformBuilder,
    RootFsBuilder,
};

use super::layer::{self, Layer};

/// Nothing in an image tells when it was built.
const CREATED: &str = "1970-01-01T00:00:00Z";
const PATH: &str = "PATH=/usr/sbin:/usr/bin";

/// What was written.
#[derive(Debug)]
pub struct Image {
    /// Of its manifest: what `image.digest` of the chart takes.
    pub digest: String,
    /// Bytes that are fetched.
    compressed: u64,
    /// Bytes on a node.
    unpacked: u64,
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        write!(
            f,
            "{} MiB to fetch, {} MiB on a node, {}",
            mib(self.compressed),
            mib(self.unpacked),
            self.digest
        )
    }
}

/// Writes the image over whatever is in the directory.
pub fn write(directory: &Path, version: &str, layers: &[&Layer]) -> Result<Image> {
    let blobs = directory.join("blobs/sha256");
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(&blobs).with_context(|| format!("cannot make {}", blobs.display()))?;
    let put = |bytes: &[u8], media: MediaType| -> Result<DescriptorBuilder> {
        let digest = layer::digest(bytes);
        let (_, name) = digest.split_once(':').context("a digest without a colon")?;
        fs::write(blobs.join(name), bytes)?;
        let parsed: Digest = digest.parse()?;
        let size = u64::try_from(bytes.len())?;
        Ok(DescriptorBuilder::default().media_type(media).digest(parsed).size(size))
    };
    let config =
        put(configuration(version, layers)?.as_bytes(), MediaType::ImageConfig)?.build()?;
    let layer_descriptors = layers
        .iter()
        .map(|layer| Ok(put(&layer.blob, MediaType::ImageLayerGzip)?.build()?))
        .collect::<Result<Vec<Descriptor>>>()?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageManifest)
        .config(config)
        .layers(layer_descriptors)
        .build()?;
    let manifest = put(manifest.to_string()?.as_bytes(), MediaType::ImageManifest)?
        .platform(PlatformBuilder::default().architecture(Arch::default()).os(Os::Linux).build()?)
        .annotations(HashMap::from([(
            "org.opencontainers.image.ref.name".to_owned(),
            version.to_owned(),
        )]))
        .build()?;
    let digest = manifest.digest().to_string();
    let index = ImageIndexBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageIndex)
        .manifests(vec![manifest])
        .build()?;
    fs::write(directory.join("index.json"), index.to_string()?)?;
    let layout = OciLayoutBuilder::default().image_layout_version("1.0.0").build()?;
    fs::write(directory.join("oci-layout"), layout.to_string()?)?;
    let sizes = layers.iter().map(|layer| u64::try_from(layer.blob.len()).unwrap_or(u64::MAX));
    Ok(Image {
        digest,
        compressed: sizes.sum(),
        unpacked: layers.iter().map(|layer| layer.unpacked).sum(),
    })
}

fn configuration(version: &str, layers: &[&Layer]) -> Result<String> {
    // One label: the crate keeps labels in a map without an order.
    let labels =
        HashMap::from([("org.opencontainers.image.version".to_owned(), version.to_owned())]);
    let run = ConfigBuilder::default()
        .entrypoint(vec!["/usr/bin/wharf".to_owned()])
        .env(vec![PATH.to_owned()])
        .labels(labels)
        .build()?;
    let root = RootFsBuilder::default()
        .typ("layers")
        .diff_ids(layers.iter().map(|layer| layer.diff_id.clone()).collect::<Vec<_>>())
        .build()?;
    let configuration = ImageConfigurationBuilder::default()
        .created(CREATED)
        .architecture(Arch::default())
        .os(Os::Linux)
        .config(run)
        .rootfs(root)
        .build()?;
    Ok(configuration.to_string()?)
}
