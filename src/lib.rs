//! Thinkwire: a gateway for streamed language-model reasoning.
//!
//! Every conversation has one append-only, numbered [`journal`]. A [`generation`] is the only thing that writes to it:
//! it runs a provider's wire [`protocol`] through [`upstream`]. Everything else reads: [`http`] through a cursor and a
//! [`dialect`], the recorder of the [`store`] through its own place in the log. `docs/architecture.md` has the map.
//!
//! Imports run in one direction, and a test holds them to it:
//! `event`, `config` ← `protocol`, `dialect`, `journal` ← `store`, `upstream` ← `generation` ← `http` ← `server` ← `cli`.
#![warn(missing_docs)]

pub mod cli;
pub mod config;
pub mod dialect;
pub mod event;
pub mod generation;
pub mod http;
pub mod journal;
pub mod protocol;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod upstream;
