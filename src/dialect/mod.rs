//! How events look on the wire. Pure: values in, bytes out.

pub mod native;
