//! Thinkwire: a gateway for streamed language-model reasoning.
#![warn(missing_docs)]

pub mod cli;
pub mod config;
pub mod event;
pub mod protocol;
pub mod server;
pub mod telemetry;
pub mod upstream;
