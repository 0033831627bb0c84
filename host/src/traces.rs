//! Traces of `wharf csi`: a CSI call, the calls of components in it, and their requests to clouds.
//! For the feature `otlp` of this crate; a build without it has none of the libraries, and refuses
//! a configuration that asks for traces.
//!
//! What is sent is what the log says at level `debug`: methods, drivers, volumes, actions, codes
//! and the cloud's ids of requests. No URL, no header, no body, no option. Call-outs of FlexVolume
//! have no traces.

use std::sync::Arc;

use tokio::runtime::Handle;
use wharf_csi::CallObserver;
use wharf_runtime::RuntimeObserver;

use crate::config::Config;

#[cfg(feature = "otlp")]
mod collector;
#[cfg(feature = "otlp")]
mod spans;

/// Whether this build can make traces.
pub const ARE_BUILT: bool = cfg!(feature = "otlp");

/// Who makes spans of what happens.
pub struct Traces {
    /// Of calls of the front end.
    pub calls: Arc<dyn CallObserver>,
    /// Of what components do in them.
    pub components: Arc<dyn RuntimeObserver>,
    /// Sends what is left, for two seconds at most.
    pub finish: Box<dyn FnOnce() + Send>,
}

/// Begins to make traces, if the configuration or the environment names a collector. Nobody is
/// asked for that. An address or a file of authorities that is none is a line of the log: a
/// variable may be set for all pods of a cluster, and volumes do not depend on it.
#[cfg(feature = "otlp")]
pub fn start(config: &Config, role: &'static str, handle: &Handle) -> Option<Traces> {
    let sender = collector::sender(&config.traces, role, handle);
    let sender = sender.unwrap_or_else(|why| {
        tracing::error!(why, "no traces are made");
        None
    });
    let sender = Arc::new(sender?);
    let recorder = Arc::new(spans::Recorder::new(Arc::clone(&sender)));
    Some(Traces {
        calls: Arc::clone(&recorder) as Arc<dyn CallObserver>,
        components: recorder,
        finish: Box::new(move || {
            if let Err(error) = sender.finish() {
                tracing::warn!(error, "the last traces were not sent");
            }
        }),
    })
}

/// There are none in this build.
#[cfg(not(feature = "otlp"))]
pub fn start(_: &Config, _: &'static str, _: &Handle) -> Option<Traces> {
    None
}
