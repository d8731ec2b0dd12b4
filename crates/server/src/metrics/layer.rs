//! Measures one route: count by method and status, latency, access log.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use axum::extract::Request;
use http::{HeaderName, HeaderValue, Method, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::{Raised, RequestLabels, RouteLabels};
use crate::app::App;

/// Status in metrics and logs of a client that went away before its answer, as nginx has it.
const CLIENT_GONE: u16 = 499;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A layer for the route at `route`.
#[derive(Clone, Debug)]
pub(crate) struct Measure {
    app: Arc<App>,
    route: Arc<str>,
}

impl Measure {
    pub(crate) fn new(app: &Arc<App>, route: &str) -> Self {
        Self { app: Arc::clone(app), route: route.into() }
    }
}

impl<S> Layer<S> for Measure {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured { inner, measure: self.clone() }
    }
}

/// A measured service.
#[derive(Clone, Debug)]
pub(crate) struct Measured<S> {
    inner: S,
    measure: Measure,
}

impl<S, B> Service<Request> for Measured<S>
where
    S: Service<Request, Response = Response<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Measuring<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Measuring<S::Future> {
        let Measure { app, route } = &self.measure;
        let record = Record {
            route: Arc::clone(route),
            method: method(request.method()),
            began: Instant::now(),
            status: CLIENT_GONE,
            request_id: request.headers().get(&REQUEST_ID).cloned(),
            _in_flight: Raised::new(&app.metrics.in_flight),
            app: Arc::clone(app),
        };
        Measuring { inner: self.inner.call(request), record }
    }
}

pin_project! {
    /// The future of a measured request.
    pub(crate) struct Measuring<F> {
        #[pin]
        inner: F,
        record: Record,
    }
}

impl<F, B, E> Future for Measuring<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut answer = ready!(this.inner.poll(cx));
        if let Ok(response) = &mut answer {
            this.record.answered(response);
        }
        Poll::Ready(answer)
    }
}

/// Written when the request is over, also when its future is dropped.
struct Record {
    app: Arc<App>,
    route: Arc<str>,
    method: &'static str,
    began: Instant,
    status: u16,
    /// As the client or a proxy named it, or as we do once it matters.
    request_id: Option<HeaderValue>,
    _in_flight: Raised,
}

impl Record {
    /// Notes the status. A request id goes back to who sent it; a failure of ours gets one, to be found in
    /// the log by.
    fn answered<B>(&mut self, response: &mut Response<B>) {
        self.status = response.status().as_u16();
        if self.status >= 500 && self.request_id.is_none() {
            self.request_id = HeaderValue::try_from(format!("{:016x}", rand::random::<u64>())).ok();
        }
        if let Some(id) = &self.request_id {
            response.headers_mut().insert(REQUEST_ID, id.clone());
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        let Self { app, route, method, status, request_id, .. } = self;
        let route_labels = RouteLabels { route: Arc::clone(route), method };
        app.metrics.durations.get_or_create(&route_labels).observe(took.as_secs_f64());
        let RouteLabels { route, method } = route_labels;
        let labels = RequestLabels { route, method, status: *status };
        app.metrics.requests.get_or_create(&labels).inc();
        let (route, latency_us) = (&*labels.route, took.as_micros());
        let request_id = request_id.as_ref().and_then(|id| id.to_str().ok());
        if *status >= 500 {
            tracing::warn!(target: "willow::access", request_id, method, route, status, latency_us, "request");
        } else {
            tracing::debug!(target: "willow::access", request_id, method, route, status, latency_us, "request");
        }
    }
}

/// The method as a label: a made-up one must not make a series.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
