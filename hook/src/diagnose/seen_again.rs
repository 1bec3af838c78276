//! What is still so when it is looked at again.

use std::thread::sleep;
use std::time::Duration;

use crate::error::Error;

/// What is still so when it is looked at again, a little later: starts and stops that are under way come to their end
/// meanwhile. Where there is nothing, it is looked at once.
///
/// # Errors
/// Those of `look`.
pub fn seen_again<T: PartialEq>(mut look: impl FnMut() -> Result<Vec<T>, Error>) -> Result<Vec<T>, Error> {
    const LOOKS: usize = 2;
    const LATER: Duration = Duration::from_millis(250);
    let mut seen = look()?;
    for _ in 0..LOOKS {
        if seen.is_empty() {
            break;
        }
        sleep(LATER);
        let again = look()?;
        seen.retain(|one| again.contains(one));
    }
    Ok(seen)
}
