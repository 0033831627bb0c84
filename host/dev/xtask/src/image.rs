//! `cargo xtask image`: what a cluster runs, as OCI layouts, without a container daemon. Two images
//! that share their layers: one for controllers and nodes, and one with `s3fs` upon it for the
//! supervisor of mounts. The same sources and system packages give the same bytes.

mod files;
mod layer;
mod layout;
mod trial;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;

use self::files::Tree;
use self::layer::Layer;
use self::layout::Image;
use crate::binary::{self, Company};
use crate::build_backends;
use crate::command::announce;
use crate::dist;
use crate::packages::{self, Need};
use crate::tally::Tally;
use crate::workspace::Workspace;

/// Components that an image carries, and where: what `wharf provide` gets.
const COMPONENTS: [&str; 4] = ["auth.wasm", "disk.wasm", "nas.wasm", "oss.wasm"];
const COMPONENTS_DIRECTORY: &str = "usr/share/wharf/components";

/// Programs that the host starts, by the names that it starts them by.
const PROGRAMS: [&str; 7] =
    ["blkid", "e2fsck", "mkfs.ext3", "mkfs.ext4", "resize2fs", "mkfs.xfs", "xfs_growfs"];
/// Files that these programs, or the HTTP client, read.
const FILES: [&str; 2] = ["/etc/mke2fs.conf", "/etc/ssl/certs/ca-certificates.crt"];

/// Where certificate authorities come from.
const AUTHORITIES: Need = Need::of("update-ca-certificates", &["ca-certificates"]);
/// The dynamic loader's own word on what a program needs.
const LDD: Need = Need::of("ldd", &["libc-bin"]);
/// What goes into an image, and collects it.
pub const NEEDS: &[Need] =
    &[packages::EXT, packages::XFS, packages::BLKID, packages::S3FS, AUTHORITIES, LDD];

/// Writes the images as OCI layouts, ready for `skopeo copy oci:DIR docker://…`.
#[derive(Args)]
pub struct Options {
    /// Where to; unset: `target/image`.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// This binary instead of a new static one.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// The command.
pub fn run(options: &Options) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    packages::ensure(NEEDS)?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => dist::build(&workspace)?,
    };
    let out = options.out.clone().unwrap_or_else(|| workspace.target.join("image"));
    let images = Images::assemble(&workspace, &binary)?;
    for (image, directory) in images.write(&out)? {
        println!("    {}: {}", directory.display(), image);
    }
    Ok(ExitCode::SUCCESS)
}

/// For the table of parts: the same twice, and every program in it runs in it.
pub fn part(workspace: &Workspace) -> Result<Tally> {
    // The static one takes more minutes than a run of CI has; what is collected around it is alike.
    let binary = binary::build(workspace, Company::Tests)?;
    let home = workspace.target.join("image-trial");
    let mut digests = Vec::new();
    for name in ["first", "second"] {
        let out = home.join(name);
        let images = Images::assemble(workspace, &binary)?.write(&out)?;
        digests.push(images.into_iter().map(|(image, _)| image.digest).collect::<Vec<_>>());
    }
    let mut tally = Tally::default();
    let [first, second] = digests.as_slice() else { anyhow::bail!("two images, twice") };
    ensure!(first == second, "built twice, the images differ: {first:?}, {second:?}");
    tally.pass();
    for name in ["wharf", "wharf-s3fs"] {
        let root = home.join(name);
        trial::unpack(&home.join("first").join(name), &root)?;
        match trial::run(&root, name == "wharf-s3fs") {
            Ok(()) => tally.pass(),
            Err(error) => tally.failures.push(format!("{name}: {error:#}")),
        }
    }
    Ok(tally)
}

/// Both images, before they are written.
struct Images {
    system: Layer,
    product: Layer,
    helpers: Layer,
}

impl Images {
    fn assemble(workspace: &Workspace, binary: &Path) -> Result<Self> {
        let components = build_backends::all(workspace, None)?;
        announce("collecting programs, libraries and components");
        let mut system = Tree::with_usual_directories();
        for program in PROGRAMS {
            system.add_program(program)?;
        }
        for file in FILES {
            system.add_file(Path::new(file))?;
        }
        // What changes with every build comes last, so that the rest is fetched once.
        let mut product = Tree::default();
        product.add_binary(binary, "usr/bin/wharf", &system)?;
        for component in COMPONENTS {
            let at = format!("{COMPONENTS_DIRECTORY}/{component}");
            product.put(&at, fs::read(components.join(component)).context(component)?, 0o644);
        }
        let mut helpers = Tree::default();
        helpers.add_program("s3fs")?;
        helpers.leave_out(&[&system, &product]);
        Ok(Self {
            system: Layer::of(&system)?,
            product: Layer::of(&product)?,
            helpers: Layer::of(&helpers)?,
        })
    }

    fn write(&self, out: &Path) -> Result<Vec<(Image, PathBuf)>> {
        let version = env!("CARGO_PKG_VERSION");
        let of = |name: &str, layers: &[&Layer]| -> Result<(Image, PathBuf)> {
            let directory = out.join(name);
            Ok((layout::write(&directory, version, layers)?, directory))
        };
        Ok(vec![
            of("wharf", &[&self.system, &self.product])?,
            of("wharf-s3fs", &[&self.system, &self.product, &self.helpers])?,
        ])
    }
}
