//! Services, most CPU first.

use std::collections::HashMap;

use fleetprof_proto::v1;
use tokio_util::sync::CancellationToken;

use super::{Plan, QueryError, QueryParts, missing, reader};

pub(super) fn run(
    parts: &QueryParts,
    plan: &Plan,
    cancel: &CancellationToken,
) -> Result<v1::ServicesResponse, QueryError> {
    let mut sums: HashMap<String, (u64, u64)> = HashMap::new();
    let coverage = reader::for_each_service(parts, plan, cancel, |service, samples, nanos| {
        let sum = match sums.get_mut(service) {
            Some(sum) => sum,
            None => sums.entry(service.to_owned()).or_default(),
        };
        *sum = (sum.0.saturating_add(samples), sum.1.saturating_add(nanos));
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
