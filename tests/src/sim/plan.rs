//! Which host runs what: all of it follows from the configuration and its seed.
//!
//! Popularity of services is Zipf's, so that a fleet has some services on most hosts and many on few;
//! every service is somewhere as long as there is room. A host's CPU is divided unevenly among its services.

use fleetprof_proto::{
    ids::{BuildId, BuildIdKind},
    labels,
};
use sha2::{Digest as _, Sha256};

use super::library::Library;

const NAMESPACES: [&str; 6] = ["shop", "search", "payments", "ads", "platform", "data"];
const INSTANCE_TYPES: [&str; 3] = ["m7.4xlarge", "c7.4xlarge", "r7.4xlarge"];
/// Hosts of one cluster.
const CLUSTER_HOSTS: usize = 1000;
/// One in so many hosts runs the version before the newest.
const LATE_HOSTS: u32 = 10;
const HOUR: f64 = 3600.0;

/// How large the fleet is.
#[derive(Clone, Debug)]
pub struct PlanConfig {
    /// Hosts, one agent each.
    pub hosts: usize,
    /// Services in all.
    pub services: usize,
    /// Services of one host.
    pub services_per_host: usize,
    /// Different sets of services; hosts of the same role run the same, equally loaded. 0: each host has its own.
    pub roles: usize,
    /// Versions of each service, one after the other, and then again from the first.
    pub versions: u32,
    /// Seconds from one version of a service to the next.
    pub deploy_every: f64,
    /// Availability zones.
    pub zones: usize,
    /// CPUs of a host.
    pub cores: u32,
    /// Samples per second and CPU. Below 1 each stands for more than a second.
    pub frequency: f64,
    /// Share of every host's CPUs that is busy, always. `None`: each has its own, which changes over the day.
    pub busy: Option<f64>,
    /// What everything follows from.
    pub seed: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Plan {
    pub(super) config: PlanConfig,
    pub(super) services: Vec<Service>,
    pub(super) hosts: Vec<Host>,
}

/// A service: the code of a captured program under a name of its own.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) program: usize,
    pub(super) namespace: &'static str,
    /// When in the cycle it is deployed, a share of it.
    phase: f64,
}

/// A host and what runs there.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) services: Vec<Placed>,
    pub(super) role: usize,
    /// When its windows begin, a share of their length.
    pub(super) phase: f64,
    /// Share of its CPUs that is busy, on average over a day.
    utilization: f64,
}

/// A service on a host.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) service: usize,
    pub(super) pods: Vec<Pod>,
    /// Of the host's busy CPUs.
    share: f64,
    is_late: bool,
}

/// A pod of a service on a host; a deploy replaces it.
#[derive(Debug)]
pub(super) struct Pod {
    pub(super) suffix: String,
    pub(super) container: String,
}

// === impl PlanConfig ===

impl Default for PlanConfig {
    fn default() -> Self {
        Self {
            hosts: 100,
            services: 40,
            services_per_host: 5,
            roles: 0,
            versions: 3,
            deploy_every: 24.0 * HOUR,
            zones: 3,
            cores: 16,
            frequency: 19.0,
            busy: None,
            seed: 1,
        }
    }
}

// === impl Plan ===

impl Plan {
    /// Draws the fleet.
    pub fn new(config: PlanConfig, library: &Library) -> Self {
        let mut random = fastrand::Rng::with_seed(config.seed);
        let services: Vec<_> =
            (0..config.services).map(|number| Service::new(number, library, &mut random)).collect();
        let mut popularity: Vec<f64> = Vec::with_capacity(services.len());
        for rank in 1..=services.len() {
            popularity.push(popularity.last().unwrap_or(&0.0) + 1.0 / rank as f64);
        }
        let hosts =
            (0..config.hosts).map(|number| Host::new(number, &config, &popularity, &mut random));
        Self { hosts: hosts.collect(), services, config }
    }

    /// Number of services.
    pub fn services(&self) -> usize {
        self.services.len()
    }

    /// Which version of each of its services runs on a host, from 0.
    pub(super) fn versions(&self, host: &Host, at_unix_nanos: i64) -> Vec<u32> {
        host.services.iter().map(|placed| self.version(placed, at_unix_nanos)).collect()
    }

