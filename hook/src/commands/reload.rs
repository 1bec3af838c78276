//! `ocinet reload`: puts the rules back that somebody flushed.

use ocinet_shared::kernel::nft::Nft;
use ocinet_shared::record_dir::StateDir;

use crate::error::Error;
use crate::{filters, forwarding, tables};

/// Puts back every rule and every element of a living container and its network, in one transaction. A host on which
/// ocinet never made its tables needs none.
pub(super) fn run(state: &StateDir, if_missing: bool) -> Result<(), Error> {
    if state.ids()?.is_empty() && forwarding::turned(state)?.is_empty() {
        return Ok(());
    }
    state.check()?;
    let mut nft = Nft::open()?;
    if if_missing && !tables::is_incomplete(state, &mut nft)? {
        return Ok(());
    }
    let restored = tables::restore(state, &mut nft);
    nft.close();
    filters::restore(state, &restored?)
}
