//! The drivers that `wharf csi` serves. Each is served by itself: one that cannot have its socket
//! is tried again while the others go on, and the process ends only where none can be served.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use wharf_csi::{Driver, Registration, ServeError};

use crate::config::Config;

/// Between two attempts to serve a driver: another process that has the socket is mostly a
/// predecessor that drains, which takes seconds.
const TRY_AGAIN: Duration = Duration::from_secs(3);

/// One driver of this process, as health checks see it.
pub struct Served {
    /// The CSI driver name.
    pub name: String,
    /// Its CSI socket.
    pub socket: PathBuf,
    /// How kubelet learns of it.
    pub registration: Option<Arc<Registration>>,
    trouble: Mutex<Option<String>>,
}

impl Served {
    /// Not in trouble yet.
    pub fn new(name: String, socket: PathBuf, registration: Option<Registration>) -> Arc<Self> {
        let registration = registration.map(Arc::new);
        Arc::new(Self { name, socket, registration, trouble: Mutex::default() })
    }

    /// Why it is not served, if it is not.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// Where kubelet looks for a driver, and for nobody else's socket.
pub fn registration(config: &Config, driver: &str) -> Registration {
    Registration::at(
        config.kubelet_root.join("plugins_registry").join(format!("{driver}-reg.sock")),
    )
}

/// Serves one of `all` until it is stopped.
///
/// # Errors
/// What is wrong, when trying again would not help, or when no driver at all can be served.
pub async fn keep_serving(
    driver: Driver,
    served: Arc<Served>,
    all: Arc<Vec<Arc<Served>>>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), String> {
    loop {
        served.set_trouble(None);
        let ended = wharf_csi::serve(driver.clone(), &served.socket, stop(stopped.clone())).await;
        let Err(error) = ended else { return Ok(()) };
        let trouble = format!("driver {} at {}: {error}", served.name, served.socket.display());
        served.set_trouble(Some(error.to_string()));
        if !may_pass(&error) || all.iter().all(|served| served.trouble().is_some()) {
            return Err(trouble);
        }
        tracing::error!(
            error = trouble,
            "one driver is not served; the others go on, and it is tried again"
        );
        tokio::select! {
            () = tokio::time::sleep(TRY_AGAIN) => {}
            // An error means that the sender is gone, which is a reason to stop too.
            _ = stopped.wait_for(|stop| *stop) => return Ok(()),
        }
    }
}

async fn stop(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// A name or a path that is wrong stays so.
fn may_pass(error: &ServeError) -> bool {
    match error {
        ServeError::Name(_) | ServeError::AllowedRoot(_) => false,
        ServeError::Socket(_) | ServeError::Transport(_) => true,
    }
}
