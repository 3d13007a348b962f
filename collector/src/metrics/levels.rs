//! What the store holds of each level: finest detail, by the minute, by the hour.

use std::sync::atomic::AtomicU64;

use fleetprof_store::LevelStatus;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

type ByLevel = Family<LevelLabel, Gauge<u64, AtomicU64>>;

/// Which level of the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LevelLabel {
    level: &'static str,
}

/// Values that are read when somebody asks.
#[derive(Clone, Debug, Default)]
pub(super) struct StoreLevels {
    bytes: ByLevel,
    files: ByLevel,
    samples: ByLevel,
    unmerged: ByLevel,
}

// === impl StoreLevels ===

impl StoreLevels {
    pub(super) fn register(&self, r: &mut Registry) {
        let help = "Size of the files of a level of the store";
        r.register("store_level_bytes", help, self.bytes.clone());
        r.register("store_level_files", "Pairs of files of a level", self.files.clone());
        let help =
            "Samples that a level of the store holds; merged ones are in the next level, too";
        r.register("store_level_samples", help, self.samples.clone());
        let help = "Samples of a level that are not in the next one yet";
        r.register("store_level_unmerged_samples", help, self.unmerged.clone());
    }

    pub(super) fn set(&self, levels: &[LevelStatus]) {
        for status in levels {
            let level = LevelLabel { level: status.level.as_str() };
            self.bytes.get_or_create(&level).set(status.bytes);
            self.files.get_or_create(&level).set(status.files);
            self.samples.get_or_create(&level).set(status.samples);
            self.unmerged.get_or_create(&level).set(status.unrolled_samples);
        }
    }
}
