//! The servers that the other tests need.

use std::{net::TcpStream, time::Duration};

use fleetprof_tests::{
    servers::{Postgres, Seaweed},
    wait,
};

/// Check that the object store starts, is there again after SIGKILL, and ends.
#[test]
fn the_object_store_comes_back() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut store = Seaweed::start(dir.path());
    let endpoint = store.endpoint();
    store.kill();
    store.launch();
    store.wait_ready();
    assert_eq!(store.endpoint(), endpoint);
    drop(store);
    check_closed(&endpoint);
}

/// Check that the catalog starts, is there again after a crash with its data, and ends.
#[test]
fn the_catalog_comes_back() {
    let mut catalog = Postgres::start();
    catalog.query("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS number");
    let url = catalog.database("other");
    catalog.kill();
    catalog.launch();
    catalog.wait_ready();
    assert_eq!(catalog.query("SELECT count(*), max(number) FROM kept"), "1000|1000\n");
    drop(catalog);
    let address = url.rsplit('@').next().and_then(|rest| rest.split('/').next());
    check_closed(&format!("http://{}", address.expect("an address")));
}

fn check_closed(url: &str) {
    let address = url.trim_start_matches("http://");
    wait::until("the port to be closed", Duration::from_secs(10), || {
        TcpStream::connect(address).is_err().then_some(())
    });
}
