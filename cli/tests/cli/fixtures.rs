//! Small answers that tests start from.

use fleetprof_proto::v1::{
    Accounting, AgentStatus, CounterByName, Coverage, FunctionUsage, LabelsResponse, ObjectsStatus,
    Point, ProfileChunk, SeriesResponse, ServiceUsage, ServicesResponse, StatusResponse,
    StoreStatus, TimeSeries, TopResponse,
};

use crate::collector::Answers;

pub(crate) const SECOND: i64 = 1_000_000_000;

/// 2026-11-22T10:00:00Z.
pub(crate) const TEN: i64 = 1_795_341_600 * SECOND;

/// 1,000 samples over ten seconds.
pub(crate) fn coverage() -> Coverage {
    Coverage {
        batches: 2,
        samples: 1_000,
        first_unix_nanos: TEN,
        last_unix_nanos: TEN + 10 * SECOND,
        dropped: vec![counter("ring_full", 3)],
        damaged: Vec::new(),
        covered_nanos: 10 * SECOND.unsigned_abs(),
    }
}

pub(crate) fn counter(name: &str, value: u64) -> CounterByName {
    CounterByName { name: name.to_owned(), value }
}

/// A collector with two services.
pub(crate) fn answers() -> Answers {
    Answers {
        services: ServicesResponse {
            services: vec![service("checkout", 15, 1.5), service("payment", 5, 0.5)],
            coverage: Some(coverage()),
        },
        labels: LabelsResponse {
            values: vec!["checkout".to_owned(), "payment".to_owned()],
            coverage: Some(coverage()),
        },
        series: series(),
        top: TopResponse {
            functions: vec![
                function("parse<T>", "/src/parse.rs", "/usr/bin/checkout", 12, 15),
                function("main", "/src/main.rs", "/usr/bin/checkout", 0, 20),
            ],
            total_nanos: 20_000_000_000,
            unnamed: Vec::new(),
            coverage: Some(coverage()),
        },
        status: status(),
        chunks: profile(&[b"first ", b"second"]),
        ..Answers::default()
    }
}

/// The same collector before any data came.
pub(crate) fn nothing() -> Answers {
    Answers { chunks: vec![last_chunk(Coverage::default())], ..Answers::default() }
}

/// A profile in pieces; the coverage comes with the last.
pub(crate) fn profile(pieces: &[&[u8]]) -> Vec<ProfileChunk> {
    let chunk = |piece: &&[u8]| ProfileChunk { pprof_gz: piece.to_vec(), coverage: None };
    pieces.iter().map(chunk).chain([last_chunk(coverage())]).collect()
}

pub(crate) fn function(
    function: &str,
    file: &str,
    module: &str,
    own: u64,
    total: u64,
) -> FunctionUsage {
    FunctionUsage {
        function: function.to_owned(),
        file: file.to_owned(),
        module: module.to_owned(),
        self_nanos: own * 1_000_000_000,
        total_nanos: total * 1_000_000_000,
        unnamed_reason: String::new(),
    }
}

fn last_chunk(coverage: Coverage) -> ProfileChunk {
    ProfileChunk { pprof_gz: Vec::new(), coverage: Some(coverage) }
}

fn service(name: &str, cpu_seconds: u64, cores: f64) -> ServiceUsage {
    ServiceUsage {
        service: name.to_owned(),
        samples: cpu_seconds * 50,
        cpu_nanos: cpu_seconds * 1_000_000_000,
        cores,
    }
}

/// Inside of the last 15 minutes of nobody: the client must not care.
fn series() -> SeriesResponse {
    let point = |index: i64, cpu: u64| Point {
        unix_nanos: TEN + index * 10 * SECOND,
        cpu_nanos: cpu * 1_000_000_000,
        samples: cpu * 50,
        self_nanos: cpu * 500_000_000,
    };
    let one = |value: &str, cpu: [u64; 2]| TimeSeries {
        values: vec![value.to_owned()],
        points: vec![point(0, cpu[0]), point(1, cpu[1])],
    };
    SeriesResponse {
        series: vec![one("web-1", [5, 5]), one("web-2", [10, 20])],
        step_nanos: 10 * SECOND,
        coverage: Some(Coverage {
            last_unix_nanos: TEN + 20 * SECOND,
            covered_nanos: 20 * SECOND.unsigned_abs(),
            ..coverage()
        }),
    }
}

fn status() -> StatusResponse {
    let agent = AgentStatus {
        host: "web-1".to_owned(),
        instance: "00112233445566778899aabbccddeeff".to_owned(),
        version: "0.1.0".to_owned(),
        last_seen_unix_nanos: TEN,
        connected: true,
        accounting: Some(Accounting {
            taken: 1_010,
            delivered: 1_000,
            pending: 7,
            dropped: vec![counter("ring_full", 3)],
            sealed: 1_000,
            results: vec![counter("truncated", 10), counter("complete", 990)],
            recovered_dropped: Vec::new(),
        }),
        stored_samples: 1_000,
        unaccounted_samples: None,
    };
    StatusResponse {
        version: "0.1.0".to_owned(),
        start_unix_nanos: TEN,
        store: Some(StoreStatus {
            batches: 2,
            samples: 1_000,
            bytes: 4_096,
            first_unix_nanos: TEN,
            last_unix_nanos: TEN + 10 * SECOND,
            damaged: Vec::new(),
        }),
        agents: vec![agent],
        objects: Some(ObjectsStatus {
            stored: 4,
            wanted: 1,
            bytes: 1 << 20,
            waiting: 2,
            failed: 1,
        }),
    }
}
