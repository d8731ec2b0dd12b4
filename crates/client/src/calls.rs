//! One method for each call of the API, grouped as its paths are.

use http::Method;
use serde::{Serialize, de::DeserializeOwned};
use willow_api::{
    Id, Page, Revision, channel, item, keys::SessionId, limiter, lock, page::Query, path::segment, queue,
};

use crate::{Client, Error, Pages, transport::Call};

/// Declares a handle on a group of calls.
macro_rules! handle {
    ($(#[$meta:meta])* $name:ident { $($field:ident),* }) => {
        $(#[$meta])*
        ///
        /// Every method fails as [`Error`] says: refused with the server's problem, or not answered.
        #[derive(Clone, Debug)]
        pub struct $name {
            client: Client,
            $($field: String,)*
        }
    };
}

handle!(/// Locks.
    Locks {});
handle!(/// Sessions.
    Sessions {});
handle!(/// Limiter rules, and explain.
    Rules {});
handle!(/// Overrides of one rule.
    Overrides { rule });
handle!(/// Counters.
    Counters {});
handle!(/// Holds.
    Holds {});
handle!(/// Queues.
    Queues {});
handle!(/// One queue.
    QueueHandle { queue });
handle!(/// Items of one queue.
    Items { queue });
handle!(/// Channels of one queue.
    Channels { queue });
handle!(/// Dead letters of one queue.
    DeadLetters { queue });

impl Client {
    /// Locks.
    #[must_use]
    pub fn locks(&self) -> Locks {
        Locks { client: self.clone() }
    }

    /// Sessions.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        Sessions { client: self.clone() }
    }

    /// Limiter rules, and explain.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules { client: self.clone() }
    }

    /// Overrides of a rule, by its name or id.
    #[must_use]
    pub fn overrides(&self, rule: &str) -> Overrides {
        Overrides { client: self.clone(), rule: segment(rule) }
    }

    /// Counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters { client: self.clone() }
    }

    /// Holds.
    #[must_use]
    pub fn holds(&self) -> Holds {
        Holds { client: self.clone() }
    }

    /// Queues.
    #[must_use]
    pub fn queues(&self) -> Queues {
        Queues { client: self.clone() }
    }

    /// One queue, by its name or id.
    #[must_use]
    pub fn queue(&self, queue: &str) -> QueueHandle {
        QueueHandle { client: self.clone(), queue: segment(queue) }
    }

    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<T, Error> {
        self.read(Call::new(Method::GET, path)).await
    }

    /// A call that reads, with a body.
    async fn ask<B: Serialize, T: DeserializeOwned>(&self, path: String, body: &B) -> Result<T, Error> {
        self.read(Call::new(Method::POST, path).json(body)?).await
    }

    /// One page. A round-robin pick moves a cursor, so that a repeat would skip one.
    async fn query<T: DeserializeOwned>(&self, path: String, query: &Query) -> Result<Page<T>, Error> {
        let call = Call::new(Method::POST, path).json(query)?;
        if matches!(query.pick, Some(willow_query::Pick::RoundRobin { .. })) {
            return self.change(call, None).await;
        }
        self.read(call).await
    }

    fn pages<T: DeserializeOwned + Send + 'static>(&self, path: String, query: Query) -> Pages<T> {
        let client = self.clone();
        Pages::new(query, move |query| {
            let (client, path) = (client.clone(), path.clone());
            async move { client.query(path, &query).await }
        })
    }
}

fn if_match(mut call: Call, revision: Option<Revision>) -> Call {
    call.if_match = revision.map(|Revision(revision)| revision);
    call
}

