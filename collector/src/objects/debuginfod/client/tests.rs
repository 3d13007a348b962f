use fleetprof_proto::ids::BuildIdKind;

use super::*;

fn client(servers: &[&str]) -> Client {
    let servers = servers.iter().map(|url| url.parse().expect("a URL")).collect();
    Client::new(&DebuginfodConfig { servers, ..DebuginfodConfig::default() }).expect("made")
}

#[test]
fn addresses_are_those_of_the_protocol() {
    let client = client(&["http://user:secret@host:8002", "https://host/debug/"]);
    let build_id = BuildId::new(BuildIdKind::Gnu, &[0xab, 1]).expect("valid");
    let [first, second] = client.servers() else { panic!("two") };
    let address = first.address(&build_id, What::DebugInfo);
    assert_eq!(address.as_str(), "http://user:secret@host:8002/buildid/ab01/debuginfo");
    let address = second.address(&build_id, What::Executable);
    assert_eq!(address.as_str(), "https://host/debug/buildid/ab01/executable");
    assert_eq!(first.name(), "host");
}

/// Check that a server is left alone longer after each failure, that requests which failed at the same
/// time count once, and that one answer makes it good.
#[test]
fn servers_that_fail_are_left_alone() {
    let client = client(&["http://a", "http://b"]);
    let pause = DebuginfodConfig::default().failure_pause;
    let [a, b] = client.servers() else { panic!("two") };
    let fault = ServerFault("away".to_owned());
    let start = Instant::now();
    client.note(a, Some(&fault), start);
    client.note(a, Some(&fault), start);
    assert!(a.is_away(start) && !a.is_away(start + pause) && client.can_ask(start));
    client.note(b, Some(&fault), start);
    assert!(!client.can_ask(start), "nobody is left");
    let again = start + pause;
    client.note(a, Some(&fault), again);
    assert!(a.is_away(again + pause) && !a.is_away(again + 2 * pause));
    client.note(a, None, again + 2 * pause);
    client.note(a, Some(&fault), again + 2 * pause);
    assert!(!a.is_away(again + 3 * pause), "as at first");
}

#[test]
fn sizes_are_read_from_headers() {
    let stated = |text: &str| {
        let value = text.parse().expect("a header");
        stated_size(&HeaderMap::from_iter([(SIZE_HEADER.parse().expect("a name"), value)]))
    };
    assert_eq!((stated("123"), stated(" 7 ")), (Some(123), Some(7)));
    assert_eq!((stated("-1"), stated("many"), stated_size(&HeaderMap::new())), (None, None, None));
}
