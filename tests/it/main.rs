//! Black-box tests of the gateway: the real binary, real sockets, a scripted provider.

mod harness;
mod support;