/// Declares methods that send a body with a `request_id` of its own and change something.
macro_rules! change {
    ($($(#[$meta:meta])* $method:ident $verb:ident ($self:ident $(, $arg:ident : $type:ty)*) $path:expr, $body:ty => $reply:ty;)+) => {
        $(
            $(#[$meta])*
            ///
            /// # Errors
            /// As [`Error`] says.
            pub async fn $method(&$self $(, $arg: $type)*, request: &$body) -> Result<$reply, Error> {
                let call = Call::new(Method::$verb, $path).json(request)?;
                $self.client.change(call, request.request_id.as_deref()).await
            }
        )+
    };
}

/// Declares `query` and `query_all`.
macro_rules! queries {
    (($self:ident) $path:expr => $view:ty) => {
        /// One page of what matches.
        ///
        /// # Errors
        /// As [`Error`] says.
        pub async fn query(&$self, query: &Query) -> Result<Page<$view>, Error> {
            $self.client.query($path, query).await
        }

        /// All that matches, page by page.
        #[must_use]
        pub fn query_all(&$self, query: Query) -> Pages<$view> {
            $self.client.pages($path, query)
        }
    };
}

impl Locks {
    /// Takes one lock, or several at once.
    ///
    /// # Errors
    /// As [`Error`] says; `LOCK_HELD` names the holders.
    pub async fn acquire(&self, request: &lock::AcquireRequest) -> Result<lock::AcquireReply, Error> {
        let call = Call::new(Method::POST, "/v1/locks".into()).json(request)?.wait_ms(request.wait_ms);
        self.client.change(call, request.request_id.as_deref()).await
    }

    change! {
        /// Gives the lock back.
        release POST (self, lock: Id) format!("/v1/locks/{lock}/release"), lock::HeldLockRequest => lock::ReleaseReply;
        /// Turns an exclusive lock into a shared one.
        downgrade POST (self, lock: Id) format!("/v1/locks/{lock}/downgrade"), lock::HeldLockRequest => lock::Grant;
    }

    /// Renews the lease of the session that holds the lock, if it does.
    ///
    /// # Errors
    /// `LOCK_NOT_HELD`, `LOCK_NOT_FOUND` or `STALE_TOKEN` when it was taken away, `SESSION_EXPIRED` when it is too late.
    pub async fn heartbeat(&self, lock: Id, request: &lock::HeldLockRequest) -> Result<lock::RenewedReply, Error> {
        // Renewing twice is renewing once: no request id but the caller's own, and nothing recorded.
        self.client.ask(format!("/v1/locks/{lock}/heartbeat"), request).await
    }

    /// Is the token held now?
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn validate(&self, lock: Id, request: &lock::ValidateRequest) -> Result<lock::ValidateReply, Error> {
        self.client.ask(format!("/v1/locks/{lock}/validate"), request).await
    }

    /// One lock.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn get(&self, lock: Id) -> Result<lock::Lock, Error> {
        self.client.get(format!("/v1/locks/{lock}")).await
    }

    /// Takes the lock away from all who hold it. Audited, with who asks and why.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn force_release(
        &self,
        lock: Id,
        by: Option<&str>,
        reason: Option<&str>,
    ) -> Result<lock::ForceReleaseReply, Error> {
        let given = [("by", by), ("reason", reason)];
        let given = given.iter().filter_map(|(name, value)| Some(format!("{name}={}", segment((*value)?))));
        let query = given.collect::<Vec<_>>().join("&");
        let path = if query.is_empty() { format!("/v1/locks/{lock}") } else { format!("/v1/locks/{lock}?{query}") };
        self.client.change(Call::new(Method::DELETE, path), None).await
    }

    queries!((self) "/v1/locks/query".into() => lock::Lock);
}

impl Sessions {
    change! {
        /// Starts a session.
        create POST (self) "/v1/sessions".into(), lock::CreateSessionRequest => lock::Session;
    }

    /// Renews the lease.
    ///
    /// # Errors
    /// As [`Error`] says; `SESSION_EXPIRED` when it is too late.
    pub async fn heartbeat(&self, session: SessionId) -> Result<lock::RenewedReply, Error> {
        // Renewing twice is renewing once: no request id, and nothing recorded.
        let path = format!("/v1/sessions/{session}/heartbeat");
        self.client.read(Call::new(Method::POST, path).json(&queue::EmptyRequest::default())?).await
    }

    /// Ends the session and gives back all it holds.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn end(&self, session: SessionId) -> Result<lock::EndSessionReply, Error> {
        self.client.change(Call::new(Method::DELETE, format!("/v1/sessions/{session}")), None).await
    }
}

impl Rules {
    change! {
        /// Adds a rule.
        create POST (self) "/v1/limiter/rules".into(), limiter::CreateRuleRequest => limiter::Rule;
    }

    /// Changes a rule; with `revision` only if it has that one.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn update(
        &self,
        rule: &str,
        request: &limiter::UpdateRuleRequest,
        revision: Option<Revision>,
    ) -> Result<limiter::Rule, Error> {
        let call = Call::new(Method::PUT, format!("/v1/limiter/rules/{}", segment(rule))).json(request)?;
        self.client.change(if_match(call, revision), request.request_id.as_deref()).await
    }

    /// Removes a rule and its overrides.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn delete(&self, rule: &str, revision: Option<Revision>) -> Result<(), Error> {
        let call = Call::new(Method::DELETE, format!("/v1/limiter/rules/{}", segment(rule)));
        self.client.change::<serde::de::IgnoredAny>(if_match(call, revision), None).await.map(drop)
    }

    /// One rule.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn get(&self, rule: &str) -> Result<limiter::Rule, Error> {
        self.client.get(format!("/v1/limiter/rules/{}", segment(rule))).await
    }

    /// Why would an increment pass, or not?
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn explain(&self, request: &limiter::ExplainRequest) -> Result<limiter::Explanation, Error> {
        self.client.ask("/v1/limiter/explain".into(), request).await
    }

    queries!((self) "/v1/limiter/rules/query".into() => limiter::Rule);
}

