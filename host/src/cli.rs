//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use wharf_core::manifest::ComponentName;

use crate::http::Listen;

/// Where the configuration is unless `--config` says otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/wharf/wharf.toml";

/// Wharf serves volumes to kubelet over CSI and FlexVolume; what a cloud needs is decided by
/// sandboxed WebAssembly backends that can be replaced while it runs.
#[derive(Debug, Parser)]
#[command(
    name = "wharf",
    version,
    arg_required_else_help = true,
    after_help = "Examples:
  wharf config init --cloud NAME                write /etc/wharf/wharf.toml, in ten lines
  wharf csi --role node                         serve every driver to this node's kubelet
  wharf backend install disk disk.wasm --activate   replace it; nothing restarts
  wharf backend rollback disk                   go back to the one before
  wharf authenticator install auth auth.wasm --activate
  wharf doctor                                  what is wrong with this machine, and what mends it
  wharf status --watch                          what serves, and what it waits for
  wharf migrate < objects.yaml                  what becomes of an earlier driver's objects
  wharf config check                            name every mistake of the configuration
  wharf flexvolume install --dir /usr/libexec/kubernetes/kubelet-plugins/volume/exec

Exit codes: 0 done, 1 failed or found something (the message says what to do), 2 the command line or
what is read is wrong."
)]
pub struct Cli {
    /// The configuration.
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve CSI until a signal: one socket for each driver.
    Csi(Csi),
    /// Look at and replace backends. A running server and every later FlexVolume call see the
    /// change at once.
    #[command(subcommand)]
    Backend(Component),
    /// The same for authenticators: components that get credentials and sign requests, for every
    /// account that names them in the configuration. They have names of their own.
    #[command(subcommand)]
    Authenticator(Component),
    /// Put the components of a directory into the store, as the start of a container does with
    /// those of its image. One becomes active where none is, or where the active one came in this
    /// way too; what a person made active stays, and is named.
    Provide {
        /// The directory with the `.wasm` files.
        directory: PathBuf,
        /// Text, or JSON for scripts.
        #[arg(long, value_enum, default_value = "text")]
        output: Output,
    },
    /// Check the configuration, and show what is in force.
    #[command(subcommand)]
    Config(Config),
    /// Put FlexVolume drivers in place, or take them away.
    #[command(subcommand)]
    Flexvolume(Flexvolume),
    /// Keep the mounts that helper programs serve, and look at them. One `serve` runs on each node,
    /// beside everything else: what it started goes on whatever is updated or killed.
    #[command(subcommand)]
    Mounts(Mounts),
    /// Show what serves on this machine: servers and their drivers, which generation of each
    /// component serves and why not the active one, what is under way and what it waits for, how
    /// requests leave, volumes and mounts.
    Status(Status),
    /// Look at this machine for what would keep volumes from working, and say what mends it.
    /// Nothing is changed, and nothing that hangs holds it up.
    #[command(after_help = "Examples:
  wharf doctor                       everything
  wharf doctor --role node           on a node that has no keys
  wharf doctor --only endpoints      one examination

Exit codes: 0 nothing is wrong, 1 there are findings, or the configuration cannot be used.")]
    Doctor(Doctor),
    /// Read the objects of an earlier driver on standard input (YAML or JSON, as kubectl prints
    /// them), and say of each what carries over to Wharf as it is, what changes, and what a person
    /// has to decide; and write what to apply, with the way back at each step.
    ///
    /// Judged are PersistentVolumes, StorageClasses, VolumeSnapshotClasses and CSIDrivers of the
    /// drivers in the configuration, by the installed components themselves. Claims, nodes, pods
    /// and VolumeAttachments say what is in use. No cloud and no cluster is asked, nothing is
    /// changed, and no command is written that could delete, detach or unmount anything.
    #[command(after_help = "Examples:
  kubectl get pv,pvc,sc,nodes,volumeattachments -o yaml | wharf migrate
  kubectl get pv,pvc,nodes,pods -A -o json | kubectl -n kube-system exec -i POD -- wharf migrate
  … | wharf migrate --to-csi                   how each volume of FlexVolume becomes one of CSI
  … | wharf migrate --to-csi --output json     the same for scripts: steps, what to apply, ways back

A volume of FlexVolume goes on as it is once `wharf flexvolume install` has put the drivers in
place; it need not become a volume of CSI. examples/kubernetes/migration.md is the guide.

Exit codes: 0 everything carries over, 1 something needs a person (or the configuration cannot be
used), 2 the input cannot be read.")]
    Migrate(Migrate),
    /// Print a completion script for a shell.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
}

