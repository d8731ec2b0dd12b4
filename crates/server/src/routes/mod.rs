//! The calls, one module per service. Each handler reads, converts, proposes or reads the machine, and
//! converts back; what may go wrong is listed beside it, for the document.

pub(crate) mod channels;
pub(crate) mod cluster;
pub(crate) mod counters;
pub(crate) mod items;
pub(crate) mod locks;
pub(crate) mod lookup;
pub(crate) mod operations;
pub(crate) mod queues;
pub(crate) mod rules;
pub(crate) mod sessions;

use std::sync::Arc;

use axum::Router;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouter},
    routes,
};
use willow_api::Consistency;

use crate::{app::App, metrics::Measure};

/// Query parameters of a read.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReadParams {
    /// How fresh the answer must be. `linearizable`, the default, sees everything acknowledged before
    /// the call; `stale` may lag.
    #[param(inline)]
    pub(crate) consistency: Consistency,
}

/// All calls, each measured.
pub(crate) fn all(app: &Arc<App>) -> Router<Arc<App>> {
    let calls = calls().into_iter();
    let router = calls.fold(OpenApiRouter::default(), |router, call| router.routes(measured(app, call)));
    router.split_for_parts().0
}

/// Calls, path by path, with their part of the document.
pub(crate) type Calls = Vec<UtoipaMethodRouter<Arc<App>>>;

/// All calls.
pub(crate) fn calls() -> Calls {
    [locks(), limiter(), queues_and_items(), operations()].into_iter().flatten().collect()
}

fn measured(app: &Arc<App>, (schemas, paths, methods): UtoipaMethodRouter<Arc<App>>) -> UtoipaMethodRouter<Arc<App>> {
    let path = paths.paths.keys().next().map_or("", String::as_str);
    let methods = methods.layer(Measure::new(app, path));
    (schemas, paths, methods)
}

fn locks() -> Calls {
    vec![
        routes!(locks::acquire_locks),
        routes!(locks::query_locks),
        routes!(locks::get_lock, locks::force_release_lock),
        routes!(locks::heartbeat_lock),
        routes!(locks::release_lock),
        routes!(locks::downgrade_lock),
        routes!(locks::validate_lock),
        routes!(sessions::create_session),
        routes!(sessions::heartbeat_session),
        routes!(sessions::end_session),
    ]
}

fn limiter() -> Calls {
    vec![
        routes!(rules::create_rule),
        routes!(rules::query_rules),
        routes!(rules::get_rule, rules::update_rule, rules::delete_rule),
        routes!(rules::create_override),
        routes!(rules::query_overrides),
        routes!(rules::get_override, rules::update_override, rules::delete_override),
        routes!(counters::increment_counter),
        routes!(counters::decrement_counter),
        routes!(counters::set_counter),
        routes!(counters::query_counters),
        routes!(counters::get_counter),
        routes!(counters::heartbeat_hold),
        routes!(counters::release_hold),
        routes!(counters::explain_limits),
    ]
}

fn queues_and_items() -> Calls {
    vec![
        routes!(queues::create_queue),
        routes!(queues::query_queues),
        routes!(queues::get_queue, queues::update_queue, queues::delete_queue),
        routes!(queues::pause_queue),
        routes!(queues::drain_queue),
        routes!(queues::resume_queue),
        routes!(queues::purge_queue),
        routes!(queues::query_dead_letters),
        routes!(queues::redrive_dead_letters),
        routes!(queues::purge_dead_letters),
        routes!(items::enqueue_item),
        routes!(items::enqueue_items),
        routes!(items::dequeue_items),
        routes!(items::ack_items),
        routes!(items::query_items),
        routes!(items::get_item),
        routes!(items::ack_item),
        routes!(items::nack_item),
        routes!(items::release_item),
        routes!(items::extend_item),
        routes!(channels::query_channels),
        routes!(channels::get_channel, channels::delete_channel),
        routes!(channels::patch_channel_metadata),
        routes!(channels::explain_channel),
    ]
}

fn operations() -> Calls {
    vec![
        routes!(cluster::get_cluster),
        routes!(cluster::remove_node),
        routes!(cluster::transfer_leader),
        routes!(cluster::backup_cluster),
        routes!(operations::livez),
        routes!(operations::readyz),
    ]
}
