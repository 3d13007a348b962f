//! Several collectors with one store and one catalog: each object is uploaded and converted once, and
//! all of them name its code.

use std::{
    collections::HashMap, fs, net::SocketAddr, path::Path, sync::atomic::Ordering, time::Duration,
};

use fleetprof_collector::config::Config;
use fleetprof_proto::{
    ids::{InstanceId, ObjectId},
    v1::{
        ObjectFormat, ObjectState, TopRequest, TopResponse, push_response::Message as Answer,
        query_service_client::QueryServiceClient,
    },
};
use tempfile::TempDir;
use tokio::{sync::watch, time::Instant};

use crate::{
    crash::Process,
    fleet::{self, Fleet},
    objects::{self, Program},
    support::{self, Agent, Running, all},
};

/// How long something may take that comes by itself.
const BOUND: Duration = Duration::from_secs(120);

/// What collectors share.
struct Common {
    dir: TempDir,
}

// === impl Common ===

impl Common {
    fn new() -> Self {
        let dir = TempDir::new().expect("dir");
        fs::create_dir(dir.path().join("store")).expect("made");
        Self { dir }
    }

    fn store(&self) -> String {
        format!("file://{}", self.dir.path().join("store").display())
    }

    fn catalog(&self) -> String {
        format!("sqlite:{}", self.dir.path().join("catalog.sqlite").display())
    }

    fn symbols(&self) -> std::path::PathBuf {
        self.dir.path().join("store/symbols")
    }

    /// A collector in this process.
    async fn collector(&self, adjust: impl FnOnce(&mut Config)) -> Running {
        Running::start_with(TempDir::new().expect("dir"), |config| {
            (config.store, config.catalog) = (Some(self.store()), Some(self.catalog()));
            config.symbol_patience = Duration::from_secs(10);
            adjust(config);
        })
        .await
    }

    /// One in a process of its own.
    fn process(&self, data: &Path) -> Process {
        let arguments = ["--store", &self.store(), "--catalog", &self.catalog()];
        Process::start_with(data, &arguments)
    }
}

