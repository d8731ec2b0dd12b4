//! The first look at a request: is there room for it, does the server still take any?

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
    routing::future::RouteFuture,
};
use http::Request;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::Service;
use willow_api::{ErrorCode, Problem};

use super::activity::Activity;
use crate::{
    app::{App, shutting_down},
    reply::Failure,
};

/// The service of one connection.
#[derive(Clone, Debug)]
pub(super) struct Admit {
    pub(super) app: Arc<App>,
    pub(super) router: Router,
    pub(super) activity: Arc<Activity>,
}

impl hyper::service::Service<Request<Incoming>> for Admit {
    type Response = Response;
    type Error = Infallible;
    type Future = Admitted;

    fn call(&self, request: Request<Incoming>) -> Admitted {
        let mut running = Running::new(&self.app, &self.activity);
        // Health and metrics answer to the last, however much goes on.
        if request.uri().path().starts_with("/v1/") {
            if self.app.stopping.is_cancelled() {
                return Admitted::refused(shutting_down(), running);
            }
            running.is_counted = self.app.request_begins();
            if !running.is_counted {
                return Admitted::refused(too_many(), running);
            }
        }
        let inner = self.router.clone().call(request.map(Body::new));
        Admitted::Serving { inner, running }
    }
}

fn too_many() -> Failure {
    let detail = "too many requests are being served; retry later";
    Problem::new(ErrorCode::Overloaded, detail).with(|facts| facts.retry_after_ms = Some(1000)).into()
}

/// A request, for as long as it lives.
#[derive(Debug)]
pub(super) struct Running {
    app: Arc<App>,
    activity: Arc<Activity>,
    /// Against the bound on requests.
    is_counted: bool,
}

impl Running {
    fn new(app: &Arc<App>, activity: &Arc<Activity>) -> Self {
        activity.request_begins();
        Self { app: Arc::clone(app), activity: Arc::clone(activity), is_counted: false }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_counted {
            self.app.request_ended();
        }
        self.activity.request_ended();
    }
}

pin_project! {
    /// A request being served, or refused.
    #[project = AdmittedProjection]
    pub(super) enum Admitted {
        Serving {
            #[pin]
            inner: RouteFuture<Infallible>,
            running: Running,
        },
        Refused {
            response: Option<Response>,
            running: Running,
        },
    }
}

impl Admitted {
    fn refused(failure: Failure, running: Running) -> Self {
        Self::Refused { response: Some(failure.into_response()), running }
    }
}

impl Future for Admitted {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AdmittedProjection::Serving { inner, .. } => inner.poll(cx),
            AdmittedProjection::Refused { response, .. } => Poll::Ready(Ok(response.take().unwrap_or_default())),
        }
    }
}