impl Overrides {
    change! {
        /// Adds an override.
        create POST (self) format!("/v1/limiter/rules/{}/overrides", self.rule), limiter::CreateOverrideRequest => limiter::Override;
    }

    /// Changes an override; with `revision` only if it has that one.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn update(
        &self,
        name: &str,
        request: &limiter::UpdateOverrideRequest,
        revision: Option<Revision>,
    ) -> Result<limiter::Override, Error> {
        let call = Call::new(Method::PUT, self.path(name)).json(request)?;
        self.client.change(if_match(call, revision), request.request_id.as_deref()).await
    }

    /// Removes an override.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn delete(&self, name: &str, revision: Option<Revision>) -> Result<(), Error> {
        let call = Call::new(Method::DELETE, self.path(name));
        self.client.change::<serde::de::IgnoredAny>(if_match(call, revision), None).await.map(drop)
    }

    /// One override.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn get(&self, name: &str) -> Result<limiter::Override, Error> {
        self.client.get(self.path(name)).await
    }

    queries!((self) format!("/v1/limiter/rules/{}/overrides/query", self.rule) => limiter::Override);

    fn path(&self, name: &str) -> String {
        format!("/v1/limiter/rules/{}/overrides/{}", self.rule, segment(name))
    }
}

impl Counters {
    /// Adds to a counter if every limit allows.
    ///
    /// # Errors
    /// As [`Error`] says; `LIMIT_REACHED` names every rule in the way.
    pub async fn increment(&self, request: &limiter::IncrementRequest) -> Result<limiter::IncrementReply, Error> {
        let path = "/v1/limiter/counters/increment".into();
        let call = Call::new(Method::POST, path).json(request)?.wait_ms(request.wait_ms);
        self.client.change(call, request.request_id.as_deref()).await
    }

    change! {
        /// Takes from a counter.
        decrement POST (self) "/v1/limiter/counters/decrement".into(), limiter::DecrementRequest => limiter::Counter;
        /// Sets a counter without asking any limit.
        set PUT (self) "/v1/limiter/counters".into(), limiter::SetCounterRequest => limiter::Counter;
    }

    /// One counter.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn get(&self, counter: Id) -> Result<limiter::Counter, Error> {
        self.client.get(format!("/v1/limiter/counters/{counter}")).await
    }

    queries!((self) "/v1/limiter/counters/query".into() => limiter::Counter);
}

impl Holds {
    change! {
        /// Renews a hold's lease.
        heartbeat POST (self, hold: Id) format!("/v1/limiter/holds/{hold}/heartbeat"), limiter::HeartbeatHoldRequest => lock::RenewedReply;
    }

    /// Gives a hold back.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn release(&self, hold: Id) -> Result<limiter::ReleaseHoldReply, Error> {
        self.client.change(Call::new(Method::DELETE, format!("/v1/limiter/holds/{hold}")), None).await
    }
}

impl Queues {
    change! {
        /// Adds a queue.
        create POST (self) "/v1/queues".into(), queue::CreateQueueRequest => queue::Queue;
    }

    queries!((self) "/v1/queues/query".into() => queue::Queue);
}

impl QueueHandle {
    /// The queue.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn get(&self) -> Result<queue::Queue, Error> {
        self.client.get(format!("/v1/queues/{}", self.queue)).await
    }

    /// Changes the queue's settings; with `revision` only if it has that one.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn update(
        &self,
        request: &queue::UpdateQueueRequest,
        revision: Option<Revision>,
    ) -> Result<queue::Queue, Error> {
        let call = Call::new(Method::PUT, format!("/v1/queues/{}", self.queue)).json(request)?;
        self.client.change(if_match(call, revision), request.request_id.as_deref()).await
    }

    /// Removes the queue with all it holds: at once for callers, its rows in the background.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn delete(&self, revision: Option<Revision>) -> Result<queue::DeletingReply, Error> {
        let call = Call::new(Method::DELETE, format!("/v1/queues/{}", self.queue));
        self.client.change(if_match(call, revision), None).await
    }

    change! {
        /// Stops handing out, for the whole queue or by query.
        pause POST (self) format!("/v1/queues/{}/pause", self.queue), queue::QueueActionRequest => queue::DoneReply;
        /// Ends a pause or a drain with the same query.
        resume POST (self) format!("/v1/queues/{}/resume", self.queue), queue::QueueActionRequest => queue::DoneReply;
        /// Stops taking in.
        drain POST (self) format!("/v1/queues/{}/drain", self.queue), queue::QueueActionRequest => queue::DoneReply;
        /// Removes waiting and delayed items.
        purge POST (self) format!("/v1/queues/{}/purge", self.queue), queue::QueueActionRequest => queue::RemovedReply;
    }

    /// Its items.
    #[must_use]
    pub fn items(&self) -> Items {
        Items { client: self.client.clone(), queue: self.queue.clone() }
    }

    /// Its channels.
    #[must_use]
    pub fn channels(&self) -> Channels {
        Channels { client: self.client.clone(), queue: self.queue.clone() }
    }

    /// Its dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters { client: self.client.clone(), queue: self.queue.clone() }
    }
}

