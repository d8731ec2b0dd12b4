//! A channel's metadata and taints: what may be changed of it.

use std::collections::BTreeMap;

use willow_model::{Key, KeyValues, Value};

use super::{
    Error, Outcome, PatchMetadata, Queues, Taint,
    rows::{Meta, Parked},
    validate,
};
use crate::{Context, Reply, limiter::Limiter, limits};

impl Queues {
    pub(super) fn patch_metadata(&mut self, command: PatchMetadata, limiter: &mut Limiter, cx: &mut Context) -> Reply {
        let queue = self.active(&command.queue)?;
        let slot = self.channels.slot(&command.channel).filter(|slot| self.channel_row(*slot).queue == queue);
        let slot = slot.ok_or(Error::NoSuchChannel)?;
        let channel = self.channel_row(slot);
        if command.if_match.is_some_and(|revision| revision != channel.revision) {
            return Err(Error::RevisionMismatch { current: channel.revision }.into());
        }
        let mut pairs = channel.meta.as_ref().map_or_else(BTreeMap::new, |meta| meta.pairs.clone());
        for (key, value) in command.set {
            match value {
                Some(value) => {
                    check_pair(&key, &value)?;
                    pairs.insert(key, value);
                }
                None => {
                    pairs.remove(&key);
                }
            }
        }
        let taints = match command.taints {
            Some(taints) => check_taints(taints)?,
            None => channel.taints().to_vec(),
        };
        if pairs.len() > limits::METADATA_PAIRS {
            return Err(Error::TooMuchMetadata.into());
        }
        let meta = Meta { pairs, taints };
        let revision = cx.next_revision();
        self.channel_mut(slot).revision = revision;
        self.set_metadata(slot, Some(meta), limiter);
        let view = self.channel_view(slot, cx.now_ms);
        self.refresh(slot, limiter);
        let view = self.channels.slot(&command.channel).map(|_| view);
        Ok(Outcome::Channel(view).into())
    }

    /// Replaces a channel's metadata and takes it out of its pool; the caller refreshes it. What it is
    /// parked under by a pause may hold no longer, and who waits may want it now: it is tried afresh.
    pub(super) fn set_metadata(&mut self, slot: u32, meta: Option<Meta>, limiter: &mut Limiter) {
        self.unplace(slot, limiter);
        let before = self.channel_row(slot).meta.as_ref().map_or_else(BTreeMap::new, |meta| meta.pairs.clone());
        let empty = BTreeMap::new();
        let after = meta.as_ref().map_or(&empty, |meta| &meta.pairs);
        for key in before.keys().filter(|key| !after.contains_key(*key)) {
            self.index_metadata(slot, key, None);
        }
        for (key, value) in after.iter().filter(|(key, value)| before.get(*key) != Some(value)) {
            self.index_metadata(slot, key, Some(value));
        }
        let channel = self.channel_mut(slot);
        if matches!(channel.parked, Some(Parked::Pause(_))) {
            channel.parked = None;
        }
        channel.meta = meta.filter(|meta| !meta.pairs.is_empty() || !meta.taints.is_empty()).map(Box::new);
    }
}

fn check_pair(key: &Key, value: &Value) -> Result<(), Error> {
    let checked = KeyValues::user([(key.as_str(), value.clone())]);
    checked.map(|_| ()).map_err(|error| validate::out_of_bounds("metadata", error.to_string()))
}

fn check_taints(mut taints: Vec<Taint>) -> Result<Vec<Taint>, Error> {
    if taints.len() > limits::TAINTS {
        return Err(Error::TooMuchMetadata);
    }
    for taint in &taints {
        validate::range("taints.key", taint.key.len() as u64, 1, limits::LABEL_BYTES as u64)?;
        validate::label("taints.value", Some(&taint.value))?;
    }
    taints.sort_unstable();
    taints.dedup();
    Ok(taints)
}
