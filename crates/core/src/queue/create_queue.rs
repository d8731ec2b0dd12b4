//! Creating a queue and changing its settings.

use super::{CreateQueue, Error, Outcome, Queues, UpdateQueue, queue_id, rows::QueueRow, validate};
use crate::{Context, Reply};

impl Queues {
    pub(super) fn create_queue(&mut self, command: CreateQueue, cx: &mut Context) -> Reply {
        let CreateQueue { name, key_values, config } = command;
        willow_model::check_name(&name).map_err(|error| validate::out_of_bounds("name", error.to_string()))?;
        validate::config(&config)?;
        let id = queue_id(&name);
        if let Some(slot) = self.queues.slot(&id) {
            let deleting = self.queue_row(slot).deleting;
            return Err(if deleting { Error::QueueDeleting } else { Error::AlreadyExists { existing: id } }.into());
        }
        let revision = cx.next_revision();
        let slot = self.queues.insert(QueueRow {
            id,
            name,
            key_values,
            config,
            revision,
            created: revision,
            deleting: false,
            pauses: vec![],
            purges: vec![],
            step_at_ms: None,
            searching: false,
        });
        self.link_queue(slot, cx);
        Ok(Outcome::Queue(self.queue_view(slot)).into())
    }

    /// Settings change for items to come; those that are there keep theirs.
    pub(super) fn update_queue(&mut self, command: UpdateQueue, cx: &mut Context) -> Reply {
        let slot = self.active(&command.queue)?;
        validate::config(&command.config)?;
        self.check_revision(slot, command.if_match)?;
        let max_dead_letters = command.config.max_dead_letters;
        let revision = cx.next_revision();
        let row = self.queue_mut(slot);
        row.config = command.config;
        row.revision = revision;
        self.trim_dead(slot, max_dead_letters);
        Ok(Outcome::Queue(self.queue_view(slot)).into())
    }

    pub(super) fn check_revision(&self, slot: u32, if_match: Option<willow_model::Revision>) -> Result<(), Error> {
        let current = self.queue_row(slot).revision;
        match if_match {
            Some(revision) if revision != current => Err(Error::RevisionMismatch { current }),
            _ => Ok(()),
        }
    }
}
