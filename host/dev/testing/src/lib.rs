//! What tests of several crates share: doubles that keep state, players of Kubernetes' programs,
//! and a bed of machines that run the real binary against a simulated region. A dev-dependency, and
//! the demonstration's; nothing in the product calls it.

pub mod bed;
pub mod canaries;
pub mod component;
pub mod configuration;
pub mod conformance;
pub mod fakes;
pub mod http_server;
pub mod latency;
pub mod nas_servers;
pub mod nfs_machine;
pub mod nfs_server;
pub mod player;
pub mod requirement;
pub mod snapshot;
pub mod trace;
