//! Passwords: `basic_auth_users`, checked with bcrypt.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use ring::hmac;
use ring::rand::SystemRandom;

use crate::http::fair_queue::FairQueue;
use crate::http::web_config::PasswordHash;

/// The hash that is checked for an unknown user, at the cost of a known user's: the time of an answer must not tell which
/// users there are.
const NOBODY: &str = "$2y$10$AwqLSZjmK8GH6LLAErVMAeYvbvn/9E2yF7kIz5hjVsU0AFSw2oAeu";
/// Where a hash says its cost: `$2y$10$…`.
const COST: Range<usize> = 4..6;
/// How many correct passwords are remembered: every request of a client has one, and not each is worth a check.
const REMEMBERED: usize = 100;

/// Checks passwords, one at a time: each takes some tens of milliseconds of a processor by design.
#[derive(Debug)]
pub struct Passwords {
    key: hmac::Key,
    right: Mutex<HashSet<[u8; 32]>>,
    queue: Arc<FairQueue>,
}

impl Passwords {
    /// Nothing is remembered yet.
    ///
    /// # Errors
    /// When the kernel has no random numbers.
    pub fn new() -> Result<Self, ring::error::Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?;
        Ok(Self { key, right: Mutex::default(), queue: Arc::default() })
    }

    /// Whether the Authorization header `given` is that of a user. Passwords are checked one at a time, in the order of
    /// [`FairQueue`].
    pub async fn accept(
        &self,
        users: &BTreeMap<String, PasswordHash>,
        given: Option<&HeaderValue>,
        client: IpAddr,
    ) -> bool {
        let Some((user, password)) = given.and_then(credentials) else { return false };
        let known = users.get(&user).map(PasswordHash::as_str);
        let hash = known.map_or_else(|| self.stand_in(users, &user), str::to_owned);
        let digest = self.digest(&[user.as_bytes(), hash.as_bytes(), &password]);
        if known.is_some() && lock(&self.right).contains(&digest) {
            return true;
        }
        let Some(permit) = self.queue.acquire(client).await else { return false };
        // The thread owns the permit and returns it after the work, even if the client has stopped waiting.
        let work = move || {
            let _permit = permit;
            bcrypt::verify(password, &hash).unwrap_or(false)
        };
        let right = tokio::task::spawn_blocking(work).await.unwrap_or(false);
        if !(right && known.is_some()) {
            return false;
        }
        let mut remembered = lock(&self.right);
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(digest);
        true
    }

    /// [`NOBODY`] at the cost of one of the users: always the same user for the same name.
    fn stand_in(&self, users: &BTreeMap<String, PasswordHash>, name: &str) -> String {
        let number = usize::from(self.digest(&[name.as_bytes()])[0]);
        let costs: Vec<&str> = users.values().filter_map(|hash| hash.as_str().get(COST)).collect();
        let cost = costs.get(number.checked_rem(costs.len()).unwrap_or_default());
        match (NOBODY.get(..COST.start), cost, NOBODY.get(COST.end..)) {
            (Some(kind), Some(cost), Some(rest)) => format!("{kind}{cost}{rest}"),
            _ => NOBODY.to_owned(),
        }
    }

    /// A digest under a key of this process: neither passwords nor their hashes are remembered.
    fn digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&part.len().to_le_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The user and the password of a header (RFC 7617).
fn credentials(header: &HeaderValue) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let user = String::from_utf8(decoded.get(..colon)?.to_vec()).ok()?;
    Some((user, decoded.get(colon + 1..)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> BTreeMap<String, PasswordHash> {
        // At the lowest cost that there is.
        let hash = bcrypt::hash_with_salt("secret", 4, [7; 16]).unwrap().to_string();
        [("alice".to_owned(), PasswordHash::try_from(hash).unwrap())].into()
    }

    fn accepts(passwords: &Passwords, users: &BTreeMap<String, PasswordHash>, text: &str) -> bool {
        let header = HeaderValue::from_str(text).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(passwords.accept(users, Some(&header), IpAddr::from([127, 0, 0, 1])))
    }

    fn basic(credentials: &str) -> String {
        format!("Basic {}", STANDARD.encode(credentials))
    }

    #[test]
    fn a_user_is_known_by_the_password_alone() {
        let (passwords, users) = (Passwords::new().unwrap(), users());
        for _ in 0..2 {
            assert!(accepts(&passwords, &users, &basic("alice:secret")));
            assert!(!accepts(&passwords, &users, &basic("alice:Secret")));
            assert!(!accepts(&passwords, &users, &basic("alice:")));
            assert!(!accepts(&passwords, &users, &basic("bob:secret")));
            let nobodys = "bob:".to_owned() + &"\u{1}".repeat(32);
            assert!(!accepts(&passwords, &users, &basic(&nobodys)), "the hash of nobody is nobody's");
        }
        assert!(accepts(&passwords, &users, &basic("alice:secret").replace("Basic", "basic")));
        for bad in ["", "Basic", "Basic !", "Bearer YWxpY2U6c2VjcmV0", "Basic YWxpY2U="] {
            assert!(!accepts(&passwords, &users, bad), "{bad}");
        }
    }

    #[test]
    fn a_user_who_does_not_exist_costs_as_much_as_one_who_does() {
        let passwords = Passwords::new().unwrap();
        assert_eq!(passwords.stand_in(&BTreeMap::new(), "bob"), NOBODY);
        let expected = format!("$2y$04${}", &NOBODY[7..]);
        assert_eq!(passwords.stand_in(&users(), "bob"), expected);
        let mut users = users();
        let dearer = bcrypt::hash_with_salt("secret", 5, [7; 16]).unwrap().to_string();
        users.insert("carol".to_owned(), PasswordHash::try_from(dearer).unwrap());
        let cost = |name: &str| passwords.stand_in(&users, name)[COST].to_owned();
        let costs: HashSet<String> = (0..50).map(|number| cost(&format!("user{number}"))).collect();
        assert_eq!(costs, HashSet::from(["04".to_owned(), "05".to_owned()]));
        assert_eq!(cost("bob"), cost("bob"));
    }

    #[test]
    fn a_right_password_is_checked_once_until_it_changes() {
        let (passwords, mut users) = (Passwords::new().unwrap(), users());
        assert!(accepts(&passwords, &users, &basic("alice:secret")));
        assert_eq!(lock(&passwords.right).len(), 1);
        users.insert("alice".to_owned(), PasswordHash::try_from(NOBODY.to_owned()).unwrap());
        assert!(!accepts(&passwords, &users, &basic("alice:secret")));
    }
}
