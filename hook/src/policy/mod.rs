//! What the administrator allows.

pub mod rules;
mod special_purpose;
