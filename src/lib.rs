//! Thinkwire: a gateway for streamed language-model reasoning.
#![warn(missing_docs)]

pub mod config;
pub mod event;
pub mod journal;
pub mod protocol;
pub mod store;
