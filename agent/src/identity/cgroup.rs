//! Where a process runs, from the text of `/proc/PID/cgroup`: the layouts of systemd, Docker,
//! containerd, CRI-O, Podman, LXC, nspawn and ECS, cgroup v1, v2 and hybrid.

/// What the cgroup path says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Name of the systemd unit or of the named container.
    pub name: Option<String>,
    /// Id of the container.
    pub container: Option<String>,
}

/// Units that hold other people's processes rather than a service of their own.
const MANAGER_UNITS: [&str; 3] = ["user@", "init", "containerd-shim"];

/// Reads the text of `/proc/PID/cgroup`: lines `hierarchy:controllers:path`.
pub fn placement(text: &str) -> Placement {
    let paths = text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let hierarchy = fields.next()?;
        let controllers = fields.next()?;
        Some((hierarchy == "0" || controllers == "name=systemd", fields.next()?))
    });
    let mut found = Placement::default();
    for (managed, path) in paths {
        for part in path.split('/').filter(|part| !part.is_empty()) {
            if let Some(id) = container_id(part) {
                // The innermost container wins: a container in a container is its own.
                found.container = Some(id.to_owned());
            }
            // Only the hierarchies that systemd manages have its unit names.
            if let Some(name) = named(part).filter(|_| managed) {
                found.name = Some(name.to_owned());
            }
        }
    }
    // The unit above a container is its manager (docker.service, kubelet.service), not the service.
    if found.container.is_some() {
        found.name = None;
    }
    found
}

/// `<id>`, `docker-<id>.scope`, `cri-containerd-<id>.scope`, `crio-<id>`, `libpod-<id>`, …
fn container_id(part: &str) -> Option<&str> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    // cri-containerd:<pod>:<id> is written when systemd does not manage the cgroups.
    let last = part.rsplit([':']).next().unwrap_or(part);
    let id = if is_ecs_id(last) { last } else { last.rsplit('-').next().unwrap_or(last) };
    // `crio-conmon-<id>` is the container's monitor, not the container.
    (!part.contains("conmon") && (is_hex(id, 64) || is_ecs_id(id))).then_some(id)
}

/// ECS on Fargate: 32 hex digits, a dash, decimal digits.
fn is_ecs_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(id, number)| {
        is_hex(id, 32) && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The service a path component names: a systemd unit, an LXC or nspawn container.
fn named(part: &str) -> Option<&str> {
    if let Some(name) = part.strip_prefix("lxc.payload.") {
        return Some(name);
    }
    if let Some(name) = part.strip_prefix("machine-").and_then(|p| p.strip_suffix(".scope")) {
        return Some(name);
    }
    let unit = part.strip_suffix(".service")?;
    if MANAGER_UNITS.iter().any(|manager| unit.starts_with(manager)) {
        return None;
    }
    // An instance of a template (`worker@7`) belongs to the template's service.
    unit.split('@').next().filter(|name| !name.is_empty())
}
