//! `GET /debug/pprof/profile?seconds=N`: the collector's own CPU, sampled with `SIGPROF` on CPU time
//! by the pprof crate. One at a time, of bounded length; ends when the client goes away.

use std::{sync::LazyLock, time::Duration};

use axum::{
    extract::{Query, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use fleetprof_proto::pprof::gzip;
use pprof::{ProfilerGuardBuilder, protos::Message as _};
use serde::Deserialize;
use tokio::sync::Mutex;
use tracing::warn;

const FREQUENCY: i32 = 97;
const MAX_SECONDS: u64 = 120;

/// The signal belongs to the process, so the profiler does too.
static PROFILER: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);

#[derive(Debug, Deserialize)]
pub(super) struct Parameters {
    #[serde(default = "default_seconds")]
    seconds: u64,
}

fn default_seconds() -> u64 {
    10
}

pub(super) async fn handle(parameters: Result<Query<Parameters>, QueryRejection>) -> Response {
    let seconds = match parameters {
        Ok(Query(parameters)) => parameters.seconds,
        Err(error) => return text(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    if !(1..=MAX_SECONDS).contains(&seconds) {
        let message = format!("seconds={seconds}: expected 1 to {MAX_SECONDS}");
        return text(StatusCode::BAD_REQUEST, &message);
    }
    let Ok(_only) = PROFILER.try_lock() else {
        return text(StatusCode::CONFLICT, "a profile is being taken; try again after it");
    };
    // Interrupting the unwinder or the allocator's locks within these libraries could deadlock.
    let builder = ProfilerGuardBuilder::default()
        .frequency(FREQUENCY)
        .blocklist(&["libc.so", "libgcc", "pthread", "vdso"]);
    let guard = match builder.build() {
        Ok(guard) => guard,
        Err(error) => {
            let message = format!("cannot start the profiler: {error}");
            return text(StatusCode::INTERNAL_SERVER_ERROR, &message);
        }
    };
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let encode = move || {
        let profile = guard.report().build().and_then(|report| report.pprof());
        drop(guard);
        profile
            .map_err(|e| e.to_string())
            .and_then(|profile| gzip(&profile.encode_to_vec()).map_err(|e| e.to_string()))
    };
    match tokio::task::spawn_blocking(encode).await {
        Ok(Ok(profile)) => {
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream"),
                (header::CONTENT_DISPOSITION, "attachment; filename=\"collector.pb.gz\""),
            ];
            (headers, profile).into_response()
        }
        Ok(Err(error)) => {
            warn!(error, "cannot encode the collector's own profile");
            text(StatusCode::INTERNAL_SERVER_ERROR, &format!("cannot encode: {error}"))
        }
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the profile could not be encoded"),
    }
}

fn text(status: StatusCode, message: &str) -> Response {
    (status, format!("{message}\n")).into_response()
}
