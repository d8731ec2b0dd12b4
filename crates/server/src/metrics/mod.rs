//! Metrics for Prometheus. Labels are routes, methods, statuses and states: never a user's key, which
//! would make a series each.

mod layer;
mod scrape;

use std::sync::Arc;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

pub(crate) use layer::Measure;
pub(crate) use scrape::{CONTENT_TYPE, scrape};

/// Upper bounds of the latency histogram, seconds: from a read in memory to a long poll of 5 min.
const LATENCY_BOUNDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0, 300.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: Arc<str>,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: Arc<str>,
    method: &'static str,
}

type Durations = Family<RouteLabels, Histogram, fn() -> Histogram>;

/// The server's own metrics; what the node and the queues tell is gathered at each scrape.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Durations,
    in_flight: Gauge,
    long_polls: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Counter,
    pub(crate) connections_timed_out: Counter,
    pub(crate) requests_refused: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("willow");
        let requests = Family::default();
        let durations: Durations = Family::new_with_constructor(|| Histogram::new(LATENCY_BOUNDS));
        let (in_flight, long_polls, connections) = (Gauge::default(), Gauge::default(), Gauge::default());
        let (refused, timed_out, shed) = (Counter::default(), Counter::default(), Counter::default());
        registry.register(
            "http_requests",
            "Requests answered, by route, method and status; 499 is a client that went away",
            Family::clone(&requests),
        );
        registry.register_with_unit(
            "http_request_duration",
            "From the end of a request's headers to the head of its reply, long polls included",
            Unit::Seconds,
            durations.clone(),
        );
        registry.register("http_requests_in_flight", "Requests being served", in_flight.clone());
        registry.register(
            "http_long_polls",
            "Requests that wait for a lock, for room or for an item",
            long_polls.clone(),
        );
        registry.register("http_connections", "Open connections", connections.clone());
        registry.register(
            "http_connections_refused",
            "Connections closed at once, too many being open",
            refused.clone(),
        );
        registry.register(
            "http_connections_timed_out",
            "Connections closed because a client was too slow to send a head or to take a reply",
            timed_out.clone(),
        );
        registry.register("http_requests_refused", "Requests answered 503, too many being served", shed.clone());
        Self {
            registry,
            requests,
            durations,
            in_flight,
            long_polls,
            connections,
            connections_refused: refused,
            connections_timed_out: timed_out,
            requests_refused: shed,
        }
    }

    /// Counts a long poll for as long as the guard lives.
    pub(crate) fn long_poll(&self) -> Raised {
        Raised::new(&self.long_polls)
    }

    /// Counts an open connection for as long as the guard lives.
    pub(crate) fn connection(&self) -> Raised {
        Raised::new(&self.connections)
    }
}

/// A gauge raised by one.
#[derive(Debug)]
pub(crate) struct Raised(Gauge);

impl Raised {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.dec();
    }
}