/// A counter or gauge; 0 when it is not there yet.
fn metric(url: &str, name: &str) -> u64 {
    let address: SocketAddr = url.trim_start_matches("http://").parse().expect("an address");
    let text = support::get(address, "/metrics").text();
    let line = format!("fleetprof_collector_{name} ");
    text.lines().find_map(|it| it.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
}

/// Waits until a metric has a value.
async fn until(url: &str, name: &'static str, value: u64) {
    let start = Instant::now();
    loop {
        let url = url.to_owned();
        let now = tokio::task::spawn_blocking(move || metric(&url, name)).await.expect("asked");
        if now == value {
            return;
        }
        assert!(start.elapsed() < BOUND, "{name} is {now}, not {value}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn top(url: &str) -> TopResponse {
    let mut queries = QueryServiceClient::connect(url.to_owned()).await.expect("connects");
    let request = TopRequest { query: all(""), ..Default::default() };
    queries.top(request).await.expect("answered").into_inner()
}

async fn top_function(url: &str) -> String {
    top(url).await.functions[0].function.clone()
}

/// Delivers batches until the agent is asked for the object, and uploads it.
async fn deliver_and_upload(url: &str, program: &Program) {
    let mut agent = Agent::connect(url, InstanceId::random()).await.expect("connects");
    agent.deliver(program.batch(agent.instance)).await;
    let wanted = tokio::time::timeout(BOUND, async {
        loop {
            let answer = agent.answers.message().await.expect("open").expect("open");
            if let Some(Answer::WantObjects(wanted)) = answer.message {
                break wanted.objects;
            }
        }
    });
    let wanted = wanted.await.expect("asked without another batch");
    assert_eq!(wanted, [(&program.id).into()]);
    let header = objects::header(&program.id, ObjectFormat::Elf, program.bytes.len());
    let answer = objects::upload(url, header, &program.bytes).await.expect("kept");
    assert!(!answer.duplicate);
}

/// Check that what one collector was given and has converted names the code at another one, which asks
/// nobody for it and fetches it once, however many ask at once; also when the first one has died with all
/// it had.
#[tokio::test(flavor = "multi_thread")]
async fn one_upload_names_the_code_at_every_collector() {
    let (work, common) = (TempDir::new().expect("dir"), Common::new());
    let program = objects::program(work.path());
    let (data, b) = (work.path().join("a"), common.collector(|_| {}).await);
    let a = common.process(&data);
    deliver_and_upload(&a.url, &program).await;
    until(&a.url, "symbol_publications_total{result=\"published\"}", 1).await;
    assert_eq!(top_function(&a.url).await, "hot_loop");
    until(&b.url(), "symbols_shared", 1).await;

    let mut agent = b.agent().await;
    agent.deliver(program.batch(agent.instance)).await;
    let url = b.url();
    let asking = (0..8).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { top_function(&url).await })
    });
    for asked in asking.collect::<Vec<_>>() {
        assert_eq!(asked.await.expect("answered"), "hot_loop");
    }
    assert_eq!(metric(&b.url(), "symbol_fetches_total{result=\"fetched\"}"), 1);
    let counts = |url: &str| {
        let names = [
            "objects_asked_total",
            "objects_received_total",
            "symbol_fetches_total{result=\"fetched\"}",
        ];
        (names.map(|name| metric(url, name)), metric(url, "conversions_total{result=\"table\"}"))
    };
    assert_eq!(counts(&a.url), ([1, 1, 0], 1));

    a.kill();
    fs::remove_dir_all(&data).expect("removed");
    assert_eq!(top_function(&b.url()).await, "hot_loop");
    // What it copied is not needed either.
    let b = Running::start_with(b.stop().await, |config| {
        let _ = fs::remove_dir_all(config.data_dir.join("tables"));
        (config.store, config.catalog) = (Some(common.store()), Some(common.catalog()));
    });
    let b = b.await;
    assert_eq!(top_function(&b.url()).await, "hot_loop");
    assert_eq!(counts(&b.url()), ([0, 0, 1], 0));
    let header = objects::header(&program.id, ObjectFormat::Elf, program.bytes.len());
    let answer = objects::upload(&b.url(), header, &program.bytes).await.expect("answered");
    assert!(answer.duplicate, "all that can be said is there");
    assert_eq!(fleet::count(&b.url(), ObjectState::Ready).await, 1);
}

/// Check that of three collectors, whose agents hit the same objects at the same time, one asks for each:
/// each is uploaded exactly once and converted exactly once, and all three have names for all.
#[tokio::test(flavor = "multi_thread")]
async fn of_all_collectors_one_asks_for_each_object() {
    const OBJECTS: u16 = 150;
    let (work, common) = (TempDir::new().expect("dir"), Common::new());
    let fleet = Fleet::new(work.path(), OBJECTS);
    let mut collectors = Vec::new();
    for _ in 0..3 {
        collectors.push(common.collector(|_| {}).await);
    }
    let (stop, stopped) = watch::channel(false);
    let mut told = Vec::new();
    let mut agents = Vec::new();
    for number in 0..30 {
        let (tell, url) = watch::channel(collectors[number % 3].url());
        told.push(tell);
        agents.push(tokio::spawn(fleet.clone().agent(number, url, stopped.clone())));
    }
    for collector in &collectors {
        until(&collector.url(), "symbols_shared", u64::from(OBJECTS)).await;
        until(&collector.url(), "objects_wanted", 0).await;
    }
    // Nobody is asked again.
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.send(true).expect("agents listen");
    for agent in agents {
        agent.await.expect("no panic");
    }
    let once: HashMap<ObjectId, u32> = fleet.accepted.lock().expect("no panic").clone();
    assert_eq!(once.len(), usize::from(OBJECTS));
    assert_eq!(once.values().max(), Some(&1), "uploaded more than once");
    assert_eq!(fleet.begun.load(Ordering::Relaxed), usize::from(OBJECTS));
    let sum = |name| collectors.iter().map(|it| metric(&it.url(), name)).sum::<u64>();
    for name in
        ["objects_asked_total", "objects_received_total", "conversions_total{result=\"table\"}"]
    {
        assert_eq!(sum(name), u64::from(OBJECTS), "{name}");
    }
    assert_eq!(sum("symbol_publications_total{result=\"published\"}"), u64::from(OBJECTS));
    assert!(sum("objects_stored") == u64::from(OBJECTS), "each is at one collector");
}

