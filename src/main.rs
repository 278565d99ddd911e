//! The `thinkwire` binary.

fn main() {}
