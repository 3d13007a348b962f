//! What is merged says the same as before.

use fleetprof_proto::ids::InstanceId;
use fleetprof_store::{DAY, HOUR, Level, MINUTE, Wish};

use crate::fixture::{Place, SECOND, batch, merge_all, past_day, sums, wish};

/// Check that through all merging the sums by service, version, stack and hour stay the same; that whole
/// days are read from daily files then, parts from hourly ones, hosts from fine ones; and that what comes
/// late is counted once.
#[tokio::test(flavor = "multi_thread")]
async fn samples_stay_the_same_at_every_level() {
    let place = Place::new();
    let store = place.open().await;
    let day = past_day();
    let hosts = [InstanceId::random(), InstanceId::random()];
    let mut sequence = 0;
    for hour in 0..26 {
        for minute in [0, 1, 59] {
            sequence += 1;
            let start = day + hour * HOUR + minute * MINUTE + 5 * SECOND;
            let batches = hosts.iter().enumerate();
            let batches =
                batches.map(|(n, host)| batch(*host, sequence, start, &format!("host-{n}")));
            store.append(batches.collect()).await.expect("appends");
        }
    }
    let everything = wish(day, day + 26 * HOUR);
    let key = |labels: &std::collections::BTreeMap<&str, &str>, hour: i64, depth: usize| {
        format!("{} {} {} {depth}", labels["service"], labels["version"], (hour - day) / HOUR)
    };
    let (before, levels) = sums(&store, &everything, key).await;
    assert_eq!(levels, [Level::Fine]);
    assert_eq!(before.values().map(|sum| sum.0).sum::<u64>(), 2 * 26 * 3 * 7);

    assert!(merge_all(&store).await > 26);
    let (after, levels) = sums(&store, &everything, key).await;
    assert_eq!(after, before);
    assert_eq!(levels, [Level::Hourly, Level::Daily], "the second day is not asked for whole");
    let files = store.files(None, (day, day + DAY)).await.expect("lists");
    let daily = files.iter().filter(|row| row.file.level == Level::Daily);
    let services: Vec<_> = daily.map(|row| row.file.service.clone().expect("one")).collect();
    assert_eq!(services, ["checkout", "search"]);
    assert!(files.iter().filter(|row| row.file.level < Level::Daily).all(|row| row.rolled));
    let status = store.status().await.expect("answers");
    assert_eq!(status.samples, 2 * 26 * 3 * 7, "each counts once");

    // A part of the day by the minute, and a host by itself.
    let part = wish(day + HOUR, day + 2 * HOUR + 2 * MINUTE);
    let (sums_of_part, levels) = sums(&store, &part, key).await;
    assert_eq!(levels, [Level::Hourly]);
    assert_eq!(sums_of_part.values().map(|sum| sum.0).sum::<u64>(), 2 * (3 + 2) * 7);
    let host = Wish { labels: vec!["host".to_owned()], ..wish(day, day + DAY) };
    let by_host = |labels: &std::collections::BTreeMap<&str, &str>, _, _| labels["host"].to_owned();
    let (hosts_sums, levels) = sums(&store, &host, by_host).await;
    assert_eq!(levels, [Level::Fine]);
    assert_eq!(hosts_sums.values().map(|sum| sum.0).collect::<Vec<_>>(), [24 * 3 * 7; 2]);

    // What comes late is in the answer at once, and after merging.
    let late = batch(hosts[0], sequence + 1, day + 3 * HOUR, "host-0");
    store.append(vec![late.clone()]).await.expect("appends");
    store.append(vec![late]).await.expect("is a duplicate");
    for merged in [false, true] {
        if merged {
            assert!(merge_all(&store).await > 0);
        }
        let (sums, _) = sums(&store, &everything, key).await;
        let more: u64 = sums.values().map(|sum| sum.0).sum();
        assert_eq!(more, 2 * 26 * 3 * 7 + 7, "merged: {merged}");
    }
    assert_eq!(merge_all(&store).await, 0);
    // Another process finds the same.
    drop(store);
    let (sums, _) = sums(&place.open().await, &everything, key).await;
    assert_eq!(sums.values().map(|sum| sum.0).sum::<u64>(), 2 * 26 * 3 * 7 + 7);
}

/// Check that one service is read without the others, from files that hold several.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_read_by_itself() {
    let place = Place::new();
    let store = place.open().await;
    let day = past_day();
    let instance = InstanceId::random();
    let batches = (1..=5).map(|n| batch(instance, n, day + 10 * SECOND * n as i64, "h"));
    store.append(batches.collect()).await.expect("appends");
    let search = Wish { service: Some("search".to_owned()), ..wish(day, day + DAY) };
    let by_service =
        |labels: &std::collections::BTreeMap<&str, &str>, _, _| labels["service"].to_owned();
    for _ in 0..2 {
        let (sums, _) = sums(&store, &search, by_service).await;
        assert_eq!(
            sums.into_iter().collect::<Vec<_>>(),
            [("search".to_owned(), (15, 5 * (2 * 2 * 50_000_001 / 2 + 52_631_578)))]
        );
        merge_all(&store).await;
    }
    let none = Wish { service: Some("none".to_owned()), ..search };
    assert_eq!(store.plan(&none).await.expect("plans").pieces, []);
}