    fn version(&self, placed: &Placed, at_unix_nanos: i64) -> u32 {
        let cycles = at_unix_nanos as f64 / 1e9 / self.config.deploy_every;
        let deploy = (cycles + self.services[placed.service].phase).floor() as u64;
        let versions = u64::from(self.config.versions.max(1));
        // A late host is one version behind.
        let version = (deploy + versions - u64::from(placed.is_late && versions > 1)) % versions;
        u32::try_from(version).unwrap_or(0)
    }

    /// Samples that a pod is expected to have in a window of so many seconds.
    pub(super) fn expected(&self, host: &Host, placed: &Placed, at: i64, seconds: f64) -> f64 {
        let rate = f64::from(self.config.cores) * self.config.frequency;
        let busy = self.config.busy.unwrap_or_else(|| {
            let hours = at as f64 / 1e9 / HOUR;
            // People sleep: from half to one and a half of the average.
            let day = 1.0 + 0.5 * ((hours - 14.0) / 24.0 * std::f64::consts::TAU).cos();
            (host.utilization * day).min(1.0)
        });
        rate * seconds * busy * placed.share / placed.pods.len() as f64
    }
}

// === impl Service ===

impl Service {
    fn new(number: usize, library: &Library, random: &mut fastrand::Rng) -> Self {
        let program = number % library.programs.len();
        let name: String = library.programs[program]
            .name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        Self {
            name: format!("{}-{number:03}", name.trim_matches('-')),
            program,
            namespace: NAMESPACES[number % NAMESPACES.len()],
            phase: random.f64(),
        }
    }
}

/// The build ID of an object of one version of a service: every host of the service has the same.
pub(super) fn own_build_id(service: usize, version: u32, captured: &BuildId) -> Option<BuildId> {
    let mut hash = Sha256::new();
    hash.update(service.to_le_bytes());
    hash.update(version.to_le_bytes());
    hash.update(captured.value());
    BuildId::new(BuildIdKind::Gnu, &hash.finalize()[..20]).ok()
}

// === impl Host ===

impl Host {
    fn new(
        number: usize,
        config: &PlanConfig,
        popularity: &[f64],
        random: &mut fastrand::Rng,
    ) -> Self {
        let zone = number % config.zones.max(1);
        let name = format!("host-{number:05}");
        let labels = vec![
            (labels::HOST, name.clone()),
            (labels::NODE, name.clone()),
            (labels::CLUSTER, format!("cluster-{}", number / CLUSTER_HOSTS + 1)),
            (labels::ZONE, format!("zone-{}", zone + 1)),
            (labels::INSTANCE_TYPE, INSTANCE_TYPES[number % INSTANCE_TYPES.len()].to_owned()),
        ];
        let wanted = config.services_per_host.min(popularity.len());
        let role = if config.roles == 0 { number } else { number % config.roles };
        let host_random = random;
        // A role is the same whichever host has it.
        let seed = config.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(role as u64);
        let random = &mut fastrand::Rng::with_seed(seed);
        // The first is in turn, so that every service has a host.
        let mut chosen = vec![role % popularity.len()];
        while chosen.len() < wanted {
            let at = random.f64() * popularity.last().copied().unwrap_or(0.0);
            let service = popularity.partition_point(|sum| *sum <= at).min(popularity.len() - 1);
            if !chosen.contains(&service) {
                chosen.push(service);
            }
        }
        let shares: Vec<f64> = chosen.iter().map(|_| 0.1 + random.f64().powi(2)).collect();
        let sum: f64 = shares.iter().sum();
        let services = chosen.into_iter().zip(shares);
        let services: Vec<_> = services
            .map(|(service, share)| Placed::new(service, share / sum, random, host_random))
            .collect();
        let phase = host_random.f64();
        Self { name, labels, services, role, phase, utilization: 0.3 + 0.5 * random.f64() }
    }
}

// === impl Placed ===

impl Placed {
    /// Names are the host's, everything else is its role's.
    fn new(service: usize, share: f64, role: &mut fastrand::Rng, host: &mut fastrand::Rng) -> Self {
        let pods = (0..role.usize(1..=2)).map(|_| Pod {
            suffix: format!("{:05x}", host.u32(..0x10_0000)),
            container: format!("{:032x}{:032x}", host.u128(..), host.u128(..)),
        });
        Self { service, pods: pods.collect(), share, is_late: role.u32(..LATE_HOSTS) == 0 }
    }
}
