//! Locker: locks and sessions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::keys::{Id, IdSchema, KeyValues, KeyValuesInput, KeyValuesSchema, Revision, SessionId};

/// How a lock is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LockMode {
    /// Alone.
    #[default]
    Exclusive,
    /// With other shared holders.
    Shared,
    /// With other permits, up to `max_permits` of them.
    Semaphore,
}

/// Takes one lock (`key_values`) or several at once, all or nothing (`locks`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({
    "key_values": {"repo": "willow", "branch": "main"}, "mode": "exclusive", "ttl_ms": 30000, "wait_ms": 0,
    "owner": "deployer-7", "request_id": "3d1a7c52-acquire-1"
}))]
pub struct AcquireRequest {
    /// The lock to take. Exactly one of `key_values` and `locks` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<KeyValuesSchema>)]
    pub key_values: Option<KeyValuesInput>,
    /// The locks to take: 1 to 64, no two the same. `mode`, `permits` and `max_permits` then stand in each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 64)]
    pub locks: Option<Vec<LockSpec>>,
    /// How to hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<LockMode>,
    /// Permits to take, 1 to `max_permits`; 1 when absent. Only of a semaphore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000000)]
    pub permits: Option<u32>,
    /// Permits the semaphore has in all. Needed by a semaphore; all holders and waiters agree on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000000)]
    pub max_permits: Option<u32>,
    /// The session to hold it; a new one is started when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Lease of the session, ms: of the new one (30 s when absent), or a new value for the given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 100, maximum = 86400000)]
    pub ttl_ms: Option<u64>,
    /// How long to wait in line, ms; 0, the default, tries once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 300000)]
    pub wait_ms: Option<u64>,
    /// Who this is, for people; shown to others. At most 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 256)]
    pub owner: Option<String>,
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}

/// One lock of an acquire of several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct LockSpec {
    /// Which.
    #[schema(value_type = KeyValuesSchema)]
    pub key_values: KeyValuesInput,
    /// How to hold it; exclusive when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<LockMode>,
    /// Permits to take; 1 when absent. Only of a semaphore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000000)]
    pub permits: Option<u32>,
    /// Permits the semaphore has in all. Needed by a semaphore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000000)]
    pub max_permits: Option<u32>,
}

/// The locks are held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "session": "5f0c1c53-6f5e-4f0a-9d2e-3b1f5a0a7c11", "expires_in_ms": 30000,
    "locks": [{"lock": "0190163d-8694-739b-aea5-966c26f8ad91", "token": 17, "mode": "exclusive", "depth": 1}]
}))]
pub struct AcquireReply {
    /// The session that holds them: a secret, needed to heartbeat and release.
    pub session: SessionId,
    /// Left of its lease, ms.
    pub expires_in_ms: u64,
    /// In the order asked for.
    pub locks: Vec<Grant>,
}

/// One lock held.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "lock": "0190163d-8694-739b-aea5-966c26f8ad91", "token": 17, "mode": "shared", "depth": 1
}))]
pub struct Grant {
    /// Which.
    #[schema(value_type = IdSchema)]
    pub lock: Id,
    /// Fencing token: larger than that of any earlier grant.
    #[schema(value_type = u64)]
    pub token: Revision,
    /// How it is held.
    pub mode: LockMode,
    /// Permits held, of a semaphore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub permits: Option<u32>,
    /// Permits in all, of a semaphore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub max_permits: Option<u32>,
    /// How many releases let it go.
    pub depth: u32,
}

/// A lock as anyone may see it: no session secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "0190163d-8694-739b-aea5-966c26f8ad91", "key_values": {"repo": "willow", "branch": "main"}, "revision": 17,
    "holders": [{"owner": "deployer-7", "mode": "exclusive", "token": 17, "depth": 1, "held_for_ms": 1200,
                 "expires_in_ms": 28800}],
    "holding": 1,
    "waiters": [{"owner": "deployer-9", "mode": "exclusive", "waiting_for_ms": 300, "position": 1}],
    "waiting": 1
}))]
pub struct Lock {
    /// Its id.
    #[schema(value_type = IdSchema)]
    pub id: Id,
    /// What it locks.
    #[schema(value_type = KeyValuesSchema)]
    pub key_values: KeyValues,
    /// Revision of this incarnation.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// Who holds it, oldest grant first; at most 100.
    pub holders: Vec<Holder>,
    /// How many hold it in all.
    pub holding: u32,
    /// Who waits for it, next first; at most 100.
    pub waiters: Vec<LockWaiter>,
    /// How many wait in all.
    pub waiting: u32,
}

