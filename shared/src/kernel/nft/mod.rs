//! nftables: the base tables, and the elements that come and go with containers.
//!
//! `base.nft` is the whole rule set, and `parts.rs` tells which of it is made when. `messages.rs` puts elements into messages;
//! `batch.rs` changes them over nfnetlink without starting a process; `listing.rs` reads which there are and what they counted;
//! `places.rs` tells whose elements are; `complete.rs` looks whether the base tables are as ocinet made them; `chains.rs` reads
//! the rules of all tables, other programs' too, and `flowtables.rs` what takes connections past them; `install.rs` is the one
//! place that starts a program, nft: where the tables or a part of them are missing, and for `reload` and `doctor`.

mod batch;
pub mod chains;
mod complete;
pub mod flowtables;
mod install;
pub mod listing;
mod messages;
mod parts;
mod places;

pub use batch::{ChangeError, ElementState, Nft};
pub use complete::{Flaw, flaws};
pub use install::{InstallError, install, refusal, wake};
pub use listing::Counter;
pub use parts::{Part, there as parts_there};
pub use places::{Place, places};
