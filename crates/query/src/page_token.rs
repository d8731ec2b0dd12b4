//! Page tokens: where a page ended, as opaque text that only Willow can make.
//!
//! ```text
//! version (1 byte), query hash (16), position (postcard), MAC (16)    all in base64url without padding
//! ```
//! The hash covers the scope (what is queried) and the query without its token and limit, so the
//! limit may change from page to page but nothing else that decides which results there are and in
//! what order. The MAC is keyed BLAKE3 over everything before it. A token carries ids and values,
//! no document numbers, so it means the same on every node and after a resource moved.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use willow_model::{ValueRef, limits};

use crate::ast::{Filter, Query};
use crate::position::Position;

const VERSION: u8 = 1;
const HASH_BYTES: usize = 16;
const MAC_BYTES: usize = 16;
/// Separates the key of the MAC from any other use of the same secret.
const KEY_CONTEXT: &str = "willow 2026-11-24 page token MAC v1";

/// The secret that tokens are authenticated with: the same on every node of a cluster.
pub type Secret = [u8; 32];

/// Why a page token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PageTokenError {
    /// Not a token at all.
    #[error("this is not a page token; pass next_page_token of the page before, unchanged")]
    Malformed,
    /// A token of another version.
    #[error("the page token is of another version; start again from the first page")]
    Version,
    /// A token that this cluster did not make, or that was altered.
    #[error("the page token was not made by this cluster or was altered; start again from the first page")]
    Mac,
    /// A token of another query, or of the same query on something else.
    #[error(
        "the page token belongs to another query; repeat the query it came from (only limit may change) or start again"
    )]
    Mismatch,
}

/// Makes and reads the page tokens of one query.
#[derive(Debug)]
pub struct PageTokens<'a> {
    secret: &'a Secret,
    order_keys: usize,
    query_hash: [u8; HASH_BYTES],
}

impl<'a> PageTokens<'a> {
    /// For `query` on what `scope` names: the collection and, where it has one, the parent's id.
    #[must_use]
    pub fn new(secret: &'a Secret, scope: &[u8], query: &Query) -> Self {
        Self { secret, order_keys: query.order_by.len(), query_hash: query_hash(scope, query) }
    }

    /// The token of a page that ended at `position`.
    #[must_use]
    pub fn seal(&self, position: &Position) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.query_hash);
        let mut bytes = postcard::to_extend(position, bytes).expect("a vector takes all bytes, and lengths are known");
        let mac = self.mac(&bytes);
        bytes.extend_from_slice(&mac.as_bytes()[..MAC_BYTES]);
        BASE64.encode(bytes)
    }

    /// The position in a token.
    ///
    /// # Errors
    /// A token that was not made by [`PageTokens::seal`] for an equal query and scope.
    pub fn open(&self, token: &str) -> Result<Position, PageTokenError> {
        if token.len() > limits::PAGE_TOKEN_BYTES {
            return Err(PageTokenError::Malformed);
        }
        let bytes = BASE64.decode(token).map_err(|_| PageTokenError::Malformed)?;
        let (body, mac) = bytes.split_last_chunk::<MAC_BYTES>().ok_or(PageTokenError::Malformed)?;
        match body.first() {
            Some(&VERSION) => {}
            Some(_) => return Err(PageTokenError::Version),
            None => return Err(PageTokenError::Malformed),
        }
        // Extended with zeros only to use the hash's comparison in constant time.
        let (mut expected, mut given) = ([0; 32], [0; 32]);
        expected[..MAC_BYTES].copy_from_slice(&self.mac(body).as_bytes()[..MAC_BYTES]);
        given[..MAC_BYTES].copy_from_slice(mac);
        if blake3::Hash::from_bytes(expected) != blake3::Hash::from_bytes(given) {
            return Err(PageTokenError::Mac);
        }
        let body = body.get(1..).and_then(|body| body.split_first_chunk::<HASH_BYTES>());
        let (hash, body) = body.ok_or(PageTokenError::Malformed)?;
        if *hash != self.query_hash {
            return Err(PageTokenError::Mismatch);
        }
        let position: Position = postcard::from_bytes(body).map_err(|_| PageTokenError::Malformed)?;
        let valid = position.values.len() == self.order_keys
            && position.values.iter().flatten().all(|value| ValueRef::decode(value).is_ok());
        if valid { Ok(position) } else { Err(PageTokenError::Malformed) }
    }

    fn mac(&self, bytes: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&blake3::derive_key(KEY_CONTEXT, self.secret), bytes)
    }
}

/// The hash is over JSON, which leaves out what is not set: so a field that a later version adds
/// does not end the pages that are under way during an upgrade. The filter goes apart, since its
/// order has no meaning and some clients write the fields of an object in a random order.
fn query_hash(scope: &[u8], query: &Query) -> [u8; HASH_BYTES] {
    let filter = canonical(&query.filter);
    let mut ids = query.ids.clone();
    if let Some(ids) = &mut ids {
        ids.sort_unstable();
        ids.dedup();
    }
    let query = Query {
        filter: Filter::all(),
        ids,
        page_token: None,
        limit: limits::PAGE_LIMIT_DEFAULT,
        count: false,
        explain: false,
        ..query.clone()
    };
    let mut hasher = blake3::Hasher::new();
    for part in [scope, filter.as_bytes(), query.to_json().as_bytes()] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut hash = [0; HASH_BYTES];
    hash.copy_from_slice(&hasher.finalize().as_bytes()[..HASH_BYTES]);
    hash
}

/// The filter's text with the parts of every `and` and `or` sorted.
fn canonical(filter: &Filter) -> String {
    let (word, parts) = match filter {
        Filter::And(parts) => ("and", parts.as_slice()),
        Filter::Or(parts) => ("or", parts.as_slice()),
        Filter::Not(part) => ("not", std::slice::from_ref(&**part)),
        Filter::Term { .. } => return filter.to_string(),
    };
    let mut parts: Vec<String> = parts.iter().map(canonical).collect();
    parts.sort_unstable();
    format!("{word}({})", parts.join(", "))
}