/// A holder of a lock as anyone may see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Holder {
    /// As the session named itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub owner: Option<String>,
    /// How it holds.
    pub mode: LockMode,
    /// Permits held, of a semaphore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub permits: Option<u32>,
    /// Permits in all, of a semaphore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub max_permits: Option<u32>,
    /// Its fencing token.
    #[schema(value_type = u64)]
    pub token: Revision,
    /// How often it acquired the lock.
    pub depth: u32,
    /// Since when, ms ago.
    pub held_for_ms: u64,
    /// Left of its lease, ms.
    pub expires_in_ms: u64,
}

/// A waiter for a lock as anyone may see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LockWaiter {
    /// As the session named itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub owner: Option<String>,
    /// How it wants the lock.
    pub mode: LockMode,
    /// Permits wanted, of a semaphore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub permits: Option<u32>,
    /// Permits in all, of a semaphore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub max_permits: Option<u32>,
    /// Since when, ms ago.
    pub waiting_for_ms: u64,
    /// Place in line, 1 is next.
    pub position: u32,
}

/// Acts on a lock that the session holds: the body of heartbeat, release and downgrade.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({"session": "5f0c1c53-6f5e-4f0a-9d2e-3b1f5a0a7c11", "token": 17}))]
pub struct HeldLockRequest {
    /// Whose.
    pub session: SessionId,
    /// The fencing token held; the call is refused when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub token: Option<Revision>,
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}

/// A lock was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"depth": 0}))]
pub struct ReleaseReply {
    /// How many releases are still needed to let it go; 0 when it is.
    pub depth: u32,
}

/// A lease was renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"expires_in_ms": 30000}))]
pub struct RenewedReply {
    /// Left of the lease, ms.
    pub expires_in_ms: u64,
}

/// Asks whether a fencing token is held now. A read: nothing is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({"token": 17}))]
pub struct ValidateRequest {
    /// The token that the protected resource was shown.
    #[schema(value_type = u64)]
    pub token: Revision,
}

/// Whether a fencing token is held now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"valid": true, "expires_in_ms": 28000, "newest_token": 17}))]
pub struct ValidateReply {
    /// True when the token is held now. A token smaller than one already seen must be refused by the
    /// resource in any case: a lease alone is not mutual exclusion.
    pub valid: bool,
    /// Left of the holder's lease when valid, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub expires_in_ms: Option<u64>,
    /// The newest token granted on this lock while it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<u64>)]
    pub newest_token: Option<Revision>,
}

/// A lock was taken away by force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"holders": 1}))]
pub struct ForceReleaseReply {
    /// From how many sessions.
    pub holders: u32,
}

/// Starts a session that holds nothing yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schema(example = json!({"ttl_ms": 30000, "owner": "deployer-7"}))]
pub struct CreateSessionRequest {
    /// Lease, ms; 30 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 100, maximum = 86400000)]
    pub ttl_ms: Option<u64>,
    /// Who this is, for people; shown to others. At most 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 256)]
    pub owner: Option<String>,
    /// Makes a repeat of this call answer from the record; also the `Idempotency-Key` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub request_id: Option<String>,
}

/// A session as its owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"session": "5f0c1c53-6f5e-4f0a-9d2e-3b1f5a0a7c11", "expires_in_ms": 30000}))]
pub struct Session {
    /// Its secret.
    pub session: SessionId,
    /// Left of its lease, ms.
    pub expires_in_ms: u64,
}

/// A session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"released": 2}))]
pub struct EndSessionReply {
    /// Locks given back.
    pub released: u32,
}

crate::object::object! {
    AcquireRequest,
    LockSpec,
    HeldLockRequest,
    ValidateRequest,
    CreateSessionRequest,
}
