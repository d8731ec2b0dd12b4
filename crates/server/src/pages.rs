//! Pages for people: the reference, the errors, an index. Static HTML, no assets from elsewhere.

use std::{collections::HashMap, fmt::Write, sync::LazyLock};

use pulldown_cmark::{Options, Parser};
use serde_json::Value;
use willow_api::ErrorCode;

use crate::openapi;

mod reference;

const STYLE: &str = include_str!("pages/style.css");

/// A whole page around `body`, which is HTML.
fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>{title}</title><style>{STYLE}</style></head>\n\
         <body>{body}</body></html>\n",
        title = escape(title),
    )
}

/// Text as HTML.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

/// Markdown of ours as HTML.
fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    pulldown_cmark::html::push_html(&mut out, Parser::new_ext(text, Options::empty()));
    out
}

/// `/`
pub(crate) fn index() -> &'static str {
    static PAGE: LazyLock<String> = LazyLock::new(|| {
        let body = markdown(&format!(
            "# Willow {}\n\nLocks, concurrency limits and a work queue, all addressed by key values.\n\n\
             - [Reference of the REST API](/docs)\n- [Error codes](/docs/errors)\n\
             - OpenAPI: [3.1](/v1/openapi.json), [3.0.3](/v1/openapi-3.0.json)\n\
             - [Is it ready](/readyz), [is it alive](/livez), [metrics](/metrics), [cluster](/v1/cluster)\n",
            env!("CARGO_PKG_VERSION"),
        ));
        page("Willow", &format!("<main>{body}</main>"))
    });
    &PAGE
}

/// `/docs`
pub(crate) fn reference() -> &'static str {
    static PAGE: LazyLock<String> = LazyLock::new(|| {
        let document = openapi::document();
        page("Willow REST API", &reference::body(&document))
    });
    &PAGE
}

/// `/docs/errors`
pub(crate) fn error_index() -> &'static str {
    static PAGE: LazyLock<String> = LazyLock::new(|| {
        let mut rows = String::new();
        for code in ErrorCode::ALL {
            let (path, status, title) = (code.path(), code.status(), escape(code.title()));
            let retry = if code.is_retryable() { "yes" } else { "" };
            // Writing to a string cannot fail.
            let _written = writeln!(
                rows,
                "<tr><td><a href=\"{path}\"><code>{code}</code></a></td><td>{status}</td><td>{retry}</td><td>{title}</td></tr>",
            );
        }
        let body = format!(
            "<main><p><a href=\"/docs\">Reference</a></p><h1>Error codes</h1><p>Errors are \
             <code>application/problem+json</code> (RFC 9457); match on <code>code</code>, which is stable.</p>\
             <table><tr><th>Code</th><th>Status</th><th>Retry</th><th>Meaning</th></tr>{rows}</table></main>",
        );
        page("Willow error codes", &body)
    });
    &PAGE
}

/// `/docs/errors/{code}`
pub(crate) fn error(code: &str) -> Option<&'static str> {
    static PAGES: LazyLock<HashMap<&'static str, String>> =
        LazyLock::new(|| ErrorCode::ALL.iter().map(|code| (code.as_str(), error_html(*code))).collect());
    PAGES.get(code).map(String::as_str)
}

fn error_html(code: ErrorCode) -> String {
    let retry = if code.is_retryable() { "A retry may help" } else { "A retry alone does not help" };
    let body = format!(
        "<main><p><a href=\"/docs/errors\">All error codes</a></p><p class=\"facts\">HTTP {} · {retry}</p>{}</main>",
        code.status(),
        markdown(code.page()),
    );
    page(code.as_str(), &body)
}

/// A text field of the document; empty when it is not there.
fn field<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}