/// `wharf csi`.
#[derive(Debug, Args)]
pub struct Csi {
    /// Which services to offer.
    #[arg(long, value_enum, default_value = "all")]
    pub role: Role,
    /// Only this driver.
    #[arg(long, value_name = "NAME")]
    pub driver: Option<String>,
    /// The socket of that one driver, as `unix:///path/csi.sock`. Otherwise it is
    /// `<sockets>/<driver>/csi.sock`, and `controller.sock` there for `--role controller`.
    #[arg(long, value_name = "URL", requires = "driver")]
    pub endpoint: Option<String>,
    /// Leave it to node-driver-registrar to register the drivers with kubelet. Otherwise a process
    /// with the node's role does that itself, at
    /// `<kubelet-root>/plugins_registry/<driver>-reg.sock`. Two that register one driver are in
    /// each other's way.
    #[arg(long)]
    pub no_registration: bool,
    /// Answer `/healthz`, `/readyz` and `/metrics` over HTTP here: `127.0.0.1:9808`,
    /// `0.0.0.0:9808` or `unix:///path`. Unset: as `[http] listen` in the configuration has it, or
    /// nowhere.
    #[arg(long, value_name = "ADDR")]
    pub http: Option<Listen>,
    /// One JSON object per log line.
    #[arg(long)]
    pub log_json: bool,
}

/// `wharf doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// What this machine is there for: what only others need is not looked at.
    #[arg(long, value_enum, default_value = "all")]
    pub role: Role,
    /// One examination, in this process.
    #[arg(long, value_name = "NAME")]
    pub only: Option<String>,
    /// Name every examination, and look at nothing.
    #[arg(long)]
    pub list: bool,
    /// How long each examination may take before it is killed, which is a finding then.
    #[arg(long, value_name = "SECONDS", default_value_t = crate::doctor::WITHIN_SECONDS)]
    pub within: u64,
    /// kubelet's FlexVolume plugin directory.
    #[arg(
        long,
        value_name = "PLUGIN_DIR",
        default_value = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"
    )]
    pub dir: PathBuf,
    /// Text, or JSON for scripts.
    #[arg(long, value_enum, default_value = "text")]
    pub output: Output,
}

/// `wharf migrate`.
#[derive(Debug, Args)]
pub struct Migrate {
    /// Write also how each volume of FlexVolume becomes a volume of CSI. It is not needed: they go
    /// on as they are.
    #[arg(long)]
    pub to_csi: bool,
    /// Write also how each volume of CSI becomes a volume of FlexVolume: the way back for volumes
    /// that were made by CSI. It is not needed: they go on as they are.
    #[arg(long, conflicts_with = "to_csi")]
    pub to_flexvolume: bool,
    /// Text with commands to run, or all of it as a document for scripts.
    #[arg(long, value_enum, default_value = "text")]
    pub output: Written,
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Written {
    /// For people.
    Text,
    /// For scripts.
    Json,
    /// The same in YAML.
    Yaml,
}

/// `wharf status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Look again every two seconds, until it is ended.
    #[arg(long)]
    pub watch: bool,
    /// Text, or JSON for scripts: one document, with --watch one a line.
    #[arg(long, value_enum, default_value = "text")]
    pub output: Output,
}

impl Role {
    /// Its word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Node => "node",
            Self::All => "all",
        }
    }
}

/// Which CSI services a process offers, besides Identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Create, delete, attach, detach, expand: one process for a cluster, beside the sidecars.
    Controller,
    /// Stage, publish, grow: one process on every node.
    Node,
    /// Both.
    All,
}

/// `wharf backend` and `wharf authenticator`.
#[derive(Debug, Subcommand)]
pub enum Component {
    /// Check a component and put it into the store. It is compiled, instantiated and asked to
    /// describe itself first; a broken one is refused and displaces nothing.
    #[command(allow_missing_positional = true)]
    Install {
        /// The name that it is installed under, which is the one that it gives itself. Has to be
        /// said where something is installed under that name already.
        name: Option<ComponentName>,
        /// The component (`.wasm`).
        file: PathBuf,
        /// Make it active as well.
        #[arg(long)]
        activate: bool,
        /// Grant what it asks for and the configuration does not, in `grants.d/NAME.toml` beside
        /// the configuration. Without this, the difference is shown.
        #[arg(long)]
        grant: bool,
        /// The account that signs what is granted, where that is not clear.
        #[arg(long, value_name = "NAME", requires = "grant")]
        account: Option<String>,
        /// Text, or JSON for scripts.
        #[arg(long, value_enum, default_value = "text")]
        output: Output,
    },
    /// Every one and its active generation.
    List {
        /// Text, or JSON for scripts.
        #[arg(long, value_enum, default_value = "text")]
        output: Output,
    },
    /// One of them: its generations, what it asks for and what it is granted.
    Show {
        /// Its name.
        name: ComponentName,
        /// Text, or JSON for scripts.
        #[arg(long, value_enum, default_value = "text")]
        output: Output,
    },
    /// Make a checked generation active. Calls under way end on the old one.
    Activate {
        /// Its name.
        name: ComponentName,
        /// Which; the newest checked one unless named.
        generation: Option<u64>,
        /// Text, or JSON for scripts.
        #[arg(long, value_enum, default_value = "text")]
        output: Output,
    },
    /// Make the generation before the active one active again.
    Rollback {
        /// Its name.
        name: ComponentName,
        /// Text, or JSON for scripts.
        #[arg(long, value_enum, default_value = "text")]
        output: Output,
    },
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For scripts.
    Json,
}