/// Check that nobody asks for an object while another collector has a claim on it, and that a dead one's
/// claim is taken over when it ends.
#[tokio::test(flavor = "multi_thread")]
async fn the_claim_of_a_dead_collector_ends() {
    const CLAIM: Duration = Duration::from_secs(6);
    let (work, common) = (TempDir::new().expect("dir"), Common::new());
    let program = objects::program(work.path());
    let collector = common.collector(|config| config.objects.claim = CLAIM).await;
    let catalog = fleetprof_store::Catalog::open(&common.catalog()).await.expect("opens");
    let names = [format!("object/{}", program.id)];
    let now = fleetprof_collector::clock::unix_nanos();
    let taken = Instant::now();
    let granted = catalog.lease_all(&names, "dead", CLAIM, now).await.expect("leased");
    assert_eq!(granted.len(), 1);
    let url = collector.url();
    let mut agent = collector.agent().await;
    let mut sequence = 0;
    while metric(&url, "objects_asked_total") == 0 {
        assert!(taken.elapsed() < BOUND, "nobody has taken over");
        sequence += 1;
        agent.deliver(program.batch_of(agent.instance, sequence)).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(taken.elapsed() >= CLAIM, "{:?}", taken.elapsed());
}

/// Check that a store that does not answer costs names for a while and nothing else: queries are answered
/// and say so, and what could not be published is published later.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_costs_names_only() {
    let (work, common) = (TempDir::new().expect("dir"), Common::new());
    let program = objects::program(work.path());
    let (a, b) = (common.collector(|_| {}).await, common.collector(|_| {}).await);
    // No directory can be where a file is.
    fs::write(common.symbols(), "in the way").expect("written");
    deliver_and_upload(&a.url(), &program).await;
    assert_eq!(top_function(&a.url()).await, "hot_loop");
    let start = Instant::now();
    while metric(&a.url(), "symbol_publications_total{result=\"failed\"}") == 0 {
        assert!(start.elapsed() < BOUND);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(metric(&a.url(), "symbols_unpublished"), 1);
    assert!(top_function(&b.url()).await.starts_with("hot+0x"), "nobody has told it");
    fs::remove_file(common.symbols()).expect("removed");
    until(&a.url(), "symbols_unpublished", 0).await;
    until(&b.url(), "symbols_shared", 1).await;

    let away = common.dir.path().join("away");
    fs::rename(common.symbols(), &away).expect("renamed");
    fs::write(common.symbols(), "in the way").expect("written");
    for _ in 0..2 {
        let answer = top(&b.url()).await;
        assert!(answer.functions[0].function.starts_with("hot+0x"));
        let said = answer.coverage.expect("there").damaged;
        assert_eq!(said, [format!("names of {}: cannot be fetched now, ask again", program.id)]);
    }
    fs::remove_file(common.symbols()).expect("removed");
    fs::rename(&away, common.symbols()).expect("renamed");
    while top_function(&b.url()).await != "hot_loop" {
        assert!(start.elapsed() < BOUND);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Check that a table whose file is damaged is given up, and published again by who has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_table_is_published_again() {
    let (work, common) = (TempDir::new().expect("dir"), Common::new());
    let program = objects::program(work.path());
    let (a, b) = (common.collector(|_| {}).await, common.collector(|_| {}).await);
    deliver_and_upload(&a.url(), &program).await;
    until(&b.url(), "symbols_shared", 1).await;
    let mut files = fs::read_dir(common.symbols()).expect("lists");
    let dir = files.next().expect("one").expect("listed").path();
    let file = fs::read_dir(dir).expect("lists").next().expect("one").expect("listed").path();
    let mut bytes = fs::read(&file).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).expect("written");
    let start = Instant::now();
    while top_function(&b.url()).await != "hot_loop" {
        assert!(start.elapsed() < BOUND);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(metric(&a.url(), "symbol_publications_total{result=\"published\"}"), 2);
    assert_eq!(metric(&b.url(), "symbol_fetches_total{result=\"damaged\"}"), 1);
    assert_eq!(metric(&b.url(), "objects_received_total"), 0);
}
