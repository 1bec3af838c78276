//! What is wrong, and what nobody owns: reading, and for `ocinet gc` removal.

pub mod check;
pub mod doctor;
mod flaw;
pub mod orphans;
pub mod seen_again;
