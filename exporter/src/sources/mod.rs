//! One file a source: what it asks, and what it makes of the answer. Each fails by itself.

pub mod conntrack;
pub mod hooks;
pub mod links;
pub mod nft;
pub mod pools;
pub mod process;
pub mod records;
mod stamp;
