//! What scripts read: answers of the collector in, JSON out. The field names are a contract; new
//! ones may be added, none renamed.
//!
//! CPU times are seconds where they are sums for people (`cpu_seconds`) and whole nanoseconds where
//! they are profile values (`self`, `total`), as in pprof. Instants are RFC 3339 in UTC.

use std::collections::BTreeMap;

use fleetprof_proto::{
    time_range::format_instant,
    v1::{self, Accounting, CounterByName},
};
use serde::Serialize;

use super::units;

/// One element of `services -o json`.
#[derive(Serialize)]
struct Service<'a> {
    service: &'a str,
    samples: u64,
    cpu_seconds: f64,
    cores: f64,
}

/// One element of `top -o json`; `self` and `total` are nanoseconds.
#[derive(Serialize)]
struct Function<'a> {
    function: &'a str,
    file: &'a str,
    module: &'a str,
    #[serde(rename = "self")]
    self_nanos: u64,
    #[serde(rename = "total")]
    total_nanos: u64,
    /// Only of an address without a name.
    #[serde(skip_serializing_if = "str::is_empty")]
    unnamed_reason: &'a str,
}

/// One element of `series -o json`.
#[derive(Serialize)]
struct Series<'a> {
    labels: BTreeMap<&'a str, &'a str>,
    step_seconds: f64,
    points: Vec<Point>,
}

#[derive(Serialize)]
struct Point {
    time: String,
    cpu_seconds: f64,
    /// Only of a function.
    #[serde(skip_serializing_if = "Option::is_none")]
    self_seconds: Option<f64>,
    cores: f64,
    samples: u64,
}

/// `status -o json`.
#[derive(Serialize)]
struct Status<'a> {
    collector: &'a str,
    version: &'a str,
    started: String,
    store: Store<'a>,
    agents: Vec<Agent<'a>>,
    objects: Objects,
}

#[derive(Serialize)]
struct Store<'a> {
    batches: u64,
    samples: u64,
    bytes: u64,
    /// Absent while the store is empty.
    first: Option<String>,
    last: Option<String>,
    damaged: &'a [String],
}

#[derive(Serialize)]
struct Agent<'a> {
    host: &'a str,
    instance: &'a str,
    version: &'a str,
    connected: bool,
    last_seen: String,
    taken: u64,
    delivered: u64,
    pending: u64,
    sealed: u64,
    stored: u64,
    /// Null while it is connected.
    unaccounted: Option<u64>,
    dropped: BTreeMap<&'a str, u64>,
    recovered_dropped: BTreeMap<&'a str, u64>,
    results: BTreeMap<&'a str, u64>,
}

#[derive(Serialize)]
struct Objects {
    stored: u64,
    wanted: u64,
    waiting: u64,
    failed: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Quality<'a> {
    service: &'a str,
    version: &'a str,
    frames: u64,
    named: u64,
    with_lines: u64,
    unresolved: BTreeMap<&'a str, u64>,
}

/// `status --symbols -o json`.
pub(crate) fn symbols(services: &[v1::SymbolQuality]) -> serde_json::Result<String> {
    let services: Vec<_> = services
        .iter()
        .map(|it| Quality {
            service: &it.service,
            version: &it.version,
            frames: it.frames,
            named: it.named,
            with_lines: it.with_lines,
            unresolved: by_name(&it.unresolved),
        })
        .collect();
    write(&services)
}

#[derive(Serialize)]
struct Object<'a> {
    id: String,
    state: &'a str,
    path: &'a str,
    bytes: u64,
    table_bytes: u64,
    sources: &'a [String],
    /// Null unless there is something to say.
    reason: Option<&'a str>,
    attempts: u32,
    /// The same.
    debuginfod: Option<&'a str>,
}

#[derive(Serialize)]
struct Uploaded<'a> {
    path: String,
    id: String,
    format: &'a str,
    duplicate: bool,
}

/// `objects -o json`; `id` and `state` say what an object and its state are called.
pub(crate) fn objects(
    objects: &[v1::ObjectInfo],
    id: impl Fn(&v1::ObjectInfo) -> String,
    state: impl Fn(&v1::ObjectInfo) -> &'static str,
) -> serde_json::Result<String> {
    let objects: Vec<_> = objects
        .iter()
        .map(|it| Object {
            id: id(it),
            state: state(it),
            path: &it.path,
            bytes: it.bytes,
            table_bytes: it.table_bytes,
            sources: &it.sources,
            reason: Some(&*it.reason).filter(|reason| !reason.is_empty()),
            attempts: it.attempts,
            debuginfod: Some(&*it.debuginfod).filter(|said| !said.is_empty()),
        })
        .collect();
    write(&objects)
}

