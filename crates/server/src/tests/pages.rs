//! Pages for people, and the documents.

use willow_api::ErrorCode;

use super::harness::Harness;

#[tokio::test]
async fn pages_are_whole_and_their_links_lead_somewhere() {
    let server = Harness::start().await;
    for path in ["/", "/docs", "/docs/errors", "/docs/errors/LOCK_HELD"] {
        let reply = server.get(path).await;
        assert_eq!(reply.status.as_u16(), 200, "{path}");
        assert_eq!(reply.header("content-type"), "text/html; charset=utf-8");
        let html = String::from_utf8(reply.bytes.to_vec()).unwrap();
        assert!(html.trim_end().ends_with("</html>"), "{path}");
        let elsewhere = ["=\"http", "url(http", "src=\"//", "href=\"//"];
        assert!(!elsewhere.iter().any(|start| html.contains(start)), "{path} has assets or links from elsewhere");
        let links: std::collections::BTreeSet<&str> =
            html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        for link in links {
            match link.strip_prefix('#') {
                Some(anchor) => assert!(html.contains(&format!("id=\"{anchor}\"")), "{path}: #{anchor}"),
                None => assert_eq!(server.get(link).await.status.as_u16(), 200, "{path}: {link}"),
            }
        }
    }
}

#[tokio::test]
async fn every_code_has_a_page() {
    let server = Harness::start().await;
    for code in ErrorCode::ALL {
        let reply = server.get(code.path()).await;
        assert_eq!(reply.status.as_u16(), 200, "{code}");
        assert!(String::from_utf8_lossy(&reply.bytes).contains(code.as_str()), "{code}");
    }
}

#[tokio::test]
async fn documents_are_served() {
    let server = Harness::start().await;
    assert_eq!(server.get("/v1/openapi.json").await.ok(200)["openapi"], "3.1.0");
    assert_eq!(server.get("/v1/openapi-3.0.json").await.ok(200)["openapi"], "3.0.3");
}

#[tokio::test]
async fn metrics_have_routes_and_no_keys_of_users() {
    let server = Harness::start().await;
    server.get("/v1/limiter/rules/secret-rule-name").await.problem(ErrorCode::RuleNotFound);
    server.get("/secret-path").await.problem(ErrorCode::RouteNotFound);
    let reply = server.get("/metrics").await;
    assert!(reply.header("content-type").starts_with("application/openmetrics-text"));
    let text = String::from_utf8(reply.bytes.to_vec()).unwrap();
    let line = r#"willow_http_requests_total{route="/v1/limiter/rules/{rule}",method="GET",status="404"} 1"#;
    assert!(text.contains(line), "{text}");
    assert!(text.contains(r#"route="unmatched",method="GET",status="404"} 1"#), "{text}");
    assert!(text.contains(r#"willow_node_durable_seconds_bucket{le="0.00005"}"#), "{text}");
    assert!(text.contains(r#"willow_queue_items{state="waiting"} 0"#), "{text}");
    assert!(!text.contains("secret"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}
