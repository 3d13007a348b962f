//! Names of the labels that fleetprof itself sets, one constant each.

/// The service a sample belongs to: always present, resolved by the agent.
pub const SERVICE: &str = "service";
/// Host name.
pub const HOST: &str = "host";
/// Kubernetes namespace.
pub const NAMESPACE: &str = "namespace";
/// Kubernetes pod.
pub const POD: &str = "pod";
/// Container id or name.
pub const CONTAINER: &str = "container";
/// Kubernetes node.
pub const NODE: &str = "node";
/// Cluster.
pub const CLUSTER: &str = "cluster";
/// Availability zone.
pub const ZONE: &str = "zone";
/// Machine type.
pub const INSTANCE_TYPE: &str = "instance_type";
/// Version of the service.
pub const VERSION: &str = "version";
/// Language runtime.
pub const RUNTIME: &str = "runtime";
/// Thread name, as in `/proc/PID/task/TID/comm`.
pub const COMM: &str = "comm";
