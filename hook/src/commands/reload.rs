//! `ocinet reload`: puts the rules back that somebody flushed.

use ocinet_shared::kernel::nft::Nft;
use ocinet_shared::state::{Danger, StateDir, StateError};

use crate::error::Error;
use crate::lifecycle::restore;
use crate::lifecycle::restore::link_filters;
use crate::log;
use crate::state::forwarding::turned;

/// Puts back every rule and every element of a living container and its network, in one transaction. A host on which
/// ocinet never made its tables needs none.
pub(super) fn run(state: &StateDir, if_missing: bool) -> Result<(), Error> {
    if state.ids()?.is_empty() && turned(state)?.is_ok_and(|turned| turned.is_empty()) {
        return Ok(());
    }
    let mut nft = Nft::open()?;
    if if_missing && !restore::is_incomplete(state, &mut nft)? {
        return Ok(());
    }
    match state.check() {
        // It makes no file there, and judges what it reads file by file.
        Err(error @ StateError::Unsafe { danger: Danger::Inside | Danger::Link, .. }) => log::warn(error),
        checked => checked?,
    }
    let restored = restore::restore(state, &mut nft);
    nft.close();
    link_filters::restore(state, &restored?)
}
