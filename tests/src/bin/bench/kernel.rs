//! What the kernel says about the eBPF programs and maps that a process holds: their time, their
//! verification, their memory. Nothing here is the process's own claim.

use std::{collections::HashMap, fs, os::fd::OwnedFd};

use aya::{
    maps::MapInfo,
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};

/// While it lives, the kernel measures how long eBPF programs run. That is the descriptor's way to
/// set `kernel.bpf_stats_enabled`: it ends with this process, however that ends, and the setting
/// itself is left alone.
#[derive(Debug)]
pub(crate) struct Timing {
    _descriptor: OwnedFd,
}

/// The programs and maps of a process.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) programs: Vec<Program>,
    pub(crate) maps: Vec<Map>,
}

/// A program.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) name: String,
    /// Instructions that the verifier looked at; none before Linux 5.16.
    pub(crate) verified: Option<u32>,
    pub(crate) bytes: f64,
}

/// A map.
#[derive(Debug)]
pub(crate) struct Map {
    /// Empty for maps inside of others.
    pub(crate) name: String,
    pub(crate) bytes: f64,
}

/// How often the programs of a process ran and how long, since they were loaded. A program that is
/// entered by a tail call counts for the one that the kernel called: so this is once per sample, and
/// the time of all programs of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Runs {
    pub(crate) count: f64,
    pub(crate) ns: f64,
}

/// One program or map as a descriptor of the process shows it.
type Shown = HashMap<String, f64>;

// === impl Timing ===

impl Timing {
    /// Starts it, for all programs of the machine. Each run costs two readings of the clock more,
    /// and they are a part of the time that is measured.
    pub(crate) fn start() -> Self {
        let descriptor = enable_stats(Stats::RunTime);
        Self { _descriptor: descriptor.expect("root may let the kernel measure programs (5.8)") }
    }
}

// === impl Runs ===

impl Runs {
    /// Of all programs that a process holds; zero when it holds none.
    pub(crate) fn of(pid: u32) -> Self {
        let mut runs = Self::default();
        for program in shown(pid, "prog_id").values() {
            runs.count += number(program, "run_cnt");
            runs.ns += number(program, "run_time_ns");
        }
        runs
    }

    /// What was added since.
    pub(crate) fn since(self, before: Self) -> Self {
        Self { count: self.count - before.count, ns: self.ns - before.ns }
    }

    /// Nanoseconds per run.
    pub(crate) fn mean_ns(self) -> f64 {
        self.ns / self.count
    }
}

// === impl Held ===

impl Held {
    /// What a process holds now.
    pub(crate) fn of(pid: u32) -> Self {
        let programs = shown(pid, "prog_id");
        let infos = loaded_programs().filter_map(Result::ok);
        let mut programs: Vec<_> = infos
            .filter_map(|info| {
                let bytes = number(programs.get(&info.id())?, "memlock");
                let name = info.name_as_str().unwrap_or_default().to_owned();
                Some(Program { name, verified: info.verified_instruction_count(), bytes })
            })
            .collect();
        programs.sort_by(|a, b| a.name.cmp(&b.name));
        let maps = shown(pid, "map_id").into_iter().map(|(id, map)| {
            let info = MapInfo::from_id(id).ok();
            let name = info.as_ref().and_then(MapInfo::name_as_str).unwrap_or_default();
            Map { name: name.to_owned(), bytes: number(&map, "memlock") }
        });
        Self { programs, maps: maps.collect() }
    }

    /// Bytes of the programs.
    pub(crate) fn program_bytes(&self) -> f64 {
        self.programs.iter().map(|program| program.bytes).sum()
    }

    /// Bytes of the maps that satisfy a condition on their name.
    pub(crate) fn map_bytes(&self, wanted: impl Fn(&str) -> bool) -> f64 {
        self.maps.iter().filter(|map| wanted(&map.name)).map(|map| map.bytes).sum()
    }
}

/// The programs or maps that a process has descriptors of, by id: several may stand for one.
fn shown(pid: u32, id_name: &str) -> HashMap<u32, Shown> {
    let mut all = HashMap::new();
    let infos = fs::read_dir(format!("/proc/{pid}/fdinfo"));
    for info in infos.into_iter().flatten().filter_map(Result::ok) {
        // A descriptor may be closed meanwhile.
        let text = fs::read_to_string(info.path()).unwrap_or_default();
        let fields = text.lines().filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        });
        let fields: Shown = fields.collect();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the kernel's ids are 32-bit numbers"
        )]
        if let Some(id) = fields.get(id_name) {
            all.insert(*id as u32, fields);
        }
    }
    all
}

fn number(shown: &Shown, name: &str) -> f64 {
    shown.get(name).copied().unwrap_or(f64::NAN)
}
