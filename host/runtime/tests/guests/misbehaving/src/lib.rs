//! Components that do what they must not, and one that does as little as it may. The tests of
//! `wharf-runtime` say what becomes of each deed.

#[cfg(feature = "auth")]
mod auth;
#[cfg(not(any(feature = "auth", feature = "node-only")))]
mod backend;
#[cfg(feature = "node-only")]
mod node_only;

#[cfg(feature = "wasi")]
#[allow(warnings, reason = "generated code")]
mod wasi_bindings {
    wit_bindgen::generate!({
        inline: "
            package test:sleeper;
            world sleeper {
                import wasi:io/poll@0.2.0;
                import wasi:clocks/monotonic-clock@0.2.0;
            }
            package wasi:io@0.2.0 {
                interface poll {
                    resource pollable { block: func(); }
                }
            }
            package wasi:clocks@0.2.0 {
                interface monotonic-clock {
                    use wasi:io/poll@0.2.0.{pollable};
                    subscribe-duration: func(nanoseconds: u64) -> pollable;
                }
            }
        ",
        world: "sleeper",
        generate_all,
    });
}