/// `objects upload -o json`: path, id, format and whether it was there already.
pub(crate) fn uploaded(
    files: &[(std::path::PathBuf, String, &'static str, bool)],
) -> serde_json::Result<String> {
    let files: Vec<_> = files
        .iter()
        .map(|(path, id, format, duplicate)| Uploaded {
            path: path.to_string_lossy().into_owned(),
            id: id.clone(),
            format,
            duplicate: *duplicate,
        })
        .collect();
    write(&files)
}

/// `services -o json`.
pub(crate) fn services(services: &[v1::ServiceUsage]) -> serde_json::Result<String> {
    let services: Vec<_> = services
        .iter()
        .map(|it| Service {
            service: &it.service,
            samples: it.samples,
            cpu_seconds: units::seconds(it.cpu_nanos),
            cores: it.cores,
        })
        .collect();
    write(&services)
}

/// `labels -o json`: an array of strings.
pub(crate) fn labels(values: &[String]) -> serde_json::Result<String> {
    write(&values)
}

/// `top -o json`.
pub(crate) fn functions(functions: &[v1::FunctionUsage]) -> serde_json::Result<String> {
    let functions: Vec<_> = functions
        .iter()
        .map(|it| Function {
            function: &it.function,
            file: &it.file,
            module: &it.module,
            self_nanos: it.self_nanos,
            total_nanos: it.total_nanos,
            unnamed_reason: &it.unnamed_reason,
        })
        .collect();
    write(&functions)
}

/// `series -o json`; `names` are the labels that the series were grouped by, `function` says whether they
/// are of a function, `cores` what a point's CPU time comes to.
pub(crate) fn series(
    names: &[String],
    answer: &v1::SeriesResponse,
    function: bool,
    cores: impl Fn(&v1::Point) -> f64,
) -> serde_json::Result<String> {
    let step = u64::try_from(answer.step_nanos).unwrap_or(0);
    let point = |point: &v1::Point| Point {
        time: format_instant(point.unix_nanos),
        cpu_seconds: units::seconds(point.cpu_nanos),
        self_seconds: function.then(|| units::seconds(point.self_nanos)),
        cores: cores(point),
        samples: point.samples,
    };
    let series: Vec<_> = answer
        .series
        .iter()
        .map(|it| Series {
            labels: names.iter().zip(&it.values).map(|(name, value)| (&**name, &**value)).collect(),
            step_seconds: units::seconds(step),
            points: it.points.iter().map(point).collect(),
        })
        .collect();
    write(&series)
}

/// `status -o json`; `collector` is the URL that was asked.
pub(crate) fn status(collector: &str, answer: &v1::StatusResponse) -> serde_json::Result<String> {
    let nothing = v1::StoreStatus::default();
    let store = answer.store.as_ref().unwrap_or(&nothing);
    let when = |nanos: i64| (store.batches > 0).then(|| format_instant(nanos));
    let objects = answer.objects.unwrap_or_default();
    write(&Status {
        collector,
        version: &answer.version,
        started: format_instant(answer.start_unix_nanos),
        store: Store {
            batches: store.batches,
            samples: store.samples,
            bytes: store.bytes,
            first: when(store.first_unix_nanos),
            last: when(store.last_unix_nanos),
            damaged: &store.damaged,
        },
        agents: answer.agents.iter().map(agent).collect(),
        objects: Objects {
            stored: objects.stored,
            wanted: objects.wanted,
            waiting: objects.waiting,
            failed: objects.failed,
            bytes: objects.bytes,
        },
    })
}

fn agent(agent: &v1::AgentStatus) -> Agent<'_> {
    static NOTHING: Accounting = Accounting {
        taken: 0,
        delivered: 0,
        pending: 0,
        dropped: Vec::new(),
        sealed: 0,
        results: Vec::new(),
        recovered_dropped: Vec::new(),
    };
    let accounting = agent.accounting.as_ref().unwrap_or(&NOTHING);
    Agent {
        host: &agent.host,
        instance: &agent.instance,
        version: &agent.version,
        connected: agent.connected,
        last_seen: format_instant(agent.last_seen_unix_nanos),
        taken: accounting.taken,
        delivered: accounting.delivered,
        pending: accounting.pending,
        sealed: accounting.sealed,
        stored: agent.stored_samples,
        unaccounted: agent.unaccounted_samples,
        dropped: by_name(&accounting.dropped),
        recovered_dropped: by_name(&accounting.recovered_dropped),
        results: by_name(&accounting.results),
    }
}

fn by_name(counters: &[CounterByName]) -> BTreeMap<&str, u64> {
    counters.iter().map(|counter| (&*counter.name, counter.value)).collect()
}

/// Indented, so that a person can read it too; ends in a newline.
fn write(value: &impl Serialize) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests;
