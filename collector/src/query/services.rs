//! Services, most CPU first.

use std::collections::HashMap;

use fleetprof_proto::{labels, v1};
use tokio_util::sync::CancellationToken;

use super::{
    Plan, QueryError, QueryParts, missing,
    reader::{self, Need},
};

pub(super) fn run(
    parts: &QueryParts,
    plan: &Plan,
    cancel: &CancellationToken,
) -> Result<v1::ServicesResponse, QueryError> {
    let mut sums: HashMap<String, (u64, u64)> = HashMap::new();
    let need = Need { labels: vec![labels::SERVICE], ..Need::default() };
    let coverage = reader::for_each(parts, plan, &need, cancel, |table| {
        let mut matched = 0;
        for origin in reader::matching_origins(table, plan) {
            let service = origin.labels.get(labels::SERVICE).copied().unwrap_or_default();
            let sum = match sums.get_mut(service) {
                Some(sum) => sum,
                None => sums.entry(service.to_owned()).or_default(),
            };
            *sum = (sum.0.saturating_add(origin.samples), sum.1.saturating_add(origin.nanos));
            matched += origin.samples;
        }
        Ok(matched)
    })?;
    missing::require_service(parts, plan, &coverage, cancel)?;
    let mut services: Vec<_> = sums
        .into_iter()
        .map(|(service, (samples, cpu_nanos))| v1::ServiceUsage {
            service,
            samples,
            cpu_nanos,
            cores: coverage.cores(cpu_nanos),
        })
        .collect();
    services.sort_by(|a, b| b.cpu_nanos.cmp(&a.cpu_nanos).then_with(|| a.service.cmp(&b.service)));
    Ok(v1::ServicesResponse { services, coverage: Some(coverage.into_wire()) })
}
