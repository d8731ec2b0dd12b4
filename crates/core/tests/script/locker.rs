//! The Locker's words.
//!
//! ```text
//! session [--ttl MS] [--owner WHO] --as NAME
//! acquire KEY=VALUE… [--shared | --permits N/MAX] [+ KEY=VALUE… …] [--session NAME] [--ttl MS] [--wait MS]
//!         [--owner WHO] [--as NAME] [--request ID]     NAME is of the session it starts
//! release | downgrade | heartbeat KEY=VALUE… --session NAME [--token N]
//! renew | end --session NAME
//! force KEY=VALUE… [--by WHO] [--reason WHY]
//! cancel WAITER          the caller went away; if its answer is known, it never arrived
//! show KEY=VALUE… | validate KEY=VALUE… --token N | list
//! ```

use std::collections::BTreeMap;

use willow_core::{
    Command, Effect, Outcome, Refusal, Reply, WaiterId,
    command::CancelWait,
    locker::{
        self, Acquire, Acquired, CreateSession, Downgrade, EndSession, Error, ForceRelease, HeartbeatLock,
        HeartbeatSession, HolderView, LockRequest, Mode, Release, SessionId,
    },
};
use willow_model::{Id, KeyValues, Revision};
use willow_query::Query;

use super::{Group, Words};
use crate::support::{Logged, kv};

#[derive(Default)]
pub(crate) struct Vocabulary {
    sessions: BTreeMap<String, SessionId>,
    /// Names for the sessions that waiting acquires start.
    waiting: BTreeMap<WaiterId, String>,
    locks: BTreeMap<Id, String>,
    answers: BTreeMap<WaiterId, Reply>,
}

impl super::Vocabulary for Vocabulary {
    fn run(&mut self, words: &Words, logged: &mut Logged) -> Result<Vec<String>, String> {
        let machine = &logged.machine;
        let lines = match words.verb.as_str() {
            "show" => {
                let view = machine.locker().get(self.lock(words.text()), machine.lookup(0));
                view.map_or_else(|| vec!["no such lock".to_owned()], |view| self.view(&view))
            }
            "list" => {
                let listing =
                    machine.locker().query(&Query::default(), machine.lookup(0)).map_err(|error| error.to_string())?;
                let mut lines: Vec<_> = listing.items.iter().flat_map(|view| self.view(view)).collect();
                lines.push(format!("{} locks, {} sessions", listing.items.len(), machine.locker().sessions()));
                lines
            }
            "validate" => {
                let token = Revision(words.number("token")?.ok_or("--token is missing")?);
                let validity = machine.locker().validate(self.lock(words.text()), token, machine.lookup(0));
                vec![format!("{validity:?}")]
            }
            _ => {
                let command = self.command(words)?;
                let reply = logged.apply_with(words.option("request"), command);
                if let (Ok(Outcome::Waiting(waiter)), Some(name)) = (&reply, words.option("as")) {
                    self.waiting.insert(*waiter, name.to_owned());
                }
                vec![self.reply(&reply, words.option("as"))]
            }
        };
        Ok(lines)
    }

    fn effects(&mut self, logged: &mut Logged) -> Vec<String> {
        let mut lines = Vec::new();
        for (waiter, reply) in logged.take_resolved() {
            let name = self.waiting.remove(&waiter);
            lines.push(format!("w{} => {}", waiter.0, self.reply(&reply, name.as_deref())));
            self.answers.insert(waiter, reply);
        }
        for effect in std::mem::take(&mut logged.effects) {
            if let Effect::Audit(audit) = effect {
                let lock = &self.locks[&audit.resource];
                lines.push(format!("audit: {} {lock} by {:?}, reason {:?}", audit.action, audit.by, audit.reason));
            }
        }
        lines
    }
}

impl Vocabulary {
    fn command(&mut self, words: &Words) -> Result<Command, String> {
        let session = words.option("session").map(|name| self.session(name)).transpose()?;
        let named = || session.ok_or("--session is missing");
        let token = words.number("token")?.map(Revision);
        let label = |name| words.option(name).map(Into::into);
        let lock = if words.text().contains('=') { self.lock(words.text()) } else { Id::from_u128(0) };
        let command = match words.verb.as_str() {
            "session" => {
                let ttl_ms = words.number("ttl")?.unwrap_or(1000);
                locker::Command::CreateSession(CreateSession { ttl_ms, owner: label("owner") })
            }
            "acquire" => locker::Command::Acquire(Acquire {
                locks: words.groups.iter().map(|group| self.request(group)).collect::<Result<_, _>>()?,
                session,
                ttl_ms: words.number("ttl")?,
                wait_ms: words.number("wait")?.unwrap_or(0),
                owner: label("owner"),
            }),
            "release" => locker::Command::Release(Release { lock, session: named()?, token }),
            "downgrade" => locker::Command::Downgrade(Downgrade { lock, session: named()?, token }),
            "heartbeat" => locker::Command::HeartbeatLock(HeartbeatLock { lock, session: named()?, token }),
            "renew" => locker::Command::HeartbeatSession(HeartbeatSession { session: named()? }),
            "end" => locker::Command::EndSession(EndSession { session: named()? }),
            "force" => locker::Command::ForceRelease(ForceRelease { lock, by: label("by"), reason: label("reason") }),
            "cancel" => {
                let waiter = words.text().strip_prefix('w').and_then(|number| number.parse().ok()).map(WaiterId);
                let waiter = waiter.ok_or("cancel which waiter?")?;
                let answer = self.answers.get(&waiter).and_then(|reply| reply.clone().ok());
                return Ok(Command::CancelWait(CancelWait { waiter, undelivered: answer.map(Box::new) }));
            }
            other => return Err(format!("{other}: not a word of the Locker's")),
        };
        Ok(Command::Lock(command))
    }

