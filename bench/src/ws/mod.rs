//! As much of WebSocket (RFC 6455) as the load client needs, and what it does over it.

pub mod fanout;
pub mod frame;
pub mod idle;
pub mod wire;
