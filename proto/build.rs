//! Generates messages and stubs without protoc: protox reads the `.proto` files, tonic-prost-build writes Rust.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let sources = [
        "etcd/kv.proto",
        "etcd/rpc.proto",
        "tribunal/peer.proto",
        "tribunal/checkpoint.proto",
    ];
    let files = protox::compile(sources, ["proto"])?;
    // Keys and values share the buffer that they arrived in. Maps iterate in one order on all members.
    let packages = [".mvccpb", ".etcdserverpb", ".tribunal"];
    let builder = packages
        .iter()
        .fold(tonic_prost_build::configure(), |builder, package| {
            builder.bytes(package)
        });
    builder.btree_map(".").emit_rerun_if_changed(false).compile_fds(files)?;
    Ok(())
}
