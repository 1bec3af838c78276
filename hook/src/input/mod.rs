//! Text in, checked values out.

pub mod annotations;
pub mod config;
pub mod labels;
pub mod nearest;
pub mod oci_bundle;
pub mod oci_state;
pub mod request;
