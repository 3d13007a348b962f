//! How much of the code of each service has names: of the frames of one minute, looked at now and then.

use std::{collections::BTreeMap, sync::atomic::AtomicU64};

use fleetprof_proto::v1;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

/// Services that are shown, those with the most frames: each is a dozen of time series.
const MAX_SERVICES: usize = 200;

/// The gauges. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    frames: Family<FramesLabels, Gauge<u64, AtomicU64>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FramesLabels {
    service: String,
    /// `line`: named, with a source line; `function`: named; or the reason why not.
    result: String,
}

// === impl Frames ===

impl Frames {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Frames in samples of a recent minute (not all where there are many: for shares), by service \
                    and by what is known of them: line, function, or the reason why they have no name";
        registry.register("service_frames", help, self.frames.clone());
    }

    /// Shows these and nothing else; versions of a service are added up.
    pub fn show(&self, services: &[v1::SymbolQuality]) {
        let mut sums: BTreeMap<&str, (u64, BTreeMap<&str, u64>)> = BTreeMap::new();
        for it in services {
            let (frames, results) = sums.entry(&it.service).or_default();
            *frames = frames.saturating_add(it.frames);
            let known =
                [("line", it.with_lines), ("function", it.named.saturating_sub(it.with_lines))];
            let unknown = it.unresolved.iter().map(|it| (it.name.as_str(), it.value));
            for (result, count) in known.into_iter().chain(unknown) {
                let sum = results.entry(result).or_default();
                *sum = sum.saturating_add(count);
            }
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by_key(|(_, (frames, _))| std::cmp::Reverse(*frames));
        self.frames.clear();
        for (service, (_, results)) in sums.into_iter().take(MAX_SERVICES) {
            for (result, count) in results {
                let (service, result) = (service.to_owned(), result.to_owned());
                self.frames.get_or_create(&FramesLabels { service, result }).set(count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;

    use super::*;

    fn quality(service: &str, version: &str, frames: [u64; 4]) -> v1::SymbolQuality {
        let [frames, named, with_lines, no_object] = frames;
        v1::SymbolQuality {
            service: service.to_owned(),
            version: version.to_owned(),
            frames,
            named,
            with_lines,
            unresolved: vec![v1::CounterByName { name: "no_object".to_owned(), value: no_object }],
        }
    }

    fn shown(frames: &Frames) -> String {
        let mut registry = Registry::default();
        frames.register(&mut registry);
        let mut text = String::new();
        text::encode(&mut text, &registry).expect("encodes");
        text
    }

    /// Check that versions are added up, that what is shown adds up to all frames, and that a service
    /// that is gone is not shown any more.
    #[test]
    fn services_are_shown_as_they_are_now() {
        let frames = Frames::default();
        frames.show(&[quality("app", "1", [10, 8, 5, 2]), quality("app", "2", [5, 5, 0, 0])]);
        let text = shown(&frames);
        for (result, count) in [("line", 5), ("function", 8), ("no_object", 2)] {
            let line = format!("service_frames{{service=\"app\",result=\"{result}\"}} {count}\n");
            assert!(text.contains(&line), "{text}");
        }
        frames.show(&[quality("web", "", [1, 1, 1, 0])]);
        assert!(!shown(&frames).contains("app"), "{}", shown(&frames));
    }

    /// Check that hosts cannot make as many time series as they like.
    #[test]
    fn the_largest_services_are_shown() {
        let services: Vec<_> =
            (0..1000).map(|n| quality(&format!("service-{n}."), "", [n, n, n, 0])).collect();
        let frames = Frames::default();
        frames.show(&services);
        let text = shown(&frames);
        assert_eq!(text.matches("result=\"line\"").count(), MAX_SERVICES);
        assert!(text.contains("\"service-999.\"") && !text.contains("\"service-1.\""));
    }
}
