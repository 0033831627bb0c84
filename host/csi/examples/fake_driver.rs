//! A CSI driver without a cloud and without a kernel, to run conformance suites against the front
//! end alone:
//!
//! ```text
//! cargo run -p wharf-csi --example fake_driver -- unix:///tmp/fake/csi.sock /tmp/sanity
//! csi-sanity --csi.endpoint /tmp/fake/csi.sock --csi.mountdir /tmp/sanity/mount --csi.stagingdir
//! /tmp/sanity/stage
//! ```

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use wharf_core::controller::Controller;
use wharf_core::node::NodeService;
use wharf_core::ports::Clock;
use wharf_csi::{DEFAULT_DRAIN, Driver, endpoint, serve};
use wharf_testing::fakes::{FakeBackend, FakeNode, RealClock, generous_policy};

const NAME: &str = "fake.csi.example";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(root)) = (arguments.next(), arguments.next()) else {
        return Err(
            "usage: fake_driver <endpoint> <directory that holds every staging and target \
                    path>"
                .into(),
        );
    };
    let socket = endpoint::parse(&address)?;
    let clock: Arc<dyn Clock> = Arc::new(RealClock::default());
    let backend = Arc::new(FakeBackend::new(NAME));
    let node = Arc::new(FakeNode::with_real_paths());
    let driver = Driver {
        name: NAME.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        controller: Some(Arc::new(Controller::new(NAME, backend.clone(), Arc::clone(&clock)))),
        node: Some(Arc::new(NodeService::new(
            NAME,
            backend,
            node,
            Arc::clone(&clock),
            generous_policy(),
        ))),
        clock,
        allowed_roots: vec![PathBuf::from(root)],
        drain: DEFAULT_DRAIN,
        registration: None,
        observer: None,
    };
    let mut terminate = signal(SignalKind::terminate())?;
    serve(driver, &socket, async move {
        terminate.recv().await;
    })
    .await?;
    Ok(())
}
