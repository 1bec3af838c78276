//! What the hook keeps in the state folder, file by file.

pub mod last_error;