    fn request(&mut self, group: &Group) -> Result<LockRequest, String> {
        self.lock(&group.text);
        let permits = |text: &String| {
            let (permits, max_permits) = text.split_once('/')?;
            Some(Mode::Semaphore { permits: permits.parse().ok()?, max_permits: max_permits.parse().ok()? })
        };
        let mode = match group.options.get("permits") {
            Some(text) => permits(text).ok_or("--permits N/MAX")?,
            None if group.options.contains_key("shared") => Mode::Shared,
            None => Mode::Exclusive,
        };
        Ok(LockRequest { key_values: kv(&group.text), mode })
    }

    /// The lock's id; from now on it is shown by its key values.
    fn lock(&mut self, text: &str) -> Id {
        let key_values: KeyValues = kv(text);
        let id = locker::id(&key_values);
        self.locks.insert(id, key_values.to_string());
        id
    }

    /// A session by name; any other is one that never was.
    fn session(&self, name: &str) -> Result<SessionId, String> {
        let nobody = (name == "nobody").then_some(SessionId(0));
        self.sessions.get(name).copied().or(nobody).ok_or_else(|| format!("no session was called {name}"))
    }

    fn name(&mut self, session: SessionId, name: Option<&str>) -> String {
        let known = self.sessions.iter().find(|(_, known)| **known == session).map(|(name, _)| name.clone());
        known.unwrap_or_else(|| {
            let name = name.map_or_else(|| format!("s{}", self.sessions.len() + 1), str::to_owned);
            self.sessions.insert(name.clone(), session);
            name
        })
    }

    fn reply(&mut self, reply: &Reply, name: Option<&str>) -> String {
        match reply {
            Ok(Outcome::Waiting(waiter)) => format!("waiting as w{}", waiter.0),
            Ok(Outcome::Lock(locker::Outcome::Acquired(acquired))) => self.acquired(acquired, name),
            Ok(Outcome::Lock(locker::Outcome::Session(session))) => {
                format!("session {}, lease {}", self.name(session.session, name), session.expires_in_ms)
            }
            Ok(Outcome::Lock(outcome)) => {
                let mut text = format!("{outcome:?}");
                for (id, lock) in &self.locks {
                    text = text.replace(&id.to_string(), &format!("{{{lock}}}"));
                }
                text
            }
            Ok(outcome) => format!("{outcome:?}"),
            Err(Refusal::Lock(Error::Held { lock, holders, position, retry_after_ms })) => {
                let holders: Vec<_> = holders.iter().map(holder).collect();
                let holders = if holders.is_empty() { "nobody".to_owned() } else { holders.join(", ") };
                let lock = &self.locks[lock];
                format!("refused: {{{lock}}} is held by {holders}; position {position}, retry after {retry_after_ms:?}")
            }
            Err(refusal) => format!("refused: {refusal}"),
        }
    }

    fn acquired(&mut self, acquired: &Acquired, name: Option<&str>) -> String {
        let name = self.name(acquired.session, name);
        let grant = |grant: &locker::Grant| {
            let lock = &self.locks[&grant.lock];
            format!("{{{lock}}} {} token {} depth {}", mode(grant.mode), grant.token.0, grant.depth)
        };
        let grants: Vec<_> = acquired.locks.iter().map(grant).collect();
        format!("granted to {name}, lease {}: {}", acquired.expires_in_ms, grants.join(", "))
    }

    fn view(&self, view: &locker::View) -> Vec<String> {
        let mut lines = vec![format!("{{{}}} revision {}", view.key_values, view.revision.0)];
        lines.extend(view.holders.iter().map(|held| format!("  held by {}", holder(held))));
        let waiter = |waiter: &locker::WaiterView| {
            let owner = waiter.owner.as_deref().unwrap_or("-");
            format!("  {}. {owner} waits for {} since {}", waiter.position, mode(waiter.mode), waiter.waiting_for_ms)
        };
        lines.extend(view.waiters.iter().map(waiter));
        lines
    }
}

fn holder(holder: &HolderView) -> String {
    let HolderView { owner, mode: held, token, depth, held_for_ms, expires_in_ms } = holder;
    let owner = owner.as_deref().unwrap_or("-");
    let (held, token) = (mode(*held), token.0);
    format!("{owner} ({held}, token {token}, depth {depth}, for {held_for_ms}, {expires_in_ms} left)")
}

fn mode(mode: Mode) -> String {
    match mode {
        Mode::Exclusive => "exclusive".to_owned(),
        Mode::Shared => "shared".to_owned(),
        Mode::Semaphore { permits, max_permits } => format!("{permits}/{max_permits}"),
    }
}
