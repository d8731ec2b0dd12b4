//! One connection, from its first byte to its end.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::net::TcpStream;

use super::{
    activity::{Activity, Limits, TimedIo, Verdict},
    admit::Admit,
};
use crate::{Config, app::App};

/// HTTP/2: how often a silent peer is asked whether it is there, and how long it has to say so.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a peer may take to close after it was told to.
const GOODBYE: Duration = Duration::from_secs(5);

/// Serves a connection until it ends.
pub(super) async fn serve(stream: TcpStream, app: Arc<App>, router: Router) {
    let activity = Arc::new(Activity::new());
    let io = TokioIo::new(TimedIo::new(stream, Arc::clone(&activity)));
    let builder = builder(&app.config);
    let limits = Limits::from(&app.config);
    let service = Admit { app: Arc::clone(&app), router, activity: Arc::clone(&activity) };
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut watchdog = pin!(activity.watch(limits));
    let mut is_told = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    // Nearly always the client's doing: a reset, a malformed head.
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            verdict = watchdog.as_mut() => {
                if verdict == Verdict::TooSlow {
                    app.metrics.connections_timed_out.inc();
                    return;
                }
                connection.as_mut().graceful_shutdown();
                // A request may have come in the very moment: let it be answered.
                let _late = tokio::time::timeout(GOODBYE, connection.as_mut()).await;
                return;
            }
            () = app.stopping.cancelled(), if !is_told => {
                connection.as_mut().graceful_shutdown();
                is_told = true;
            }
        }
    }
}

fn builder(config: &Config) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // The watchdog does this for both protocols, without arming a timer for each request.
        .header_read_timeout(None)
        .max_buf_size(config.max_header_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(PING_INTERVAL))
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(config.max_streams_per_connection)
        .max_header_list_size(u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX));
    builder
}