/// `wharf config`.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Name everything that is wrong with the configuration: where, what, and what to write
    /// instead. Looks at the configuration alone; `wharf doctor` looks at the machine.
    #[command(after_help = "Exit codes: 0 nothing is wrong, 1 it cannot be used.")]
    Check {
        /// Text, or JSON for scripts.
        #[arg(long, value_enum, default_value = "text")]
        output: Output,
    },
    /// Write a short configuration that a cloud's preset makes complete. Values come from `--set`,
    /// or else from the environment, and stand in the file afterwards.
    #[command(after_help = "Examples:
  wharf config init --cloud CLOUD --set region=cn-hangzhou
  wharf config init --cloud CLOUD --driver disk --print")]
    Init {
        /// The preset.
        #[arg(long, value_name = "NAME")]
        cloud: String,
        /// Values of its parameters.
        #[arg(long, value_name = "PARAMETER=VALUE")]
        set: Vec<String>,
        /// Which drivers to serve, by the preset's names; all unless named.
        #[arg(long, value_name = "NAME")]
        driver: Vec<String>,
        /// Print it, and write nothing.
        #[arg(long)]
        print: bool,
    },
    /// Print every setting that is in force and where it comes from: a line of the file, a preset,
    /// an environment variable, or the default. Values that may be secret are not shown.
    Show {
        /// Text (which is TOML), or JSON for scripts.
        #[arg(long, value_enum, default_value = "text")]
        output: Output,
    },
}

/// `wharf flexvolume`.
#[derive(Debug, Subcommand)]
pub enum Flexvolume {
    /// Put every FlexVolume driver of the configuration in place, atomically. Repeating it changes
    /// nothing.
    Install {
        /// kubelet's plugin directory.
        #[arg(
            long,
            value_name = "PLUGIN_DIR",
            default_value = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"
        )]
        dir: PathBuf,
        /// Write the configuration there first, and have the drivers read that one: for a
        /// container, whose own files the node does not see.
        #[arg(long, value_name = "FILE")]
        copy_config: Option<PathBuf>,
    },
    /// Take them away again. Refused while volumes of theirs are mounted: kubelet could not
    /// unmount them any more.
    Uninstall {
        /// Although volumes are mounted.
        #[arg(long)]
        force: bool,
        /// kubelet's plugin directory.
        #[arg(
            long,
            value_name = "PLUGIN_DIR",
            default_value = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"
        )]
        dir: PathBuf,
    },
}

/// `wharf mounts`.
#[derive(Debug, Subcommand)]
pub enum Mounts {
    /// Supervise mounts until it is ended; their helpers live on, and the next one adopts them. A
    /// FlexVolume call-out starts it by itself where none runs.
    Serve {
        /// Its socket and the helpers' private directories; unset: the configuration's.
        #[arg(long, value_name = "DIR")]
        run: Option<PathBuf>,
        /// Its records; unset: below the configuration's `state`.
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
        /// Leave the control group of whoever started it. Not for a service manager or a
        /// container, which know it by that.
        #[arg(long)]
        own_group: bool,
        /// Run `wharf mounts renew` with the configuration when keys of helpers are due. Without
        /// --run or --state, which do without a configuration, that is so.
        #[arg(long)]
        renew: bool,
        /// Answer `/healthz`, `/readyz` and `/metrics` over HTTP here: `127.0.0.1:9809`,
        /// `0.0.0.0:9809` or `unix:///path`.
        #[arg(long, value_name = "ADDR")]
        http: Option<Listen>,
    },
    /// Every mount and its helper.
    List {
        /// The supervisor's directory; unset: the configuration's.
        #[arg(long, value_name = "DIR")]
        run: Option<PathBuf>,
        /// Text, or JSON for scripts.
        #[arg(long, value_enum, default_value = "text")]
        output: Output,
    },
    /// The end of a helper's log.
    Logs {
        /// The supervisor's directory; unset: the configuration's.
        #[arg(long, value_name = "DIR")]
        run: Option<PathBuf>,
        /// The mount's name, as `list` shows it, or its target path.
        mount: String,
    },
    /// Give helpers the keys that their accounts have by now, where those that they have are about
    /// to end or may have changed. A server with the node's role does it by itself. Keys of a
    /// volume's own secret come with kubelet's calls, and with nothing else.
    Renew {
        /// Every mount, due or not: after a key was withdrawn, say.
        #[arg(long)]
        all: bool,
    },
    /// Unmount a target and wait for its helper to end. kubelet needs no such thing: any unmount
    /// ends the helper.
    Unmount {
        /// The supervisor's directory; unset: the configuration's.
        #[arg(long, value_name = "DIR")]
        run: Option<PathBuf>,
        /// The target path.
        target: PathBuf,
    },
}