impl Items {
    change! {
        /// Adds an item, or updates a waiting one.
        enqueue POST (self) format!("/v1/queues/{}/items", self.queue), item::EnqueueRequest => item::EnqueueReply;
        /// Adds several items; each has its own answer.
        enqueue_batch POST (self) format!("/v1/queues/{}/items/batch", self.queue), item::EnqueueBatchRequest => item::EnqueueBatchReply;
        /// Items are done; each has its own answer.
        ack_batch POST (self) format!("/v1/queues/{}/items/ack", self.queue), item::AckBatchRequest => item::AckBatchReply;
        /// An item is done.
        ack POST (self, item: Id) format!("/v1/queues/{}/items/{item}/ack", self.queue), item::LeaseRequest => queue::DoneReply;
        /// An item failed.
        nack POST (self, item: Id) format!("/v1/queues/{}/items/{item}/nack", self.queue), item::NackRequest => item::NackReply;
        /// An item is handed back unharmed.
        release POST (self, item: Id) format!("/v1/queues/{}/items/{item}/release", self.queue), item::LeaseRequest => queue::DoneReply;
        /// Renews an item's lease.
        extend POST (self, item: Id) format!("/v1/queues/{}/items/{item}/extend", self.queue), item::ExtendRequest => lock::RenewedReply;
    }

    /// Takes items; empty when `wait_ms` passed without one.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn dequeue(&self, request: &item::DequeueRequest) -> Result<item::DequeueReply, Error> {
        let path = format!("/v1/queues/{}/dequeue", self.queue);
        let call = Call::new(Method::POST, path).json(request)?.wait_ms(request.wait_ms);
        self.client.change(call, request.request_id.as_deref()).await
    }

    /// One item, live or dead.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn get(&self, item: Id) -> Result<item::Item, Error> {
        self.client.get(format!("/v1/queues/{}/items/{item}", self.queue)).await
    }

    queries!((self) format!("/v1/queues/{}/items/query", self.queue) => item::Item);
}

impl Channels {
    /// One channel.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn get(&self, channel: Id) -> Result<channel::Channel, Error> {
        self.client.get(format!("/v1/queues/{}/channels/{channel}", self.queue)).await
    }

    /// Removes the channel's waiting items and its metadata.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn delete(&self, channel: Id) -> Result<queue::RemovedReply, Error> {
        let call = Call::new(Method::DELETE, format!("/v1/queues/{}/channels/{channel}", self.queue));
        self.client.change(call, None).await
    }

    /// Changes metadata and taints; with `revision` only if the channel has that one.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn patch_metadata(
        &self,
        channel: Id,
        request: &channel::PatchMetadataRequest,
        revision: Option<Revision>,
    ) -> Result<channel::PatchMetadataReply, Error> {
        let path = format!("/v1/queues/{}/channels/{channel}/metadata", self.queue);
        let call = if_match(Call::new(Method::PATCH, path).json(request)?, revision);
        self.client.change(call, request.request_id.as_deref()).await
    }

    /// Why is it not running?
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn explain(&self, channel: Id) -> Result<channel::ChannelExplanation, Error> {
        self.client.get(format!("/v1/queues/{}/channels/{channel}/explain", self.queue)).await
    }

    queries!((self) format!("/v1/queues/{}/channels/query", self.queue) => channel::Channel);
}

impl DeadLetters {
    change! {
        /// Moves dead letters back to their channels.
        redrive POST (self) format!("/v1/queues/{}/dead-letters/redrive", self.queue), queue::DeadLetterActionRequest => queue::RedriveReply;
        /// Removes dead letters.
        purge POST (self) format!("/v1/queues/{}/dead-letters/purge", self.queue), queue::DeadLetterActionRequest => queue::RemovedReply;
    }

    queries!((self) format!("/v1/queues/{}/dead-letters/query", self.queue) => item::Item);
}
