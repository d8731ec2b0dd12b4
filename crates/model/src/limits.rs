//! Every bound of the model, each with its reason.
//!
//! Bounds of the machine (a lease, a queue's length, how many of each) are in `willow_core::limits`.

/// Bytes in a key. Long enough for a DNS name with a path (`app.kubernetes.io/name`), short enough
/// that its length fits a byte and that a thousand keys in a reply stay readable.
pub const KEY_BYTES: usize = 128;

/// Bytes in a string value. Holds any path or URL people name things with; data belongs in an item.
pub const VALUE_STRING_BYTES: usize = 4 * 1024;

/// User pairs in one set of key values. Rule matching and reverse match walk the pairs, so this
/// bounds their cost; nothing seen in the field names a resource with more than a dozen.
pub const PAIRS: usize = 32;

/// Reserved pairs on top of the user's. They never count toward [`PAIRS`], so they need a bound of
/// their own; Willow sets at most one or two.
pub const RESERVED_PAIRS: usize = 8;

/// Bytes in the name of a rule, override or queue: it stands in a URL path.
pub const NAME_BYTES: usize = 128;

/// Levels of `and` / `or` / `not` in a query. Bounds the recursion of parsing, planning and
/// evaluation.
pub const QUERY_NESTING: usize = 8;

/// Levels of parentheses and `not` in a query's text. More than [`QUERY_NESTING`], since needless
/// parentheses vanish in parsing, but still far from the end of the stack.
pub const QUERY_TEXT_NESTING: usize = 32;

/// Bytes in a query's text. 128 terms with ordinary values are below 16 KiB; the rest is room for a
/// few long strings.
pub const QUERY_TEXT_BYTES: usize = 256 * 1024;

/// Comparisons in one query. Each costs an index look-up or a test per document.
pub const QUERY_TERMS: usize = 128;

/// Values in all `in` lists of one query together, for the same reason as [`QUERY_TERMS`].
pub const QUERY_IN_VALUES: usize = 1_000;

/// Ids in one query: as many as a page can return.
pub const QUERY_IDS: usize = PAGE_LIMIT as usize;

/// Keys to order by. Each adds a value to every page token.
pub const QUERY_ORDER_KEYS: usize = 8;

/// Largest page; a larger `limit` is coerced to it. Bounds one reply to about a megabyte of
/// ordinary resources.
pub const PAGE_LIMIT: u32 = 1_000;

/// Page size when the query names none.
pub const PAGE_LIMIT_DEFAULT: u32 = 100;

/// Characters in a page token: [`QUERY_ORDER_KEYS`] values of [`VALUE_STRING_BYTES`] in base64,
/// with room for the rest.
pub const PAGE_TOKEN_BYTES: usize = 48 * 1024;

/// Bytes in the name of a round-robin cursor: cursors are kept in the replicated state.
pub const CURSOR_NAME_BYTES: usize = 128;

/// Bytes of data in a queue item. Larger payloads belong in an object store, with the item naming
/// them: every byte here is replicated and kept in memory.
pub const ITEM_DATA_BYTES: usize = 1024 * 1024;
