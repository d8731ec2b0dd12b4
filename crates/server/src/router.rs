//! All paths: the calls, the document and its pages, metrics, and what answers anything else.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderValue, Method, Uri, header};
use willow_api::{ErrorCode, Problem};

use crate::{
    app::App,
    metrics::{self, Measure},
    openapi, pages,
    reply::{Answer, Failure},
    routes,
};

/// The service.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let calls = routes::all(app);
    let fixed = Router::new()
        .route("/metrics", get(metrics_text))
        .route("/v1/openapi.json", get(|| async { text("application/json", openapi::json_31()) }))
        .route("/v1/openapi-3.0.json", get(|| async { text("application/json", openapi::json_30()) }))
        .route("/docs", get(|| async { text(HTML, pages::reference()) }))
        .route("/docs/errors", get(|| async { text(HTML, pages::error_index()) }))
        .route("/docs/errors/{code}", get(error_page))
        .route("/", get(|| async { text(HTML, pages::index()) }))
        .layer(Measure::new(app, "docs"));
    let unmatched = Measure::new(app, "unmatched");
    let fallback = Router::new().fallback(not_found).layer(unmatched);
    calls
        .merge(fixed)
        .method_not_allowed_fallback(method_not_allowed)
        .fallback_service(fallback.with_state(()))
        .with_state(Arc::clone(app))
}

const HTML: &str = "text/html; charset=utf-8";

fn text(content_type: &'static str, body: impl Into<axum::body::Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

async fn metrics_text(State(app): State<Arc<App>>) -> Answer {
    Ok(text(metrics::CONTENT_TYPE, metrics::scrape(&app).await?))
}

async fn error_page(axum::extract::Path(code): axum::extract::Path<String>, uri: Uri) -> Response {
    match pages::error(&code) {
        Some(page) => text(HTML, page),
        None => not_found(uri).await.into_response(),
    }
}

async fn not_found(uri: Uri) -> Failure {
    let path: String = uri.path().chars().take(200).collect();
    let detail = format!("there is nothing at {path}; see /docs for every path");
    Problem::new(ErrorCode::RouteNotFound, detail).into()
}

/// The `Allow` header is set by axum.
async fn method_not_allowed(method: Method, uri: Uri) -> Failure {
    let path: String = uri.path().chars().take(200).collect();
    let detail = format!("{path} does not take {method}; the Allow header names what it takes");
    Problem::new(ErrorCode::MethodNotAllowed, detail).into()
}
