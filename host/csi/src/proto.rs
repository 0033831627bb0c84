//! CSI 1.12 messages, servers and clients, generated from `proto/csi.proto`. Types that carry
//! secrets or mount flags have no `Debug`. Kubelet's plugin registration is in [`registration`].

#![allow(
    missing_docs,
    clippy::all,
    clippy::indexing_slicing,
    reason = "generated; the contract is described in the .proto file"
)]

tonic::include_proto!("csi.v1");

pub mod registration {
    //! `proto/pluginregistration.proto`.

    tonic::include_proto!("pluginregistration");
}
