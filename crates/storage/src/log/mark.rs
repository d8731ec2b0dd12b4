//! Where each group's entries start and end, and its state: what a checkpoint records.
//!
//! The writer keeps the marks of what is durable; recovery rebuilds them record by record and
//! compares them with every checkpoint on its way.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::format::{Kind, RecordHeader};
use super::record::{GroupId, StateKey};

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Index of the first entry.
    pub(crate) base: u64,
    /// One past the last entry.
    pub(crate) next: u64,
    /// Whether `base` follows from a purge, so that the next entry must follow on.
    pub(crate) purged: bool,
    pub(crate) state: BTreeMap<StateKey, Bytes>,
}

pub(crate) type Marks = BTreeMap<GroupId, Mark>;

/// Applies a record; `payload` is the value of a state record. An error says how the record
/// contradicts what came before it.
pub(crate) fn apply(marks: &mut Marks, header: &RecordHeader, payload: Bytes) -> Result<(), &'static str> {
    if header.kind == Kind::Forget {
        marks.remove(&header.group);
        return Ok(());
    }
    let mark = marks.entry(header.group).or_default();
    let index = header.index;
    let empty = mark.base == mark.next;
    match header.kind {
        Kind::Entry => {
            if empty && !mark.purged {
                mark.base = index;
            } else if index != mark.next {
                return Err("an entry does not follow the one before it");
            }
            mark.next = index.checked_add(1).ok_or("an index is out of range")?;
        }
        Kind::Truncate => {
            if mark.purged && index < mark.base {
                return Err("a truncation reaches below the purge point");
            }
            mark.next = mark.next.min(index).max(mark.base);
        }
        Kind::Purge => {
            let after = index.checked_add(1).ok_or("an index is out of range")?;
            if after >= mark.base || (empty && !mark.purged) {
                mark.next = if empty { after } else { mark.next.max(after) };
                mark.base = after;
                mark.purged = true;
            }
        }
        Kind::State => {
            mark.state.insert(header.aux, payload);
        }
        Kind::Moved => {
            if index < mark.base || index >= mark.next {
                return Err("a moved entry is not among the group's entries");
            }
        }
        Kind::Mark | Kind::MarkState => return Err("a mark outside a checkpoint"),
        Kind::Forget => {}
    }
    Ok(())
}
