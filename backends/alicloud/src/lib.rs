//! Alibaba Cloud's OpenAPI for backends: RPC-style calls over the SDK's HTTP, one table from the
//! cloud's error codes to the contract's error kinds, the instance metadata service, timestamps,
//! percent-encoding, and the hash of names. A library of the backends beside it; knows no driver
//! and no key.

pub mod codes;
pub mod fnv;
pub mod metadata;
pub mod percent;
pub mod refusal;
pub mod rpc;
pub mod timestamp;

pub use fnv::fnv128a;
pub use refusal::{Failure, Refusal};
pub use rpc::{Api, RpcCall};
