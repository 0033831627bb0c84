//! CSI 1.12 messages, servers and clients, generated from `proto/csi.proto`. Types that carry
//! secrets or mount flags have no `Debug`.

#![allow(
    missing_docs,
    clippy::all,
    clippy::indexing_slicing,
    reason = "generated; the contract is described in the .proto file"
)]

tonic::include_proto!("csi.v1");
